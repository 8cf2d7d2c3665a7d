"""Runs one of Django's tasks in a worker: its context, its signals, its return value."""

from __future__ import annotations

import traceback
from typing import Any

from django.utils import timezone

from taskdb.celery.body_end import asks_to_run_again, is_terminating
from taskdb.client.default import default_taskdb
from taskdb.contrib.django.framework.names import Framework
from taskdb.contrib.django.framework.result import NOTE, error_of, result_of
from taskdb.contrib.django.framework.task_type import Call
from taskdb.model.attempt import attempts_of
from taskdb.model.entity import Attempt, TaskEntity
from taskdb.model.outcome import Cancel, Fail, Halt, Outcome
from taskdb.model.status import TaskStatus
from taskdb.types.context import TaskContext
from taskdb.types.registry import default_registry

_ENDS = (Cancel, Fail, Halt)
"""Outcomes after which no attempt follows."""
_OF_PROCESS = (SystemExit, KeyboardInterrupt, MemoryError)
"""Exceptions that count as a crash, which has its own budget."""


def run_task(framework: Framework, django_task: Any, ctx: TaskContext, call: Call) -> Any:
    """Run the body of such a type: `task_started`, the function, `task_finished`.

    This process sends the second signal just before it writes the row. An attempt that another one
    follows does not send it, nor does one whose process was killed from outside.
    """
    alias = (ctx.attributes.get(NOTE) or {}).get("backend", django_task.backend)
    sender = type(framework.backends[alias])
    entity = default_taskdb().get_task(ctx.task_id)
    result = _started(framework, django_task, entity, ctx.attempt)
    framework.started.send_robust(sender, task_result=result)
    arguments = [framework.context(task_result=result)] if django_task.takes_context else []
    try:
        answer = django_task.call(*arguments, *call.args, **call.kwargs)
        if isinstance(answer, Outcome):
            raise answer  # noqa: TRY301 - returned or raised, it is the same
        value = framework.normalize_json(answer)
    except BaseException as error:
        if not is_terminating() and _is_last(ctx, error, entity.crashes):
            _failed(framework, result, error)
            framework.finished.send_robust(sender, task_result=result)
        raise
    object.__setattr__(result, "_return_value", value)
    _finished(result, framework.status.SUCCESSFUL)
    framework.finished.send_robust(sender, task_result=result)
    return value


def _started(framework: Framework, django_task: Any, entity: TaskEntity, attempt: int) -> Any:
    history = default_taskdb().task_history
    attempts = [_first(entity)] if attempt == 1 else attempts_of(history(entity.id))
    return result_of(framework, django_task, entity, attempts)


def _first(entity: TaskEntity) -> Attempt:
    started_at = entity.started_at or entity.updated_at
    return Attempt(1, entity.worker, started_at, None, TaskStatus.STARTED)


def _is_last(ctx: TaskContext, error: BaseException, crashes: int) -> bool:
    if isinstance(error, Outcome):
        return isinstance(error, _ENDS)
    if asks_to_run_again(error):
        return False
    if ctx.cancel_requested:
        return True
    retry = default_registry.get(ctx.type).retry
    if isinstance(error, _OF_PROCESS):
        most = default_taskdb().settings.max_crashes
        return not retry.after_crash or crashes + 1 >= most
    return not retry.wants(error, retry.max_attempts - ctx.attempts_left)


def _failed(framework: Framework, result: Any, error: BaseException) -> None:
    path = f"{type(error).__module__}.{type(error).__qualname__}"
    text = "".join(traceback.format_exception(error))
    result.errors.append(error_of(framework, path, text))
    _finished(result, framework.status.FAILED)


def _finished(result: Any, status: Any) -> None:
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", timezone.now())
