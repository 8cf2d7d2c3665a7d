"""The TaskEntity of a row that was just inserted, or will be, without reading it back."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

from taskdb.model.entity import TaskEntity, TaskReader
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Draft
from taskdb.store.payload.payload import Payloads
from taskdb.store.payload.row_reader import RowReader
from taskdb.store.task.create import Created

_SHARED = {one.name for one in fields(Draft)} & {one.name for one in fields(TaskEntity)}
_SHARED -= {"status", "attributes", "run_at", "held_by", "spec"}
"""The fields of a draft that its entity has unchanged."""


def fresh_entity(
    draft: Draft, created: Created, *, is_queued: bool, reader: TaskReader, payloads: Payloads
) -> TaskEntity:
    """Return the task of a row that was just inserted, without reading it back."""
    if draft.input_ref is not None:
        reader = RowReader(reader, payloads, draft.input_ref, None)
    moment = created.created_at or datetime.now(UTC)
    return TaskEntity(
        **{name: getattr(draft, name) for name in _SHARED},
        status=TaskStatus.QUEUED if is_queued else created.status,
        attributes=dict(draft.attributes),
        created_at=moment,
        updated_at=moment,
        run_at=created.run_at,
        held_by=created.held_by,
        inline_input=draft.input,
        reader=reader,
    )


def announced_entity(draft: Draft, reader: TaskReader, payloads: Payloads) -> TaskEntity:
    """Return the task of a row that will be written after the caller's commit."""
    due = draft.run_at
    if due is None and draft.delay is not None:
        due = datetime.now(UTC) + draft.delay
    status = TaskStatus.CREATED if due is None else TaskStatus.SCHEDULED
    created = Created(draft.id, status, is_new=True, run_at=due)
    return fresh_entity(draft, created, is_queued=False, reader=reader, payloads=payloads)
