"""A snapshot of the app's values for a row: bounded, redacted, without calls of the app's code.

Taken at once, since a body may change its arguments. No method of a value is called: the text of a
model or a query set may query a database.
"""

from __future__ import annotations

from typing import Any

from taskdb.model.entity import TaskError
from taskdb.model.json_text import storable
from taskdb.redaction.redaction import Redaction
from taskdb_worker.run.error import task_error

_TRACEBACK_LIMIT = 16_384
_TEXT_LIMIT = 500


class Snapshot:
    """Takes snapshots, with the current redaction."""

    def __init__(self, redaction: Redaction, *, arguments_limit: int, result_limit: int) -> None:
        """Set the limits, in characters. 0 stores nothing."""
        self._redaction = redaction
        self._arguments_limit = arguments_limit
        self._result_limit = result_limit

    def arguments(self, args: Any, kwargs: Any) -> Any:
        """Return positional and keyword arguments as JSON values, or None if nothing is stored."""
        if not self._arguments_limit or (args is None and kwargs is None):
            return None
        value = {"args": list(args or ()), "kwargs": dict(kwargs or {})}
        return self._redaction.value(value, self._arguments_limit)

    def result(self, value: Any) -> Any:
        """Return the result of a body as JSON values, or None."""
        if not self._result_limit or value is None:
            return None
        return self._redaction.value(value, self._result_limit)

    def error(self, error: Any, einfo: Any = None) -> TaskError:
        """Return the error of a failed run, as Celery reports it."""
        if not isinstance(error, BaseException):
            return TaskError("Exception", self.text(error) or "no reason was given")
        traceback = getattr(einfo, "traceback", None)
        shown = storable(traceback, _TRACEBACK_LIMIT) if isinstance(traceback, str) else ""
        return task_error(error, 0, shown)

    def text(self, said: Any) -> str:
        """Return the text of a Celery exception."""
        return storable(str(said), _TEXT_LIMIT) if said else ""
