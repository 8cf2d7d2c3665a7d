"""Conversion of rows to values, the same for each database.

`entity` and `event` take rows that SQLAlchemy has decoded by the types of `tables.py`. `claim` and
`publication` take rows of raw statements.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping

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
from taskdb.store.contract import Claim, Publication
from taskdb.store.engine.dialect import Moved
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import as_moment, as_readable, moment
from taskdb.store.task.slot_need import wait_queues_of


def entity(row: Row | RowMapping, reader: TaskReader | None = None) -> TaskEntity:
    """Return the task of a row with all columns."""
    return TaskEntity(
        id=str(row["id"]),
        tenant=row["tenant"],
        type=row["type"],
        kind=TaskKind(row["kind"]),
        role=_role(row["role"]),
        name=row["name"] or row["type"],
        status=TaskStatus(row["status"]),
        queue=row["queue"],
        priority=row["priority"],
        error=_error(row["error"]),
        attributes=_object(row["attributes"]),
        tags=_texts(row["tags"]),
        progress=_progress(row),
        attempt=row["attempt"],
        spared=row["spared"],
        crashes=row["crashes"],
        max_attempts=row["max_attempts"],
        unique_key=row["unique_key"],
        parent_id=row["parent_id"],
        position=row["position"],
        worker=row["worker"],
        waits_for=row["waits_for"],
        held_by=row["held_by"],
        spec=row["spec"],
        request_id=row["request_id"],
        created_by=row["created_by"],
        created_ip=row["created_ip"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        run_at=row["run_at"],
        deadline_at=row["deadline_at"],
        queued_at=row["queued_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        cancel_requested_at=row["cancel_requested_at"],
        is_adopted=bool(row["is_adopted"]),
        notify_id=row["notify_id"],
        inline_input=row["input"],
        inline_result=row["result"],
        input_ref=row["input_ref"],
        result_ref=row["result_ref"],
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
    needs_admission = bool(row["needs_admission"])
    return Claim(
        granted=granted or own,
        status=TaskStatus(moved.after or row["status"]),
        attempt=row["attempt"] + (1 if granted else 0),
        spared=row["spared"],
        crashes=row["crashes"],
        tenant=row["tenant"],
        type=row["type"],
        input=as_readable(row["input"]),
        input_ref=row["input_ref"],
        result=as_readable(row["result"]),
        result_ref=row["result_ref"],
        error=_error(as_readable(row["error"])),
        attributes=_object(as_readable(row["attributes"])),
        id=moved.id,
        role=_role(row["role"]),
        parent_id=_id(row["parent_id"]),
        position=row["position"],
        is_called_back=row["called_back"] is not None,
        needs_admission=needs_admission,
        queue=row["queue"],
        trace=row["trace"],
        wait_queues=_wait_queues(row) if needs_admission else (),
    )


def publication(row: Row) -> Publication:
    """Return the data from which the message of a row is made."""
    return Publication(
        id=str(row["id"]),
        type=row["type"],
        queue=row["queue"],
        priority=row["priority"],
        relay_at=moment(row["relay_at"]),
        deadline_at=as_moment(row["deadline_at"]),
        role=_role(row["role"]),
        parent_id=_id(row["parent_id"]),
        chunk=_id(row["chunk"]),
        trace=row["trace"],
        attempt=row["attempt"],
    )


def _progress(row: Row | RowMapping) -> Progress | None:
    if row["progress_current"] is None:
        return None
    return Progress(row["progress_current"], row["progress_total"], row["progress_message"] or "")


def _object(stored: Any) -> dict[str, Any]:
    """Return a JSON object; empty for any other value, which was written by hand."""
    return stored if isinstance(stored, dict) else {}


def _texts(stored: Any) -> tuple[str, ...]:
    return tuple(map(str, stored)) if isinstance(stored, list) else ()


def _role(stored: str | None) -> TaskRole | None:
    return TaskRole(stored) if stored else None


def _id(stored: Any) -> str | None:
    return None if stored is None else str(stored)


def _wait_queues(row: Row) -> tuple[str, ...]:
    return tuple(wait_queues_of(row["tenant"], row["queue"], row["type"], row["mutex_key"]))


def _error(stored: Any) -> TaskError | None:
    """Return an error. A value that was written by hand becomes its message."""
    if not stored:
        return None
    try:
        return TaskError.from_json(stored)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return TaskError("", storable(str(stored)))
