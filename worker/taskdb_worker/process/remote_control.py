"""Celery's remote control in a worker, restricted for tasks that have a row.

A command is a message, which any client of the broker can send. So no command cancels a row, ends a
body or changes a limit by itself. `revoke` and `terminate` end a body at once, without the grace of
a cancel, only if its row asks for a cancel. Plain Celery tasks are revoked and limited as in any
worker.
"""

# Celery has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.utils.functional import maybe_list
from celery.worker import state as worker_state
from celery.worker.control import Panel

from taskdb.logger import get_logger
from taskdb.redaction.redaction import Redaction
from taskdb_worker.run.tracked_task import TrackedTask

log = get_logger("taskdb.worker")

_TELLING = ("conf", "dump_conf", "report", "stats")
_celerys = {name: Panel.data[name] for name in ("revoke", "terminate", "time_limit", *_TELLING)}
_MOST = 262_144
"""The most characters of one reply."""


def install_remote_control() -> None:
    """Replace Celery's commands. For another app they do what Celery's do."""
    Panel.data.update({"revoke": _revoke, "terminate": _terminate, "time_limit": _time_limit})
    Panel.data.update({name: _without_secrets(name) for name in _TELLING})


def _without_secrets(name: str) -> Callable[..., Any]:
    """Return a redacted command. Celery masks few names, no nested ones, and few URLs."""

    def answer(state: Any, *arguments: Any, **options: Any) -> Any:
        found = _celerys[name](state, *arguments, **options)
        taskdb = getattr(state.app, "taskdb_reader", None)
        if taskdb is None:
            return found
        settings = taskdb.settings
        if name == "report":
            redacted = settings.redaction.text(found["ok"], _MOST, known=settings.secrets)
            return {"ok": redacted}
        # Nothing else in `stats` is set by a user, and it may have many values.
        hidden = {"broker"} if name == "stats" else found.keys()
        return {
            one: _masked(settings.redaction, one, value) if one in hidden else value
            for one, value in found.items()
        }

    return answer


def _masked(redaction: Redaction, name: str, value: Any) -> Any:
    (masked,) = redaction.value({name: value}, _MOST).values()
    return masked


def _revoke(
    state: Any,
    task_id: Any,
    terminate: bool = False,  # noqa: FBT001, FBT002 - Celery's signature
    signal: Any = None,
    **options: Any,
) -> Any:
    end_now: Callable[[set[str]], None] | None = getattr(state.app, "taskdb_end_now", None)
    if end_now is None:
        return _celerys["revoke"](state, task_id, terminate, signal, **options)
    ids = {one for one in maybe_list(task_id) or () if isinstance(one, str)}
    tracked = {one for one in ids if _is_tracked(worker_state.requests.get(one))}
    plain = ids - tracked
    if tracked and terminate:
        end_now(tracked)
    if tracked:
        advice = "a row is canceled by `taskdb cancel`, or by a client; remote control cancels none"
        log.info("revoke.delegated", count=len(tracked), advice=advice)
    if plain:
        return _celerys["revoke"](state, sorted(plain), terminate, signal, **options)
    return {"ok": f"left to the rows of {len(tracked)} tasks"}


def _terminate(state: Any, signal: Any, task_id: Any, **options: Any) -> Any:
    return _revoke(state, task_id, terminate=True, signal=signal, **options)


def _time_limit(
    state: Any, task_name: Any = None, hard: Any = None, soft: Any = None, **options: Any
) -> Any:
    if isinstance(state.app.tasks.get(task_name), TrackedTask):
        return {"error": f"the task type {task_name!r} has its limits from its own declaration"}
    return _celerys["time_limit"](state, task_name, hard=hard, soft=soft, **options)


def _is_tracked(request: Any) -> bool:
    return isinstance(getattr(request, "task", None), TrackedTask)
