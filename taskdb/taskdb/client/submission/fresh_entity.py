"""The TaskEntity of a row that was just inserted, or will be, without reading it back."""

from __future__ import annotations

from datetime import UTC, datetime

from taskdb.model.entity import TaskEntity, TaskReader
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Draft
from taskdb.store.payload.payload import Payloads
from taskdb.store.payload.row_reader import RowReader
from taskdb.store.task.create import Created


def fresh_entity(
    draft: Draft, created: Created, *, is_queued: bool, reader: TaskReader, payloads: Payloads
) -> TaskEntity:
    """Return the task of a row that was just inserted, without reading it back."""
    if draft.input_ref is not None:
        reader = RowReader(reader, payloads, draft.input_ref, None)
    moment = created.created_at or datetime.now(UTC)
    return TaskEntity(
        id=draft.id,
        tenant=draft.tenant,
        type=draft.type,
        kind=draft.kind,
        role=draft.role,
        name=draft.name,
        status=TaskStatus.QUEUED if is_queued else created.status,
        queue=draft.queue,
        priority=draft.priority,
        attributes=dict(draft.attributes),
        tags=draft.tags,
        unique_key=draft.unique_key,
        parent_id=draft.parent_id,
        position=draft.position,
        request_id=draft.request_id,
        created_by=draft.created_by,
        created_ip=draft.created_ip,
        created_at=moment,
        updated_at=moment,
        run_at=created.run_at,
        held_by=created.held_by,
        deadline_at=draft.deadline_at,
        notify_id=draft.notify_id,
        inline_input=draft.input,
        input_ref=draft.input_ref,
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
