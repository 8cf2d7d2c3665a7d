"""The statements of a pass over due schedules, inside its transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskdb.model.schedule.due import Missed
from taskdb.model.schedule.schedule import RunOutcome
from taskdb.model.status import OPEN, in_order
from taskdb.store.engine.dialect import Columns
from taskdb.store.engine.types import moment
from taskdb.store.tree.unit import Unit

Run = Mapping[str, Any]
"""A row of `taskdb_schedule_run`, by its columns."""
Key = tuple[str, datetime]

_RUN: Columns = {
    "schedule_id": "id",
    "due_at": "moment",
    "outcome": "text",
    "task_id": "id",
    "reason": "text",
    "number": "integer",
    "last_due_at": "moment",
}
_NEXT: Columns = {
    "id": "id",
    "next_due_at": "moment",
    "last_due_at": "moment",
    "last_task_id": "id",
}
_BROKEN: Columns = {"id": "id", "reason": "text"}


def key_of(run: Run) -> Key:
    """The schedule and the due time of a run."""
    return run["schedule_id"], run["due_at"]


def fired_run(schedule_id: str, due: datetime, task_id: str | None) -> dict[str, Any]:
    """The row of a fired due time."""
    return {
        "schedule_id": schedule_id,
        "due_at": due,
        "outcome": RunOutcome.FIRED.value,
        "task_id": task_id,
        "number": 1,
    }


def missed_run(schedule_id: str, missed: Missed) -> Run:
    """The row of missed due times, which are not fired later."""
    return {
        "schedule_id": schedule_id,
        "due_at": missed.first,
        "outcome": RunOutcome.MISSED.value,
        "reason": missed.reason,
        "number": missed.number,
        "last_due_at": missed.last,
    }


class ScheduleRows:
    """Rows of schedules and of their runs, in one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._dialect = unit.dialect

    def now(self) -> datetime:
        """The time by the store's clock."""
        return moment(self._unit.query(f"SELECT {self._dialect.now} AS now", {})[0]["now"])

    def open_among(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the ids of these tasks that are not over."""
        statuses = ", ".join(repr(status) for status in in_order(OPEN))
        sql = (
            f"SELECT id FROM taskdb_task WHERE id IN {self._dialect.listed_ids('ids')}"
            f" AND status IN ({statuses})"
        )
        found = self._unit.query(sql, {"ids": json.dumps(list(ids))})
        return frozenset(str(row["id"]) for row in found)

    def known_runs(self, runs: Sequence[Run]) -> set[Key]:
        """Return the keys of these runs that have a row."""
        sql = (
            "SELECT schedule_id, due_at FROM taskdb_schedule_run WHERE (schedule_id, due_at) IN"
            f" (SELECT draft.schedule_id, draft.due_at FROM {self._dialect.drafts('runs', _RUN)})"
        )
        return self._keys(self._unit.query(sql, {"runs": self._spelled(runs, _RUN)}))

    def add_runs(self, runs: Sequence[Run]) -> set[Key]:
        """Write runs. Returns the keys of new ones; other transactions wrote the rest."""
        names = ", ".join(_RUN)
        values = ", ".join(f"draft.{name}" for name in _RUN)
        sql = (
            f"INSERT INTO taskdb_schedule_run ({names}, at) SELECT {values}, {self._dialect.now}"
            f" FROM {self._dialect.drafts('runs', _RUN)}"
            " WHERE true ON CONFLICT DO NOTHING RETURNING schedule_id, due_at"
        )
        return self._keys(self._unit.query(sql, {"runs": self._spelled(runs, _RUN)}))

    def skip_run(self, key: Key, task_id: str, reason: str) -> None:
        """Mark a run as skipped, because of this other task."""
        sql = (
            f"UPDATE taskdb_schedule_run SET outcome = 'skipped', task_id = :task, reason = :reason"
            f" WHERE schedule_id = :schedule AND due_at = {self._dialect.moment('due')}"
        )
        written = {"schedule": key[0], "due": key[1], "task": task_id, "reason": reason}
        self._unit.query(sql, written)

    def advance(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the next due times of schedules, their last due times and last tasks."""
        sql = (
            "UPDATE taskdb_schedule AS old SET next_due_at = COALESCE(draft.next_due_at,"
            " old.next_due_at), last_due_at = COALESCE(draft.last_due_at, old.last_due_at),"
            " last_task_id = COALESCE(draft.last_task_id, old.last_task_id),"
            " last_error = NULL, retry_at = NULL"
            f" FROM {self._dialect.drafts('rows', _NEXT)} WHERE old.id = draft.id"
        )
        self._unit.query(sql, {"rows": self._spelled(rows, _NEXT)})

    def lease(self, schedule_id: str, length: timedelta) -> None:
        """Keep a schedule from other beats for this time."""
        sql = (
            f"UPDATE taskdb_schedule SET retry_at = {self._dialect.later(':seconds')}"
            " WHERE id = :id"
        )
        self._unit.query(sql, {"id": schedule_id, "seconds": length.total_seconds()})

    def refuse(self, reasons: Mapping[str, str], seconds: float) -> None:
        """Record why schedules could not be fired; they are tried again after `seconds`."""
        sql = (
            "UPDATE taskdb_schedule AS old SET last_error = draft.reason,"
            f" retry_at = {self._dialect.later(':seconds')}"
            f" FROM {self._dialect.drafts('rows', _BROKEN)} WHERE old.id = draft.id"
        )
        rows = [{"id": key, "reason": reason} for key, reason in reasons.items()]
        self._unit.query(sql, {"rows": self._spelled(rows, _BROKEN), "seconds": seconds})

    def _keys(self, found: Sequence[Run]) -> set[Key]:
        return {(str(row["schedule_id"]), moment(row["due_at"])) for row in found}

    def _spelled(self, rows: Sequence[Run], columns: Columns) -> str:
        spell = self._dialect.spell
        return json.dumps(
            [
                {
                    name: spell(row[name]) if isinstance(row[name], datetime) else row[name]
                    for name in columns
                    if row.get(name) is not None
                }
                for row in rows
            ]
        )
