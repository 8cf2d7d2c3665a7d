"""The parts that a client and its scoped clients share: store, publisher and watcher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import make_url

from taskdb.celery.publish.background import BackgroundPublisher
from taskdb.celery.publish.publisher import Publisher
from taskdb.client.wait.waits import Waits
from taskdb.client.wait.watcher import Watcher
from taskdb.model.clock import Clock
from taskdb.settings.settings import Settings
from taskdb.store.engine.sqlite.shared_cache import is_shared
from taskdb.store.payload.place import payloads_of
from taskdb.store.store import Store


class Connections:
    """Shared connections: safe between threads, and reopened at first use after a fork."""

    def __init__(self, settings: Settings, clock: Clock | None) -> None:
        self.settings = settings
        self.store = Store(
            settings.store_url,
            clock=clock,
            migrates_itself=settings.is_embedded_store,
            relay_grace=timedelta(seconds=settings.relay_grace_seconds),
            payloads=payloads_of(settings),
        )
        self.publisher = Publisher(settings, self.store)
        self.background = BackgroundPublisher(
            self.publisher,
            settings.publish_budget_seconds,
            settings.publish_breaker_seconds,
            # SQLite would refuse writes of the code under test at the same moment.
            rests=is_shared(make_url(settings.store_url)),
        )
        self._watcher = Watcher(self.store.tasks)
        self.waits = Waits(self._watcher)
        self.store.joins.on_new = self._publish_new

    def publish_after_commit(self, items: Sequence[Any], *, certain: bool) -> None:
        """Publish tasks of the caller's transaction; `certain`: it has committed."""
        self.background.publish(items, wait=False, certain=certain)

    def publish_families(self, items: Sequence[Any], *, certain: bool) -> None:
        """Publish the parts of these parents, created in the caller's transaction."""
        for parent_id in items:
            self.background.publish_family(parent_id, certain=certain)

    def _publish_new(self, ids: Sequence[str], families: Sequence[str]) -> None:
        """Publish tasks that a transaction of the store created; never waits for the broker."""
        if ids:
            self.background.publish(self.store.publications.find(ids), wait=False)
        for parent_id in families:
            self.background.publish_family(parent_id)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Publish nothing inside the block; the relay finds new rows at once; for tests."""
        grace, self.store.units.grace = self.store.units.grace, timedelta(0)
        try:
            with self.background.resting():
                yield
        finally:
            self.store.units.grace = grace

    def close(self) -> None:
        """Publish waiting messages for a short time, then close this process's connections."""
        self._watcher.close()
        self.background.close()
        self.publisher.close()
        self.store.close()
