"""The columns of a task in each value of the store, and the reading of rows.

The table in `task_table.py` has every column, and the fields of a value name those that it holds.
The lists of columns in statements and the readers of their rows are made from both.

`entity` and `event` take rows that SQLAlchemy has decoded by the types of the table. The other
readers take rows of raw statements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar

from sqlalchemy import Integer, RowMapping

from taskdb.model.entity import (
    Progress,
    TaskEntity,
    TaskError,
    TaskEvent,
    TaskKind,
    TaskReader,
    TaskRole,
)
from taskdb.model.json_text import storable
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Claim, Draft, Publication
from taskdb.store.engine.dialect import Columns, Moved
from taskdb.store.engine.session import Row
from taskdb.store.engine.task_table import task
from taskdb.store.engine.types import Id, Json, Moment, as_moment, as_readable
from taskdb.store.task.slot_need import wait_queues_of

T = TypeVar("T")

WHEN: Columns = {"run_at": "moment", "delay": "number"}
"""The values from which the database computes when a draft is due, by its own clock."""
PLACE = frozenset(
    [
        "id",
        "tenant",
        "type",
        "kind",
        "role",
        "unique_key",
        "parent_id",
        "position",
        "chunk",
        "spec",
        "held_by",
    ]
)
"""The columns of the identity and the place of a row. A resubmit writes all others again."""


class ValueReader(Generic[T]):
    """Reads rows as values of one class, whose fields name the columns.

    `beside`: columns that are read for the value, but are not fields. `is_raw`: the rows are those
    of raw statements. A keyword is the conversion of a column, instead of that of its type.
    """

    def __init__(
        self,
        value: type[T],
        *beside: str,
        is_raw: bool = True,
        **conversions: Callable[[Any], Any],
    ) -> None:
        names = [one.name for one in fields(value) if one.name in task.c]  # type: ignore[arg-type]
        self.columns = ", ".join((*names, *beside))
        known = {name: _conversion(name, is_raw=is_raw) for name in names} | conversions
        self._value = value
        self._plain = [name for name in names if known[name] is None]
        self._converted = [(name, one) for name, one in known.items() if one is not None]

    def read(self, row: Row | RowMapping, **further: Any) -> T:
        """Return the value of a row; `further` are its fields that are no column, or differ."""
        values = {name: row[name] for name in self._plain}
        for name, convert in self._converted:
            values[name] = convert(row[name])
        return self._value(**(values | further))


def _conversion(name: str, *, is_raw: bool) -> Callable[[Any], Any] | None:
    """Return the conversion of a column; None where its value needs none."""
    if name in _OF_NAME or not is_raw:
        return _OF_NAME.get(name)
    return _OF_TYPE.get(type(task.c[name].type))


def _kind(name: str) -> Any:
    """Return the kind of a column in a parameter that carries rows; JSON goes as text."""
    of_type = {Id: "id", Moment: "moment"}
    found = task.c[name].type
    return "integer" if isinstance(found, Integer) else of_type.get(type(found), "text")


def _id(stored: Any) -> str | None:
    return None if stored is None else str(stored)


def _role(stored: str | None) -> TaskRole | None:
    return TaskRole(stored) if stored else None


def _object(stored: Any) -> dict[str, Any]:
    """Return a JSON object; empty for any other value, which was written by hand."""
    return stored if isinstance(stored, dict) else {}


def _texts(stored: Any) -> tuple[str, ...]:
    return tuple(map(str, stored)) if isinstance(stored, list) else ()


def _error(stored: Any) -> TaskError | None:
    """Return an error. A value that was written by hand becomes its message."""
    if not stored:
        return None
    try:
        return TaskError.from_json(stored)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return TaskError("", storable(str(stored)))


_OF_NAME: Mapping[str, Callable[[Any], Any]] = {
    "status": TaskStatus,
    "kind": TaskKind,
    "role": _role,
    "needs_admission": bool,
    "is_adopted": bool,
}
_OF_TYPE: Mapping[type, Callable[[Any], Any]] = {Id: _id, Moment: as_moment, Json: as_readable}

TRACED_COLUMNS: Columns = {
    one.name: _kind(one.name)
    for one in fields(Draft)
    if one.name in task.c and one.name not in {"status", *WHEN}
}
"""The columns that an insert writes from a draft of a traced submit."""
DRAFT_COLUMNS: Columns = {name: kind for name, kind in TRACED_COLUMNS.items() if name != "trace"}
DRAFT_JSON = frozenset(name for name in DRAFT_COLUMNS if isinstance(task.c[name].type, Json))
RESUBMITTED: Columns = {name: kind for name, kind in TRACED_COLUMNS.items() if name not in PLACE}
ASKED: Columns = {name: kind for name, kind in RESUBMITTED.items() if "input" not in name}
"""The columns that a resubmit writes to a tree that continues. Its inputs are the same."""

PUBLICATION = ValueReader(Publication, "created_at")
CLAIM = ValueReader(
    Claim,
    "claim_token",
    "called_back",
    "mutex_key",
    error=lambda stored: _error(as_readable(stored)),
    attributes=lambda stored: _object(as_readable(stored)),
)
_ENTITY = ValueReader(TaskEntity, is_raw=False, error=_error, attributes=_object, tags=_texts)


def entity(row: Row | RowMapping, reader: TaskReader | None = None) -> TaskEntity:
    """Return the task of a row with all columns."""
    progress = row["progress_current"], row["progress_total"], row["progress_message"] or ""
    return _ENTITY.read(
        row,
        name=row["name"] or row["type"],
        progress=None if progress[0] is None else Progress(*progress),
        inline_input=row["input"],
        inline_result=row["result"],
        reader=reader,
    )


def event(row: Row | RowMapping) -> TaskEvent:
    """Return the event of a history row."""
    return TaskEvent(
        id=row["id"],
        task_id=str(row["task_id"]),
        tenant=row["tenant"],
        from_status=TaskStatus(row["from_status"]) if row["from_status"] else None,
        to_status=TaskStatus(row["to_status"]),
        attempt=row["attempt"],
        worker=row["worker"],
        at=row["at"],
        detail=_object(row["detail"]),
    )


def claim(moved: Moved, token: str) -> Claim:
    """Return the claim of a move. A claim that finds its own token in the row is granted too."""
    row = moved.before
    own = row["claim_token"] == token and row["status"] in {"STARTED", "PROCESSING"}
    granted = moved.after is not None
    named = row["tenant"], row["queue"], row["type"], row["mutex_key"]
    return CLAIM.read(
        row,
        granted=granted or own,
        status=TaskStatus(moved.after or row["status"]),
        attempt=row["attempt"] + granted,
        is_called_back=row["called_back"] is not None,
        wait_queues=tuple(wait_queues_of(*named)) if row["needs_admission"] else (),
    )
