"""The verbs of every day as functions of the default `TaskDB`.

Each function is made from the method, so signature, types and docstring are written once.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from taskdb.client.default import default_taskdb
from taskdb.client.taskdb import TaskDB

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")


def _of_default(method: Callable[Concatenate[TaskDB, P], T]) -> Callable[P, T]:
    """Return the function that calls this method of the default TaskDB."""

    @wraps(method)
    def function(*arguments: P.args, **keywords: P.kwargs) -> T:
        return method(default_taskdb(), *arguments, **keywords)

    return _as_function(function, method)


def _of_default_async(
    method: Callable[Concatenate[TaskDB, P], Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return the coroutine function that calls this method; a thread builds the client."""

    @wraps(method)
    async def function(*arguments: P.args, **keywords: P.kwargs) -> T:
        return await method(await asyncio.to_thread(default_taskdb), *arguments, **keywords)

    return _as_function(function, method)


def _as_function(function: F, method: Callable[..., Any]) -> F:
    signature = inspect.signature(method)
    own = [one for name, one in signature.parameters.items() if name != "self"]
    vars(function)["__signature__"] = signature.replace(parameters=own)
    function.__qualname__ = function.__name__
    function.__module__ = __name__
    return function


submit_task = _of_default(TaskDB.submit_task)
submit_many = _of_default(TaskDB.submit_many)
submit_fan_out = _of_default(TaskDB.submit_fan_out)
submit_sequence = _of_default(TaskDB.submit_sequence)
get_task = _of_default(TaskDB.get_task)
list_tasks = _of_default(TaskDB.list_tasks)
wait_task = _of_default(TaskDB.wait_task)
cancel_task = _of_default(TaskDB.cancel_task)
retry_task = _of_default(TaskDB.retry_task)
resume_task = _of_default(TaskDB.resume_task)
task_history = _of_default(TaskDB.task_history)
explain_task = _of_default(TaskDB.explain_task)

submit_task_async = _of_default_async(TaskDB.submit_task_async)
submit_many_async = _of_default_async(TaskDB.submit_many_async)
submit_fan_out_async = _of_default_async(TaskDB.submit_fan_out_async)
submit_sequence_async = _of_default_async(TaskDB.submit_sequence_async)
get_task_async = _of_default_async(TaskDB.get_task_async)
list_tasks_async = _of_default_async(TaskDB.list_tasks_async)
wait_task_async = _of_default_async(TaskDB.wait_task_async)
cancel_task_async = _of_default_async(TaskDB.cancel_task_async)
retry_task_async = _of_default_async(TaskDB.retry_task_async)
resume_task_async = _of_default_async(TaskDB.resume_task_async)
task_history_async = _of_default_async(TaskDB.task_history_async)
explain_task_async = _of_default_async(TaskDB.explain_task_async)
