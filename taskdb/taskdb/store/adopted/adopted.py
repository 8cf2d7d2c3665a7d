"""Rows of adopted tasks: written from observations, one batch a transaction.

`taskdb.model.adopted` has the rules; this module applies them to the rows, locked in order of their
ids. Commits do not wait for the disk: a database that dies loses observations only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from taskdb.model.adopted import (
    PRESUMED_EXPIRED,
    UNSEEN,
    WORKER_LOST,
    AdoptedReport,
    ReportKind,
    is_guess,
)
from taskdb.model.entity import TaskError
from taskdb.model.status import TaskStatus
from taskdb.store.adopted.record import QUERIES, Record
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.engine.session import JoinedSession, Row, Session
from taskdb.store.engine.sql_text import columns_of
from taskdb.store.engine.types import as_moment, moment
from taskdb.store.task.detail import spelled_reason
from taskdb.store.task.statements import queries_of

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


class AdoptedTasks:
    """The operations of the process that watches an app; only it moves adopted tasks."""

    def __init__(self, database: Database, aside: Aside) -> None:
        self._database = database
        self._aside = aside

    def see(self, reports: Sequence[AdoptedReport]) -> int:
        """Move rows by observations of their tasks. Returns the number of history rows.

        A task without a row gets one. Observations of one task apply in the order given; each may
        be repeated. An owned task with the same id stays as it is.
        """
        by_id: dict[str, list[AdoptedReport]] = {}
        for one in reports:
            by_id.setdefault(one.id, []).append(one)
        count = 0
        ids = sorted(by_id)
        for start in range(0, len(ids), BATCH):
            count += self._see_batch({one: by_id[one] for one in ids[start : start + BATCH]})
        return count

    def _see_batch(self, by_id: Mapping[str, list[AdoptedReport]]) -> int:
        count = 0
        left = by_id
        for _ in range(_ROUNDS):
            events, left = self._database.again(partial(self._see, left))
            count += events
            if not left:
                break
        return count

    def _see(
        self, by_id: Mapping[str, list[AdoptedReport]]
    ) -> tuple[int, dict[str, list[AdoptedReport]]]:
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

    def adopt_past(self, past: Iterable[Sequence[AdoptedReport]], source: str) -> int:
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
        queries = queries_of(self._database.dialect, QUERIES)
        given = {
            "lease": lease.total_seconds(),
            "grace": _GRACE.total_seconds(),
            "patience": _PATIENCE.total_seconds(),
            "limit": limit,
        }

        def found(sql: str) -> list[Row]:
            return self._database.query(sql, given, writes=False)

        lost = [
            _missed(row, TaskStatus.FAILED, WORKER_LOST, f"its worker {_name(row)} {_GONE}")
            for row in found(queries.missing_runs)
        ]
        lost += [
            replace(_missed(row, TaskStatus.FAILED, PRESUMED_EXPIRED, _DROPPED), ran=False)
            for row in found(queries.expired)
        ]
        lost += [
            _missed(row, TaskStatus.CANCELED, UNSEEN, _NOT_SEEN) for row in found(queries.unseen)
        ]
        return self._aside.batch(ADOPT, lost, self._conclude, key=lambda one: one.id)

    def _conclude(self, lost: Sequence[AdoptedReport]) -> list[str]:
        """Apply conclusions. Returns the ids, or none if no row has changed."""
        return [one.id for one in lost] if self.see(lost) else []


def _missed(row: Row, status: TaskStatus, error: str, message: str) -> AdoptedReport:
    return AdoptedReport(
        id=row["id"],
        kind=ReportKind.MISSED,
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
        self._queries = queries_of(dialect, QUERIES)
        if self._queries.begin:
            self._ask(self._queries.begin)

    def locked(self, ids: Sequence[str]) -> dict[str, Record]:
        """Lock the existing rows until the transaction ends, and return them."""
        found = self._ask(self._queries.locked, ids=json.dumps(list(ids)))
        return {row["id"]: _record(row) for row in found}

    def insert(self, records: Sequence[Record]) -> set[str]:
        """Insert rows. Returns the ids of those that no other process has inserted."""
        if not records:
            return set()
        born = [{**one.columns, "tenant": one.tenant} for one in records]
        found = self._ask(self._queries.insert, drafts=self._spelled(born))
        return {row["id"] for row in found}

    def update(self, records: Sequence[Record]) -> None:
        """Write the columns of records; payloads that a record does not know stay."""
        if records:
            drafts = self._spelled([one.columns for one in records])
            self._ask(self._queries.update, drafts=drafts)

    def remember(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write history rows."""
        if events:
            self._ask(self._queries.remember, drafts=self._spelled(events))

    def remark(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Write history rows of late observations unless they exist. Returns the number written."""
        if not events:
            return 0
        return len(self._ask(self._queries.remark, drafts=self._spelled(events)))

    def _spelled(self, many: Iterable[Mapping[str, Any]]) -> str:
        spell = self._dialect.spell
        return json.dumps(
            [
                {
                    name: spell(value) if isinstance(value, datetime) else value
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
    written = columns_of(QUERIES)["written"]
    columns = {
        name: as_moment(row[name]) if kind == "moment" else row[name]
        for name, kind in written.items()
        if name in row
    }
    return Record(
        row["id"],
        is_new=False,
        is_owned=not row["is_adopted"],
        tenant=row["tenant"],
        is_guess=is_guess(row["error_type"]),
        has_input=bool(row["has_input"]),
        has_attributes=bool(row["has_attributes"]),
        has_error=str(row["error_attempt"]) == str(row["attempt"]),
        columns={**dict.fromkeys(written), **columns},
    )
