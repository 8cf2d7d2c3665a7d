"""The module functions for coroutines: each runs its blocking twin in a thread.

Only a submit that joins an asynchronous session stays on its loop, where the session lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from taskdb.client.default import (
    acknowledge_alarm,
    add_alarm_route,
    add_schedule,
    add_subscription,
    alarm_deliveries,
    alarm_routes,
    cancel_task,
    clear_limit,
    default_taskdb,
    explain_task,
    gates,
    get_alarm,
    get_schedule,
    get_subscription,
    get_task,
    list_alarms,
    list_schedules,
    list_subscriptions,
    list_tasks,
    pause,
    pause_schedule,
    pause_subscription,
    preview,
    preview_schedule,
    remove_alarm_route,
    remove_schedule,
    remove_subscription,
    replay_subscription,
    resolve_alarm,
    resume,
    resume_schedule,
    resume_subscription,
    resume_task,
    retry_task,
    rotate_subscription_secret,
    run_schedule_now,
    schedule_runs,
    set_limit,
    snooze_alarm,
    task_history,
    try_subscription,
)
from taskdb.client.submission.options import SubmitOptions
from taskdb.model.entity import TaskEntity

if TYPE_CHECKING:
    # Importing it for real needs greenlet, which only asynchronous callers have.
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

P = ParamSpec("P")
T = TypeVar("T")


async def submit_task_async(
    type: str,
    input: Any = None,
    *,
    session: AsyncSession | AsyncConnection | None = None,
    **options: Unpack[SubmitOptions],
) -> TaskEntity:
    """`TaskDB.submit_task_async` on the default TaskDB."""
    taskdb = await asyncio.to_thread(default_taskdb)
    return await taskdb.submit_task_async(type, input, session=session, **options)


async def submit_many_async(
    type: str,
    inputs: Iterable[Any],
    *,
    session: AsyncSession | AsyncConnection | None = None,
    **options: Unpack[SubmitOptions],
) -> list[TaskEntity]:
    """`TaskDB.submit_many_async` on the default TaskDB."""
    taskdb = await asyncio.to_thread(default_taskdb)
    return await taskdb.submit_many_async(type, inputs, session=session, **options)


async def submit_fan_out_async(
    type: str,
    items: Iterable[Any],
    *,
    session: AsyncSession | AsyncConnection | None = None,
    **options: Any,
) -> TaskEntity:
    """`TaskDB.submit_fan_out_async` on the default TaskDB."""
    taskdb = await asyncio.to_thread(default_taskdb)
    return await taskdb.submit_fan_out_async(type, items, session=session, **options)


async def submit_sequence_async(
    sequence: str,
    payload: Any = None,
    *,
    session: AsyncSession | AsyncConnection | None = None,
    **options: Any,
) -> TaskEntity:
    """`TaskDB.submit_sequence_async` on the default TaskDB."""
    taskdb = await asyncio.to_thread(default_taskdb)
    return await taskdb.submit_sequence_async(sequence, payload, session=session, **options)


async def wait_task_async(
    reference: str,
    timeout: float | None = None,  # noqa: ASYNC109 - as its twin
) -> TaskEntity:
    """`TaskDB.wait_async` on the default TaskDB; it holds no thread while it waits."""
    taskdb = await asyncio.to_thread(default_taskdb)
    return await taskdb.wait_async(reference, timeout)


def _in_thread(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(function)
    async def twin(*arguments: P.args, **keywords: P.kwargs) -> T:
        return await asyncio.to_thread(function, *arguments, **keywords)

    return twin


explain_task_async = _in_thread(explain_task)
get_task_async = _in_thread(get_task)
list_tasks_async = _in_thread(list_tasks)
task_history_async = _in_thread(task_history)
cancel_task_async = _in_thread(cancel_task)
resume_task_async = _in_thread(resume_task)
retry_task_async = _in_thread(retry_task)
add_schedule_async = _in_thread(add_schedule)
list_schedules_async = _in_thread(list_schedules)
get_schedule_async = _in_thread(get_schedule)
pause_schedule_async = _in_thread(pause_schedule)
resume_schedule_async = _in_thread(resume_schedule)
run_schedule_now_async = _in_thread(run_schedule_now)
remove_schedule_async = _in_thread(remove_schedule)
schedule_runs_async = _in_thread(schedule_runs)
preview_schedule_async = _in_thread(preview_schedule)
preview_async = _in_thread(preview)
pause_async = _in_thread(pause)
resume_async = _in_thread(resume)
set_limit_async = _in_thread(set_limit)
clear_limit_async = _in_thread(clear_limit)
gates_async = _in_thread(gates)
add_subscription_async = _in_thread(add_subscription)
get_subscription_async = _in_thread(get_subscription)
list_subscriptions_async = _in_thread(list_subscriptions)
pause_subscription_async = _in_thread(pause_subscription)
remove_subscription_async = _in_thread(remove_subscription)
replay_subscription_async = _in_thread(replay_subscription)
resume_subscription_async = _in_thread(resume_subscription)
rotate_subscription_secret_async = _in_thread(rotate_subscription_secret)
try_subscription_async = _in_thread(try_subscription)
list_alarms_async = _in_thread(list_alarms)
get_alarm_async = _in_thread(get_alarm)
alarm_deliveries_async = _in_thread(alarm_deliveries)
acknowledge_alarm_async = _in_thread(acknowledge_alarm)
snooze_alarm_async = _in_thread(snooze_alarm)
resolve_alarm_async = _in_thread(resolve_alarm)
alarm_routes_async = _in_thread(alarm_routes)
add_alarm_route_async = _in_thread(add_alarm_route)
remove_alarm_route_async = _in_thread(remove_alarm_route)
