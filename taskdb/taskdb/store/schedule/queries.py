"""The statements of a pass over due schedules, inside its transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskdb.model.schedule.due import Missed
from taskdb.model.schedule.schedule import RunOutcome
from taskdb.store.engine.sql_text import columns_of
from taskdb.store.engine.types import moment
from taskdb.store.task.statements import queries_of
from taskdb.store.tree.unit import Unit

Run = Mapping[str, Any]
"""A row of `taskdb_schedule_run`, by its columns."""
Key = tuple[str, datetime]
FILE = "schedule/queries"


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
        self._queries = queries_of(unit.dialect, FILE)

    def now(self) -> datetime:
        """The time by the store's clock."""
        return moment(self._unit.query(f"SELECT {self._unit.dialect.now} AS now", {})[0]["now"])

    def open_among(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the ids of these tasks that are not over."""
        found = self._unit.query(self._queries.open_among, {"ids": json.dumps(list(ids))})
        return frozenset(str(row["id"]) for row in found)

    def known_runs(self, runs: Sequence[Run]) -> set[Key]:
        """Return the keys of these runs that have a row."""
        written = {"runs": self._spelled(runs, "run")}
        return _keys(self._unit.query(self._queries.known_runs, written))

    def add_runs(self, runs: Sequence[Run]) -> set[Key]:
        """Write runs. Returns the keys of new ones; other transactions wrote the rest."""
        written = {"runs": self._spelled(runs, "run")}
        return _keys(self._unit.query(self._queries.add_runs, written))

    def skip_run(self, key: Key, task_id: str, reason: str) -> None:
        """Mark a run as skipped, because of this other task."""
        written = {"schedule": key[0], "due": key[1], "task": task_id, "reason": reason}
        self._unit.query(self._queries.skip_run, written)

    def advance(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the next due times of schedules, their last due times and last tasks."""
        self._unit.query(self._queries.advance, {"rows": self._spelled(rows, "next")})

    def lease(self, schedule_id: str, length: timedelta) -> None:
        """Keep a schedule from other beats for this time."""
        written = {"id": schedule_id, "seconds": length.total_seconds()}
        self._unit.query(self._queries.lease, written)

    def refuse(self, reasons: Mapping[str, str], seconds: float) -> None:
        """Record why schedules could not be fired; they are tried again after `seconds`."""
        rows = [{"id": key, "reason": reason} for key, reason in reasons.items()]
        written = {"rows": self._spelled(rows, "broken"), "seconds": seconds}
        self._unit.query(self._queries.refuse, written)

    def _spelled(self, rows: Sequence[Run], columns: str) -> str:
        spell = self._unit.dialect.spell
        return json.dumps(
            [
                {
                    name: spell(row[name]) if isinstance(row[name], datetime) else row[name]
                    for name in columns_of(FILE)[columns]
                    if row.get(name) is not None
                }
                for row in rows
            ]
        )


def _keys(found: Sequence[Run]) -> set[Key]:
    return {(str(row["schedule_id"]), moment(row["due_at"])) for row in found}
