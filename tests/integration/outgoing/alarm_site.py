"""Alarms of a store of their own, and the loops that fold and deliver them, in this process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.store.alarms import TRACEBACK
from tests.store.tasks import running

from taskdb import TaskDB
from taskdb.model.entity import TaskError
from taskdb.outgoing.deliverer import alarm_deliverer
from taskdb.outgoing.folder import Folder
from taskdb.outgoing.signing import new_secret
from taskdb.settings.settings import Settings

SECRET = new_secret()
PASSWORD = "hunter2-hunter2"  # the secret that must not leave


class AlarmSite:
    """A client whose failures are folded and delivered when a test says so."""

    def __init__(self, taskdb: TaskDB) -> None:
        self.taskdb = taskdb
        self.folder = Folder(taskdb.settings, taskdb.store)
        self.deliverer = alarm_deliverer(taskdb.settings, taskdb.store)

    def fail(self, message: str = "oops", **values: Any) -> str:
        run = running(self.taskdb.store, input={"user": "ann", "password": PASSWORD}, **values)
        error = TaskError("ValueError", message, f"{TRACEBACK}ValueError: {message}\n", 1)
        self.taskdb.store.outcomes.fail(run.id, run.token, error)
        return run.id

    def tell(self, message: str = "oops", **values: Any) -> None:
        """A failure of a cause of its own, folded into a message."""
        self.fail(message, **values)
        assert self.folder.fold().messages

    def deliver(self) -> None:
        """One try of everything that is due."""
        self.deliverer.run_once()
        self.deliverer.settle()

    def make_due(self) -> None:
        """What is tried again later is due now."""
        self.taskdb.store.database.query(
            "UPDATE taskdb_delivery SET next_try_at = :past, lease_until = NULL"
            " WHERE sent_at IS NULL",
            {"past": "2020-01-01T00:00:00.000Z"},
        )

    def waiting(self) -> dict[str, str | None]:
        """Why messages have not gone out, by channel."""
        found: dict[str, str | None] = {}
        for one in self.taskdb.alarms.undelivered():
            found.setdefault(one.channel, one.last_error)
        return found


@contextmanager
def alarm_site(store_url: str, channels: dict[str, Any], **settings: Any) -> Iterator[AlarmSite]:
    """A site with these channels."""
    given = {
        "database_url": store_url,
        "alarm_channels": json.dumps(channels),
        "outbound_private": "127.0.0.0/8",
        "outbound_ports": "1-65535",
        "outbound_http": "true",
        "outbound_total_seconds": 2,
        "outbound_connect_seconds": 1,
        **settings,
    }
    names = {f"TASKDB_{name.upper()}": str(value) for name, value in given.items()}
    with TaskDB(Settings.load(names)) as taskdb:
        site = AlarmSite(taskdb)
        try:
            yield site
        finally:
            site.deliverer.close()


def webhook(url: str) -> dict[str, str]:
    return {"webhook": url, "secret": SECRET}
