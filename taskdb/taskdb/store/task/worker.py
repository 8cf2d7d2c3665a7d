"""The rows of workers: one row for each boot, renewed while the worker lives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping, Text, cast, select

from taskdb.store.engine.database import Database
from taskdb.store.engine.tables import worker
from taskdb.store.engine.types import as_texts
from taskdb.store.task.statements import Queries, queries_of


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """The row of one boot of a worker."""

    id: str
    name: str
    host: str
    pid: int
    queues: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    release: str = ""
    started_at: datetime | None = None
    seen_at: datetime | None = None
    stopped_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """A running task of which a cancel was requested, and the seconds since that request."""

    task_id: str
    token: str
    waited_seconds: float


@dataclass(frozen=True, slots=True)
class Held:
    """The claim tokens, and the ids of tasks or chunks, that the main process of a worker has."""

    tokens: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()


class Workers:
    """The verbs of worker rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _queries(self) -> Queries:
        return queries_of(self._database.dialect, "task/worker")

    def announce(self, record: WorkerRecord) -> None:
        """Write the row of a worker that starts, as seen now."""
        self._database.query(
            self._queries.announce,
            {
                "id": record.id,
                "name": record.name,
                "host": record.host,
                "pid": record.pid,
                "queues": json.dumps(record.queues),
                "types": json.dumps(record.types),
                "release": record.release,
            },
        )

    def renew(self, record: WorkerRecord, held: Held | None, waiting: str | None = None) -> None:
        """Write a heartbeat and the lists of a worker. Inserts its row again if it was pruned.

        `waiting`: the reason why processes of the worker wait, if any does. `held`: the new list;
        None keeps the lists as they are.
        """
        sql = self._queries.renew if held is None else self._queries.renew_with_lists
        given: dict[str, str | None] = {"id": record.id, "waiting": waiting}
        if held is not None:
            given |= {"claims": json.dumps(held.tokens), "messages": json.dumps(held.messages)}
        if not self._database.query(sql, given):
            self.announce(record)

    def stopped(self, worker_id: str) -> None:
        """Write that a worker stopped in order, and holds nothing any more."""
        self._database.query(self._queries.stop, {"id": worker_id})

    def cancel_requests(self, worker_id: str) -> list[CancelRequest]:
        """Return the running tasks of this worker of which a cancel was requested."""
        place = {"worker": worker_id}
        found = self._database.query(self._queries.cancel_wishes, place, writes=False)
        return [
            CancelRequest(str(row["id"]), row["claim_token"], float(row["waited"])) for row in found
        ]

    def has_running(self, worker_id: str) -> bool:
        """Return whether a body of this worker still runs."""
        place = {"worker": worker_id}
        return bool(self._database.query(self._queries.has_running, place, writes=False))

    def find(self, worker_id: str) -> WorkerRecord | None:
        """Return the row of this boot; None where there is none."""
        statement = select(*_COLUMNS).where(worker.c.id == worker_id)
        found = self._database.read(
            lambda connection: [_record(row) for row in connection.execute(statement).mappings()]
        )
        return found[0] if found else None

    def seen_since(self, seconds: float) -> list[WorkerRecord]:
        """Return workers seen in the last `seconds` that have not stopped, newest first."""
        found = self._database.query(self._queries.alive, {"seconds": seconds}, writes=False)
        alive = [row["id"] for row in found]
        statement = select(*_COLUMNS).where(worker.c.id.in_(alive))
        ordered = statement.order_by(worker.c.started_at.desc())
        return self._database.read(
            lambda connection: [_record(row) for row in connection.execute(ordered).mappings()]
        )


# As text, so that one row that was written by hand does not prevent reading the others.
_LISTS = tuple(cast(worker.c[name], Text).label(name) for name in ("queues", "types"))
_PLAIN = ("id", "name", "host", "pid", "release", "started_at", "seen_at", "stopped_at")
_COLUMNS = (*_LISTS, *(worker.c[name] for name in _PLAIN))


def _record(row: RowMapping) -> WorkerRecord:
    return WorkerRecord(
        id=row["id"],
        name=row["name"],
        host=row["host"],
        pid=row["pid"],
        queues=as_texts(row["queues"]),
        types=as_texts(row["types"]),
        release=row["release"],
        started_at=row["started_at"],
        seen_at=row["seen_at"],
        stopped_at=row["stopped_at"],
    )
