"""The passes of a beat by hand, for tests: due tasks are returned, and not published."""

from __future__ import annotations

from collections.abc import Sequence

from taskdb.client.taskdb import TaskDB
from taskdb.model.status import PUBLISHABLE
from taskdb.store.contract import Publication
from taskdb_beat.loops.callback import Callbacks
from taskdb_beat.loops.expire import Expire
from taskdb_beat.loops.reconcile import Reconcile
from taskdb_beat.loops.release import Release

_PAGE = 500


class DuePasses:
    """The loops that bring rows forward, one pass each on request."""

    def __init__(self, taskdb: TaskDB) -> None:
        settings, store = taskdb.settings, taskdb.store
        self._taskdb = taskdb
        self._store = store
        self._handed_over: list[Publication] = []
        self._release = Release(settings, store, self)
        self._passes = (
            Expire(store).run_once,
            Callbacks(store).run_once,
            Reconcile(store, is_whole=True).run_once,
            self._release.run_once,
            self._relay,
        )

    def due(self) -> list[Publication]:
        """Return the tasks that are due now, QUEUED: most urgent first, then oldest."""
        for run_once in self._passes:
            while run_once():
                pass
        due, self._handed_over = self._handed_over, []
        return sorted(due, key=lambda one: -one.priority)

    def release(self) -> None:
        """Release held tasks that may start. The next call of `due` returns them."""
        while self._release.run_once():
            pass

    def publish(self, items: Sequence[Publication]) -> set[str]:
        """Mark rows as a broker's publisher does, and keep them for `due`."""
        self._handed_over.extend(items)
        return self._store.publications.mark_queued(items)

    def _relay(self) -> bool:
        """Hand over a page of due tasks. Returns whether there may be more.

        Ignores `relay_at`, unlike the relay: that spreads a batch over some time to keep its order,
        and here no time passes.
        """
        now, cursor = self._store.schedules.now(), None
        while True:
            page = self._taskdb.list_tasks(
                status=PUBLISHABLE, with_sub_tasks=True, order="oldest", limit=_PAGE, cursor=cursor
            )
            due = [
                one.id
                for one in page
                if one.held_by is None and (one.run_at is None or one.run_at <= now)
            ]
            if due:
                return bool(self.publish(self._store.publications.find(due)))
            cursor = page.next_cursor
            if cursor is None:
                return False
