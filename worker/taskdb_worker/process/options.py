"""Options of Celery's worker that this worker refuses, each with the reason.

An option that has no effect, or another one, is worse than an error.
"""

# Celery has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import click
from celery.bin.worker import worker as worker_command
from celery.concurrency import get_implementation, prefork

from taskdb.errors import SettingsError
from taskdb.logger import get_logger
from taskdb_worker.process.prefork import TaskPool

log = get_logger("taskdb.worker")

_FOREGROUND = (
    "a worker stays in the foreground, where systemd, supervisor or a container runs it "
    "(in a shell: `taskdb worker … &`)"
)
_ONLY_DETACHED = f"it belongs to --detach, and {_FOREGROUND}; that program has it as well"
_BEAT = "Celery's own beat has neither the schedules nor the loops: run `taskdb beat` beside it"
_LIMITS = (
    "every task has limits of its own: name them with @task(timeout=…, soft_timeout=…), or for all "
    "types in TASKDB_TASK_TIME_LIMIT_SECONDS and TASKDB_TASK_SOFT_TIME_LIMIT_SECONDS"
)
_AT_THE_COMMAND: Mapping[str, str] = {
    "detach": _FOREGROUND,
    "umask": _ONLY_DETACHED,
    "executable": _ONLY_DETACHED,
}
"""Options that Celery's command acts on before there is a worker."""
_REFUSED: Mapping[str, str] = {
    "beat": _BEAT,
    "purge": (
        "it drops messages and no task, and what waits is published again: cancel tasks with "
        "`taskdb cancel`"
    ),
    "time_limit": _LIMITS,
    "soft_time_limit": _LIMITS,
}
_ONLY_FORK = "its processes share memory with the main one: leave it at fork"
_GREEN = ("gevent", "eventlet")
_NO_GREEN = (
    "a worker is taken for dead while one body computes, since its heartbeat is a greenlet as "
    "well, and `async def` bodies have no loop: use prefork, threads or solo"
)
_WITHOUT_LIMITS = "time limits, and the end of a body that goes on after a cancel, need prefork"


def refuse_at_the_command(arguments: list[str]) -> None:
    """Raise SettingsError for options that Celery's command acts on without this worker."""
    with suppress(click.ClickException):
        context = click.Context(worker_command, info_name="worker")
        given, _, _ = worker_command.make_parser(context).parse_args(list(arguments))
        _refuse(given, _AT_THE_COMMAND)
        refuse_named_pool(given.get("pool"))


def refuse_options(given: Mapping[str, Any]) -> None:
    """Raise SettingsError for an option that this worker cannot honor."""
    _refuse(given, _REFUSED)
    if given.get("pool_start_method") not in {None, "", "fork"}:
        _refuse(given, {"pool_start_method": _ONLY_FORK})


def refuse_named_pool(named: Any) -> None:
    """Raise SettingsError for a green pool by its name, also if it is not installed."""
    if isinstance(named, str) and any(green in named for green in _GREEN):
        raise _wrong("pool", named, _NO_GREEN)


def fit_pool(named: Any, *, is_own: bool = True) -> Any:
    """Return the pool that an option or a setting names. Raises SettingsError for a green one."""
    refuse_named_pool(named)
    pool = get_implementation(named)
    if _is_green(pool):
        raise _wrong("pool", f"{pool.__module__}:{pool.__qualname__}", _NO_GREEN)
    _refuse_patched()
    return TaskPool if is_own and pool is prefork.TaskPool else pool


def tell_of_missing_limits(pool: Any) -> None:
    """Log the limits that a pool without processes cannot keep."""
    if not issubclass(pool, prefork.TaskPool):
        log.warning("pool.limits_ignored", pool=pool.__module__, reason=_WITHOUT_LIMITS)


def _refuse(given: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    for name, reason in reasons.items():
        if given.get(name):
            raise _wrong(name, given[name], reason)


def _is_green(pool: Any) -> bool:
    is_of_theirs = any(
        green in one.__module__ for one in getattr(pool, "__mro__", ()) for green in _GREEN
    )
    return is_of_theirs or bool(getattr(pool, "is_green", False))


def _refuse_patched() -> None:
    """Raise SettingsError in a process whose threads are greenlets, with any pool."""
    gevent = sys.modules.get("gevent.monkey")
    eventlet = sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        raise _wrong("gevent", "monkey-patched threads", _NO_GREEN)
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise _wrong("eventlet", "monkey-patched threads", _NO_GREEN)


def _wrong(name: str, value: Any, reason: str) -> SettingsError:
    option = f"--{name.replace('_', '-')}"
    shown = option if value is True else f"{option} {value}"
    return SettingsError(f"{shown} is not for this worker: {reason}")
