"""The module functions: a `TaskDB` that is built at first use, from the environment.

Where a framework has the settings, it is built anew when they change: a test suite names its own
database after the code under test was imported.
"""

from __future__ import annotations

import atexit
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Unpack

from taskdb.client.explanation import Explanation
from taskdb.client.schedules import ScheduleOptions
from taskdb.client.submission.options import Criteria, SubmitOptions
from taskdb.client.submission.step_cache import StepCache
from taskdb.client.submission.tree_draft import SequenceProgress
from taskdb.client.subscriptions import OVERLAP, SubscriptionOptions
from taskdb.client.taskdb import TaskDB, TaskPage
from taskdb.fork import RenewedLock
from taskdb.model.alarm.alarm import AlarmDelivery, AlarmEntity, AlarmSource, Severity
from taskdb.model.alarm.routing import Route
from taskdb.model.entity import SubTaskResult, TaskEntity, TaskEvent, TaskRole
from taskdb.model.fan_out import Counts
from taskdb.model.limit import Gate, GateOwner
from taskdb.model.schedule.schedule import Origin, Schedule, ScheduleEntity, ScheduleRun
from taskdb.model.subscription import (
    KeyedSubscription,
    SubscriptionEntity,
    SubscriptionState,
    TransportKind,
)
from taskdb.settings.source import settings_stamp
from taskdb.store.task.list import Order

_lock = RenewedLock()
_default: TaskDB | None = None
_built_from: Hashable = None
"""What the settings of the framework were when it was built."""
_is_by_hand = False


def default_taskdb() -> TaskDB:
    """The TaskDB that the module functions use; built from the environment at first use."""
    global _default, _built_from  # noqa: PLW0603 - the one default, behind a lock
    with _lock:
        if _default is not None and not _is_by_hand and _built_from != settings_stamp():
            atexit.unregister(_default.close)
            _default.close()
            _default = None
        if _default is None:
            _built_from = settings_stamp()
            _default = TaskDB()
            atexit.register(_default.close)
        return _default


def set_default(taskdb: TaskDB | None) -> None:
    """Make the module functions use this one; None goes back to that of the environment."""
    global _default, _is_by_hand  # noqa: PLW0603 - the one default, behind a lock
    with _lock:
        _default = taskdb
        _is_by_hand = taskdb is not None


@contextmanager
def replaced_default(taskdb: TaskDB) -> Iterator[None]:
    """Let the module functions use this one until the end of the block."""
    global _default, _is_by_hand
    with _lock:
        before = _default, _is_by_hand
        _default, _is_by_hand = taskdb, True
    try:
        yield
    finally:
        with _lock:
            _default, _is_by_hand = before


def submit_task(
    type: str,
    input: Any = None,
    *,
    session: Any = None,
    **options: Unpack[SubmitOptions],
) -> TaskEntity:
    """`TaskDB.submit_task` on the default TaskDB."""
    return default_taskdb().submit_task(type, input, session=session, **options)


def submit_many(
    type: str,
    inputs: Iterable[Any],
    *,
    session: Any = None,
    **options: Unpack[SubmitOptions],
) -> list[TaskEntity]:
    """`TaskDB.submit_many` on the default TaskDB."""
    return default_taskdb().submit_many(type, inputs, session=session, **options)


def submit_fan_out(
    type: str,
    items: Iterable[Any],
    *,
    session: Any = None,
    **options: Any,
) -> TaskEntity:
    """`TaskDB.submit_fan_out` on the default TaskDB."""
    return default_taskdb().submit_fan_out(type, items, session=session, **options)


def submit_sequence(
    sequence: str,
    payload: Any = None,
    *,
    session: Any = None,
    **options: Any,
) -> TaskEntity:
    """`TaskDB.submit_sequence` on the default TaskDB."""
    return default_taskdb().submit_sequence(sequence, payload, session=session, **options)


def sub_tasks(
    reference: str,
    *,
    after: int = -1,
    limit: int = 1_000,
    role: TaskRole | str | None = None,
) -> list[TaskEntity]:
    """`TaskDB.sub_tasks` on the default TaskDB."""
    return default_taskdb().sub_tasks(reference, after=after, limit=limit, role=role)


def sub_task_results(
    reference: str,
    *,
    after: int = -1,
    limit: int = 1_000,
    role: TaskRole | str | None = TaskRole.PART,
) -> list[SubTaskResult]:
    """`TaskDB.sub_task_results` on the default TaskDB."""
    return default_taskdb().sub_task_results(reference, after=after, limit=limit, role=role)


def sub_task_counts(reference: str) -> Counts:
    """`TaskDB.sub_task_counts` on the default TaskDB."""
    return default_taskdb().sub_task_counts(reference)


def sequence_progress(reference: str, *, cache: StepCache | None = None) -> SequenceProgress:
    """`TaskDB.sequence_progress` on the default TaskDB."""
    return default_taskdb().sequence_progress(reference, cache=cache)


def get_task(reference: str) -> TaskEntity:
    """`TaskDB.get_task` on the default TaskDB."""
    return default_taskdb().get_task(reference)


def list_tasks(
    *,
    limit: int = 50,
    cursor: str | None = None,
    order: Order = "newest",
    **criteria: Unpack[Criteria],
) -> TaskPage:
    """`TaskDB.list_tasks` on the default TaskDB."""
    return default_taskdb().list_tasks(limit=limit, cursor=cursor, order=order, **criteria)


def task_history(reference: str) -> list[TaskEvent]:
    """`TaskDB.task_history` on the default TaskDB."""
    return default_taskdb().task_history(reference)


def explain_task(reference: str) -> Explanation:
    """`TaskDB.explain_task` on the default TaskDB."""
    return default_taskdb().explain_task(reference)


def wait_task(reference: str, timeout: float | None = None) -> TaskEntity:
    """`TaskDB.wait` on the default TaskDB."""
    return default_taskdb().wait(reference, timeout)


def cancel_task(reference: str, *, by: str | None = None) -> TaskEntity:
    """`TaskDB.cancel_task` on the default TaskDB."""
    return default_taskdb().cancel_task(reference, by=by)


def resume_task(
    token: str, output: Any = None, *, error: str | None = None, by: str | None = None
) -> TaskEntity:
    """`TaskDB.resume_task` on the default TaskDB."""
    return default_taskdb().resume_task(token, output, error=error, by=by)


def retry_task(reference: str, *, force: bool = False, by: str | None = None) -> TaskEntity:
    """`TaskDB.retry_task` on the default TaskDB."""
    return default_taskdb().retry_task(reference, force=force, by=by)


def add_schedule(
    name: str,
    type: str,
    input: Any = None,
    *,
    replace: bool = False,
    created_by: str | None = None,
    **options: Unpack[ScheduleOptions],
) -> ScheduleEntity:
    """`TaskDB.add_schedule` on the default TaskDB."""
    return default_taskdb().add_schedule(
        name, type, input, replace=replace, created_by=created_by, **options
    )


def list_schedules(
    *, tenant: str | None = None, origin: Origin | str | None = None
) -> list[ScheduleEntity]:
    """`TaskDB.list_schedules` on the default TaskDB."""
    return default_taskdb().list_schedules(tenant=tenant, origin=origin)


def get_schedule(reference: str, *, tenant: str | None = None) -> ScheduleEntity:
    """`TaskDB.get_schedule` on the default TaskDB."""
    return default_taskdb().get_schedule(reference, tenant=tenant)


def pause_schedule(
    reference: str, *, tenant: str | None = None, by: str | None = None
) -> ScheduleEntity:
    """`TaskDB.pause_schedule` on the default TaskDB."""
    return default_taskdb().pause_schedule(reference, tenant=tenant, by=by)


def resume_schedule(
    reference: str, *, tenant: str | None = None, by: str | None = None
) -> ScheduleEntity:
    """`TaskDB.resume_schedule` on the default TaskDB."""
    return default_taskdb().resume_schedule(reference, tenant=tenant, by=by)


def run_schedule_now(
    reference: str, *, tenant: str | None = None, by: str | None = None
) -> TaskEntity:
    """`TaskDB.run_schedule_now` on the default TaskDB."""
    return default_taskdb().run_schedule_now(reference, tenant=tenant, by=by)


def remove_schedule(reference: str, *, tenant: str | None = None, by: str | None = None) -> None:
    """`TaskDB.remove_schedule` on the default TaskDB."""
    default_taskdb().remove_schedule(reference, tenant=tenant, by=by)


def schedule_runs(
    reference: str, *, tenant: str | None = None, limit: int = 50
) -> list[ScheduleRun]:
    """`TaskDB.schedule_runs` on the default TaskDB."""
    return default_taskdb().schedule_runs(reference, tenant=tenant, limit=limit)


def preview_schedule(
    reference: str, *, tenant: str | None = None, count: int = 10
) -> list[datetime]:
    """`TaskDB.preview_schedule` on the default TaskDB."""
    return default_taskdb().preview_schedule(reference, tenant=tenant, count=count)


def preview(schedule: Schedule | str, *, count: int = 10) -> list[datetime]:
    """`TaskDB.preview` on the default TaskDB."""
    return default_taskdb().preview(schedule, count=count)


def add_subscription(
    name: str,
    transport: TransportKind | str,
    target: str = "",
    **options: Unpack[SubscriptionOptions],
) -> KeyedSubscription:
    """`TaskDB.add_subscription` on the default TaskDB."""
    return default_taskdb().add_subscription(name, transport, target, **options)


def list_subscriptions(
    *, tenant: str | None = None, state: SubscriptionState | str | None = None
) -> list[SubscriptionEntity]:
    """`TaskDB.list_subscriptions` on the default TaskDB."""
    return default_taskdb().list_subscriptions(tenant=tenant, state=state)


def get_subscription(reference: str, *, tenant: str | None = None) -> SubscriptionEntity:
    """`TaskDB.get_subscription` on the default TaskDB."""
    return default_taskdb().get_subscription(reference, tenant=tenant)


def try_subscription(reference: str, *, tenant: str | None = None) -> str:
    """`TaskDB.try_subscription` on the default TaskDB."""
    return default_taskdb().try_subscription(reference, tenant=tenant)


def pause_subscription(
    reference: str, *, tenant: str | None = None, by: str | None = None
) -> SubscriptionEntity:
    """`TaskDB.pause_subscription` on the default TaskDB."""
    return default_taskdb().pause_subscription(reference, tenant=tenant, by=by)


def resume_subscription(
    reference: str, *, tenant: str | None = None, by: str | None = None
) -> SubscriptionEntity:
    """`TaskDB.resume_subscription` on the default TaskDB."""
    return default_taskdb().resume_subscription(reference, tenant=tenant, by=by)


def replay_subscription(
    reference: str, start: str | datetime, *, tenant: str | None = None, by: str | None = None
) -> SubscriptionEntity:
    """`TaskDB.replay_subscription` on the default TaskDB."""
    return default_taskdb().replay_subscription(reference, start, tenant=tenant, by=by)


def rotate_subscription_secret(
    reference: str,
    *,
    secret: str | None = None,
    overlap: timedelta = OVERLAP,
    tenant: str | None = None,
    by: str | None = None,
) -> KeyedSubscription:
    """`TaskDB.rotate_subscription_secret` on the default TaskDB."""
    return default_taskdb().rotate_subscription_secret(
        reference, secret=secret, overlap=overlap, tenant=tenant, by=by
    )


def remove_subscription(
    reference: str, *, tenant: str | None = None, by: str | None = None
) -> None:
    """`TaskDB.remove_subscription` on the default TaskDB."""
    default_taskdb().remove_subscription(reference, tenant=tenant, by=by)


def pause(
    *,
    queue: str | None = None,
    type: str | None = None,
    tenant: str | None = None,
    reason: str | None = None,
    by: str | None = None,
) -> None:
    """`TaskDB.pause` on the default TaskDB."""
    default_taskdb().pause(queue=queue, type=type, tenant=tenant, reason=reason, by=by)


def resume(
    *,
    queue: str | None = None,
    type: str | None = None,
    tenant: str | None = None,
    owner: GateOwner | None = None,
    by: str | None = None,
) -> bool:
    """`TaskDB.resume` on the default TaskDB."""
    return default_taskdb().resume(queue=queue, type=type, tenant=tenant, owner=owner, by=by)


def set_limit(
    *,
    queue: str | None = None,
    type: str | None = None,
    tenant: str | None = None,
    max_running: int | None = None,
    max_starts: int | None = None,
    per: timedelta | float | None = None,
    by: str | None = None,
) -> None:
    """`TaskDB.set_limit` on the default TaskDB."""
    default_taskdb().set_limit(
        queue=queue,
        type=type,
        tenant=tenant,
        max_running=max_running,
        max_starts=max_starts,
        per=per,
        by=by,
    )


def clear_limit(
    *,
    queue: str | None = None,
    type: str | None = None,
    tenant: str | None = None,
    owner: GateOwner | None = None,
    by: str | None = None,
) -> bool:
    """`TaskDB.clear_limit` on the default TaskDB."""
    return default_taskdb().clear_limit(queue=queue, type=type, tenant=tenant, owner=owner, by=by)


def gates() -> list[Gate]:
    """`TaskDB.gates` on the default TaskDB."""
    return default_taskdb().gates()


def list_alarms(
    *,
    state: str | Iterable[str] = (),
    tenant: str | None = None,
    type: str | None = None,
    undelivered: bool = False,
    unrouted: bool = False,
    limit: int = 100,
) -> list[AlarmEntity]:
    """`TaskDB.list_alarms` on the default TaskDB."""
    return default_taskdb().list_alarms(
        state=state,
        tenant=tenant,
        type=type,
        undelivered=undelivered,
        unrouted=unrouted,
        limit=limit,
    )


def get_alarm(reference: str) -> AlarmEntity:
    """`TaskDB.get_alarm` on the default TaskDB."""
    return default_taskdb().get_alarm(reference)


def alarm_deliveries(reference: str) -> list[AlarmDelivery]:
    """`TaskDB.alarm_deliveries` on the default TaskDB."""
    return default_taskdb().alarm_deliveries(reference)


def acknowledge_alarm(
    reference: str, *, by: str | None = None, note: str | None = None
) -> AlarmEntity:
    """`TaskDB.acknowledge_alarm` on the default TaskDB."""
    return default_taskdb().acknowledge_alarm(reference, by=by, note=note)


def snooze_alarm(
    reference: str, until: datetime | timedelta | float, *, by: str | None = None
) -> AlarmEntity:
    """`TaskDB.snooze_alarm` on the default TaskDB."""
    return default_taskdb().snooze_alarm(reference, until, by=by)


def resolve_alarm(reference: str, *, by: str | None = None, note: str | None = None) -> AlarmEntity:
    """`TaskDB.resolve_alarm` on the default TaskDB."""
    return default_taskdb().resolve_alarm(reference, by=by, note=note)


def alarm_routes() -> list[Route]:
    """`TaskDB.alarm_routes` on the default TaskDB."""
    return default_taskdb().alarm_routes()


def add_alarm_route(
    to: str | Sequence[str],
    *,
    tenant: str | None = None,
    type: str | None = None,
    severity: str | Severity = Severity.INFO,
    source: str | AlarmSource | None = None,
    by: str | None = None,
) -> str:
    """`TaskDB.add_alarm_route` on the default TaskDB."""
    return default_taskdb().add_alarm_route(
        to, tenant=tenant, type=type, severity=severity, source=source, by=by
    )


def remove_alarm_route(route_id: str, *, by: str | None = None) -> bool:
    """`TaskDB.remove_alarm_route` on the default TaskDB."""
    return default_taskdb().remove_alarm_route(route_id, by=by)
