"""The module functions: methods of the current rehearsal."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from taskdb.testing.clock import RehearsalClock
from taskdb.testing.rehearsal import Rehearsal, current

P = ParamSpec("P")
T = TypeVar("T")


def _of_current(method: Callable[Concatenate[Rehearsal, P], T]) -> Callable[P, T]:
    """Return the function that calls this method of the current rehearsal."""

    @wraps(method)
    def function(*arguments: P.args, **keywords: P.kwargs) -> T:
        return method(current(), *arguments, **keywords)

    signature = inspect.signature(method)
    own = [one for name, one in signature.parameters.items() if name != "self"]
    vars(function)["__signature__"] = signature.replace(parameters=own)
    return function


run_task = _of_current(Rehearsal.run_task)
run_task_async = _of_current(Rehearsal.run_task_async)
drain = _of_current(Rehearsal.drain)
drain_async = _of_current(Rehearsal.drain_async)
submitted = _of_current(Rehearsal.submitted)
assert_submitted = _of_current(Rehearsal.assert_submitted)


def clock() -> RehearsalClock:
    """Return the clock of the current rehearsal."""
    return current().clock
