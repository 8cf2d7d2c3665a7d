"""Helpers for the tests of an application: run a body, check submitted tasks, drain."""

from taskdb.testing.clock import RehearsalClock
from taskdb.testing.functions import (
    assert_submitted,
    clock,
    drain,
    drain_async,
    run_task,
    run_task_async,
    submitted,
)
from taskdb.testing.memory import memory_database
from taskdb.testing.rehearsal import Drained, DrainLimitReached, Rehearsal, current, rehearse

__all__ = [
    "DrainLimitReached",
    "Drained",
    "Rehearsal",
    "RehearsalClock",
    "assert_submitted",
    "clock",
    "current",
    "drain",
    "drain_async",
    "memory_database",
    "rehearse",
    "run_task",
    "run_task_async",
    "submitted",
]
