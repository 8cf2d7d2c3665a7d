"""Rows of adopted tasks: written from observations, one batch a transaction.

`taskdb.model.adopted` has the rules; this module applies them to the rows, locked in order of their
ids. Commits do not wait for the disk: a database that dies loses observations only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from taskdb.model.adopted import PRESUMED_EXPIRED, UNSEEN, WORKER_LOST, Sight, Sighting, is_guess
from taskdb.model.entity import TaskError
from taskdb.model.status import TaskStatus
from taskdb.store.adopted.record import WRITTEN, Record
from taskdb.store.engine.aside import Aside, not_aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import Columns, StoreDialect
from taskdb.store.engine.session import JoinedSession, Row, Session
from taskdb.store.engine.types import as_moment, moment
from taskdb.store.task.detail import spelled_reason

BATCH = 500
"""Rows of one transaction."""
ADOPT = "adopt"
_ROUNDS = 5
_PATIENCE = timedelta(days=7)
_GRACE = timedelta(minutes=5)
"""A worker reports the expired tasks that it drops; a broker does not."""
_GONE = (
    "does not run it any more, and nobody saw how it ended; where the broker delivers it again, the"
    " row follows"
)
_NOT_SEEN = f"nothing was seen of it for {_PATIENCE.days} days: no tracked worker has taken it"
_DROPPED = (
    "it expired, and no worker was seen to take or to drop it: a broker may do that by itself"
)

_BORN: Columns = {**WRITTEN, "tenant": "text"}
_WAITING = "('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED')"
_INDEXED = "IN ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED')"
"""The condition of the index of adopted tasks; SQLite needs the same words to use it."""
_JSON = frozenset({"input", "result", "error", "attributes"})
_READ = (
    "type", "status", "queue", "priority", "attempt", "worker", "claim_token",
    "created_at", "run_at", "deadline_at", "queued_at", "started_at", "ended_at",
)  # fmt: skip
_MOMENTS = frozenset(name for name, kind in WRITTEN.items() if kind == "moment")
_EMPTY = "'{}'"
_EVENT: Columns = {
    "task_id": "id",
    "tenant": "text",
    "from_status": "text",
    "to_status": "text",
    "attempt": "integer",
    "worker": "text",
    "at": "moment",
    "detail": "text",
}


class AdoptedTasks:
    """The operations of the process that watches an app; only it moves adopted tasks."""

    def __init__(self, database: Database, aside: Aside) -> None:
        self._database = database
        self._aside = aside

    def see(self, sightings: Sequence[Sighting]) -> int:
        """Move rows by observations of their tasks. Returns the number of history rows.

        A task without a row gets one. Observations of one task apply in the order given; each may
        be repeated. An owned task with the same id stays as it is.
        """
        by_id: dict[str, list[Sighting]] = {}
        for one in sightings:
            by_id.setdefault(one.id, []).append(one)
        count = 0
        ids = sorted(by_id)
        for start in range(0, len(ids), BATCH):
            count += self._see_batch({one: by_id[one] for one in ids[start : start + BATCH]})
        return count

    def _see_batch(self, by_id: Mapping[str, list[Sighting]]) -> int:
        count = 0
        left = by_id
        for _ in range(_ROUNDS):
            events, left = self._database.again(partial(self._see, left))
            count += events
            if not left:
                break
        return count

    def _see(self, by_id: Mapping[str, list[Sighting]]) -> tuple[int, dict[str, list[Sighting]]]:
        """The same in one transaction; also returns tasks that others inserted meanwhile."""
        with self._database.transaction() as connection:
            session = JoinedSession(connection)
            rows = _Rows(session, self._database.dialect, self._database.parameters({}))
            records = rows.locked(list(by_id))
            events: list[dict[str, Any]] = []
            for task_id, several in by_id.items():
                record = records.setdefault(task_id, Record(task_id))
                if record.is_owned:
                    continue
                for one in several:
                    events += record.take(one)
            # A guess about a row that was pruned meanwhile has no columns.
            born = [one for one in records.values() if one.is_new and one.columns]
            new = rows.insert(born)
            lost = {one.id for one in born} - new
            rows.update([one for one in records.values() if one.is_changed and not one.is_new])
            kept = [one for one in events if one["task_id"] not in lost]
            rows.remember(kept)
            late = [
                line for one in records.values() if one.id not in lost for line in one.remarks()
            ]
            return len(kept) + rows.remark(late), {one: by_id[one] for one in by_id if one in lost}

    def adopt_past(self, past: Iterable[Sequence[Sighting]], source: str) -> int:
        """Create rows of tasks that ended before they were watched. Returns the number created.

        Each item has the observations of one task; a task with a row stays as it is. The history
        gets one row with the source, so that old endings cause no alarm and no notification.
        """
        records = []
        for seen in past:
            record = Record(seen[0].id)
            for one in seen:
                record.take(one)
            records.append(record)
        records.sort(key=lambda record: record.id)
        return self._database.again(partial(self._adopt_past, records, source))

    def _adopt_past(self, records: Sequence[Record], source: str) -> int:
        with self._database.transaction() as connection:
            session = JoinedSession(connection)
            rows = _Rows(session, self._database.dialect, self._database.parameters({}))
            new = rows.insert(records)
            rows.remember(
                [
                    {
                        "task_id": one.id,
                        "tenant": one.tenant,
                        "to_status": TaskStatus.CREATED.value,
                        "attempt": one.columns["attempt"],
                        "detail": spelled_reason(
                            f"imported from {source}, {one.columns['status']}"
                        ),
                    }
                    for one in records
                    if one.id in new
                ]
            )
        return len(new)

    def lose(self, *, lease: timedelta, limit: int) -> list[str]:
        """Conclude endings that no worker will report. Returns the ids of these tasks.

        A task is FAILED if it ran on a worker that is not seen any more or no longer lists it. A
        waiting task is FAILED if it expired minutes ago, and CANCELED if it was not seen for a
        week. Later observations correct that.
        """
        lost = [
            _missed(row, TaskStatus.FAILED, WORKER_LOST, f"its worker {_name(row)} {_GONE}")
            for row in self._missing_runs(lease, limit)
        ]
        lost += [
            replace(_missed(row, TaskStatus.FAILED, PRESUMED_EXPIRED, _DROPPED), ran=False)
            for row in self._expired(_GRACE, limit)
        ]
        lost += [
            _missed(row, TaskStatus.CANCELED, UNSEEN, _NOT_SEEN)
            for row in self._unseen(_PATIENCE, limit)
        ]
        return self._aside.batch(ADOPT, lost, self._conclude, key=lambda one: one.id)

    def _conclude(self, lost: Sequence[Sighting]) -> list[str]:
        """Apply conclusions. Returns the ids, or none if no row has changed."""
        return [one.id for one in lost] if self.see(lost) else []

    def _missing_runs(self, lease: timedelta, limit: int) -> list[Row]:
        """Adopted tasks that run by their rows, but not by the rows of their workers."""
        d = self._database.dialect
        gone = f"{d.later('-:lease')}"
        sql = (
            "SELECT CAST(t.id AS TEXT) AS id, t.attempt, t.claim_token, t.worker,"
            f" {d.now} AS now FROM taskdb_task AS t"
            f"{d.looked_up('taskdb_worker', '*', 'w.id = t.worker', 'w')}"
            f" WHERE t.is_adopted AND t.status = 'STARTED' AND t.status {_INDEXED}"
            # A task without a worker (eager) is not watched.
            " AND t.worker IS NOT NULL AND (w.stopped_at IS NOT NULL"
            # The worker lives, and its last two reports do not list the task as running.
            " OR t.updated_at < w.listed_before_at"
            f" AND NOT {d.lists('w.claims', 'CAST(t.id AS TEXT)')}"
            f" AND NOT {d.lists('w.claims_before', 'CAST(t.id AS TEXT)')}"
            # A worker's row may come later than those of its first tasks.
            f" OR w.id IS NULL AND t.updated_at < (SELECT {gone})"
            f" OR w.seen_at < (SELECT {gone})) AND {not_aside(d, ADOPT, 't.id')}"
            " ORDER BY t.id LIMIT :limit"
        )
        written = {"lease": lease.total_seconds(), "limit": limit}
        return self._database.query(sql, written, writes=False)

    def _expired(self, grace: timedelta, limit: int) -> list[Row]:
        """Adopted tasks that wait though they expired `grace` ago, without observations since."""
        d = self._database.dialect
        past = f"(SELECT {d.later('-:grace')})"
        sql = (
            "SELECT CAST(id AS TEXT) AS id, attempt, claim_token, NULL AS worker,"
            f" {d.now} AS now FROM taskdb_task WHERE is_adopted AND status IN {_WAITING}"
            f" AND status {_INDEXED}"
            # Reports kept while the database was unavailable arrive with the latest observation.
            f" AND updated_at < {past} AND deadline_at < {past}"
            f" AND {not_aside(d, ADOPT)} LIMIT :limit"
        )
        written = {"grace": grace.total_seconds(), "limit": limit}
        return self._database.query(sql, written, writes=False)

    def _unseen(self, patience: timedelta, limit: int) -> list[Row]:
        """Adopted tasks that wait and were not seen for `patience`."""
        d = self._database.dialect
        old = f"(SELECT {d.later('-:patience')})"
        sql = (
            "SELECT CAST(id AS TEXT) AS id, attempt, claim_token, NULL AS worker,"
            f" {d.now} AS now FROM taskdb_task WHERE is_adopted AND status IN {_WAITING}"
            f" AND status {_INDEXED} AND updated_at < {old}"
            f" AND (run_at IS NULL OR run_at < {old}) AND {not_aside(d, ADOPT)} LIMIT :limit"
        )
        written = {"patience": patience.total_seconds(), "limit": limit}
        return self._database.query(sql, written, writes=False)


def _missed(row: Row, status: TaskStatus, error: str, message: str) -> Sighting:
    return Sighting(
        id=row["id"],
        sight=Sight.MISSED,
        status=status,
        at=moment(row["now"]),
        attempt=row["attempt"],
        token=row["claim_token"],
        worker=row["worker"],
        error=TaskError(error, message, "", row["attempt"]),
    )


def _name(row: Row) -> str:
    return str(row["worker"]).partition("/")[0]


class _Rows:
    """The statements of one transaction."""

    def __init__(
        self, session: Session, dialect: StoreDialect, constants: Mapping[str, Any]
    ) -> None:
        self._session = session
        self._dialect = dialect
        self._constants = constants
        if dialect.lazily:
            self._ask(f"SELECT 1 AS one{dialect.lazily}")

    def locked(self, ids: Sequence[str]) -> dict[str, Record]:
        """Lock the existing rows until the transaction ends, and return them."""
        d = self._dialect
        # An error is replaced or kept as a whole, so its type and attempt are enough.
        sql = (
            f"SELECT CAST(id AS TEXT) AS id, tenant, is_adopted, {', '.join(_READ)},"
            " input IS NOT NULL AS has_input, attributes <> '{}' AS has_attributes,"
            f" {d.member('error', 'type')} AS error_type,"
            f" {d.member('error', 'attempt')} AS error_attempt"
            f" FROM taskdb_task WHERE id IN {d.listed_ids('ids')} ORDER BY id"
            f"{d.locking('FOR UPDATE')}"
        )
        found = self._ask(sql, ids=json.dumps(list(ids)))
        return {row["id"]: _record(row) for row in found}

    def insert(self, records: Sequence[Record]) -> set[str]:
        """Insert rows. Returns the ids of those that no other process has inserted."""
        if not records:
            return set()
        d = self._dialect
        names = ", ".join(_BORN)
        value = {name: d.as_json(f"draft.{name}") for name in _JSON}
        value["attributes"] = f"COALESCE({value['attributes']}, {d.as_json(_EMPTY)})"
        values = ", ".join(value.get(name, f"draft.{name}") for name in _BORN)
        found = self._ask(
            f"INSERT INTO taskdb_task ({names}, is_adopted, relay_at, updated_at)"
            f" SELECT {values}, true, {d.never}, {d.now} FROM {d.drafts('drafts', _BORN)}"
            " WHERE true ON CONFLICT DO NOTHING RETURNING CAST(id AS TEXT) AS id",
            drafts=self._spelled([{**one.columns, "tenant": one.tenant} for one in records]),
        )
        return {row["id"] for row in found}

    def update(self, records: Sequence[Record]) -> None:
        """Write the columns of records; payloads that a record does not know stay."""
        if not records:
            return
        d = self._dialect
        plain = [name for name in WRITTEN if name not in _JSON and name != "id"]
        sets = [f"{name} = draft.{name}" for name in plain]
        sets += [
            f"{name} = COALESCE({d.as_json(f'draft.{name}')}, old.{name})"
            for name in ("input", "result", "attributes")
        ]
        error = f"COALESCE({d.as_json('draft.error')}, old.error)"
        sets.append(f"error = CASE WHEN draft.status = 'COMPLETED' THEN NULL ELSE {error} END")
        self._ask(
            f"UPDATE taskdb_task AS old SET {', '.join(sets)}, updated_at = {d.now}"
            f" FROM {d.drafts('drafts', WRITTEN)} WHERE old.id = draft.id",
            drafts=self._spelled([one.columns for one in records]),
        )

    def remember(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write history rows."""
        if not events:
            return
        d = self._dialect
        value = {"detail": d.as_json("draft.detail"), "at": f"COALESCE(draft.at, {d.now})"}
        values = ", ".join(value.get(name, f"draft.{name}") for name in _EVENT)
        self._ask(
            f"INSERT INTO taskdb_event ({', '.join(_EVENT)})"
            f" SELECT {values} FROM {d.drafts('drafts', _EVENT)}",
            drafts=self._spelled(events),
        )

    def remark(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Write history rows of late observations unless they exist. Returns the number written."""
        if not events:
            return 0
        d = self._dialect
        value = {"detail": d.as_json("draft.detail")}
        values = ", ".join(value.get(name, f"draft.{name}") for name in _EVENT)
        found = self._ask(
            f"INSERT INTO taskdb_event ({', '.join(_EVENT)})"
            f" SELECT {values} FROM {d.drafts('drafts', _EVENT)}"
            # A reporter repeats a report after a failure, with the moment of its own clock.
            " WHERE NOT EXISTS (SELECT 1 FROM taskdb_event AS e WHERE e.task_id = draft.task_id"
            " AND e.attempt = draft.attempt AND e.at = draft.at AND e.detail IS NOT NULL)"
            " RETURNING attempt",
            drafts=self._spelled(events),
        )
        return len(found)

    def _spelled(self, many: Iterable[Mapping[str, Any]]) -> str:
        spell = self._dialect.spell
        return json.dumps(
            [
                {
                    name: spell(value) if name in _MOMENTS | {"at"} else value
                    for name, value in one.items()
                    if value is not None
                }
                for one in many
            ],
            ensure_ascii=False,
        )

    def _ask(self, sql: str, **parameters: Any) -> list[Row]:
        return self._dialect.query(self._session, sql, {**self._constants, **parameters})


def _record(row: Row) -> Record:
    columns = {name: as_moment(row[name]) if name in _MOMENTS else row[name] for name in _READ}
    return Record(
        row["id"],
        is_new=False,
        is_owned=not row["is_adopted"],
        tenant=row["tenant"],
        is_guess=is_guess(row["error_type"]),
        has_input=bool(row["has_input"]),
        has_attributes=bool(row["has_attributes"]),
        has_error=str(row["error_attempt"]) == str(row["attempt"]),
        columns={**dict.fromkeys(WRITTEN), **columns, "id": row["id"]},
    )
