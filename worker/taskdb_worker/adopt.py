"""`track`: every task of an existing Celery app becomes a row, and runs as before.

Adopted tasks are observed, not owned: TaskDB does not publish, retry or rescue them, and its
promises are not made for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery

from taskdb.client.taskdb import TaskDB
from taskdb.errors import AlreadyTracked, Fault, InvalidInput
from taskdb.model.bounds import NAME_BYTES, check_texts
from taskdb_worker.adopted.selection import Selection
from taskdb_worker.adopted.tracking import Tracking

ARGUMENTS_LIMIT = 4_096
RESULT_LIMIT = 4_096
_LARGEST_LIMIT = 65_536


def track(
    app: Celery,
    *,
    only: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    taskdb: TaskDB | None = None,
    tenant: str | None = None,
    arguments_limit: int = ARGUMENTS_LIMIT,
    result_limit: int = RESULT_LIMIT,
) -> Tracking:
    """Watch an app, in this process and in those that are forked from it.

    Call it where the app is created, so that publishers and workers both call it. It opens no
    connection and does not finalize the app. `only` and `exclude` are names or patterns
    (`billing.*`) of tasks. Arguments and results are stored as JSON, redacted
    (TASKDB_REDACT_FIELDS) and cut after `…_limit` characters; 0 stores none. The same call again
    returns the same. Raises InvalidInput, SettingsError, and AlreadyTracked for another call.
    """
    if not isinstance(_real(app), Celery):
        raise _wrong("app", f"{type(app).__name__} is not a Celery app")
    for name, limit in (("arguments_limit", arguments_limit), ("result_limit", result_limit)):
        if type(limit) is not int or not 0 <= limit <= _LARGEST_LIMIT:
            raise _wrong(name, f"characters, 0 to {_LARGEST_LIMIT:,}")
    check_texts("the call of track", NAME_BYTES, tenant=tenant)
    selection = Selection.of(only, exclude)
    found = _trackings.get(_real(app))
    if found is not None:
        if found.options != (selection, taskdb, tenant, arguments_limit, result_limit):
            raise AlreadyTracked(repr(app))
        return found
    tracking = Tracking(
        _real(app),
        selection,
        taskdb=taskdb,
        tenant=tenant,
        arguments_limit=arguments_limit,
        result_limit=result_limit,
    )
    _trackings[tracking.app] = tracking
    tracking.begin()
    return tracking


def untrack(app: Celery) -> bool:
    """Stop watching and restore the app. Returns whether it was watched.

    Writes pending reports first, for two seconds at most. Call it in each process that tracks.
    """
    tracking = _trackings.pop(_real(app), None)
    if tracking is None:
        return False
    tracking.end()
    return True


def _real(app: Any) -> Any:
    """Return the app itself where a proxy of it was given, such as `current_app`."""
    found = getattr(app, "_get_current_object", None)
    return app if found is None else found()


def _wrong(argument: str, advice: str) -> InvalidInput:
    return InvalidInput("the call of track", [Fault(argument, advice)])


_trackings: dict[Any, Tracking] = {}
