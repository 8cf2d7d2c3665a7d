"""Whether a watched app is publishing in this context: the signal of a publish names no app.

`send_task` is the one way on which an app publishes. While it is watched, the instance has its own,
which says so around the call and changes nothing of it.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import Any

_app: ContextVar[Any] = ContextVar("taskdb_publishing_app", default=None)
_ATTRIBUTE = "send_task"


class PublishMark:
    """Marks the publishes of one app."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._is_on = False
        original = self._original = app.send_task

        @functools.wraps(original)
        def send_task(*arguments: Any, **options: Any) -> Any:
            if not self._is_on:
                # Somebody kept it for longer than the app was watched.
                return original(*arguments, **options)
            token = _app.set(app)
            try:
                return original(*arguments, **options)
            finally:
                _app.reset(token)

        self._marked = send_task

    def begin(self) -> None:
        """Mark from here on."""
        self._before = vars(self._app).get(_ATTRIBUTE)
        self._is_on = True
        setattr(self._app, _ATTRIBUTE, self._marked)

    def end(self) -> None:
        """Leave the app as it was found; what someone else put over the mark stays."""
        self._is_on = False
        if vars(self._app).get(_ATTRIBUTE) is not self._marked:
            return
        if self._before is None:
            delattr(self._app, _ATTRIBUTE)
        else:
            setattr(self._app, _ATTRIBUTE, self._before)

    def is_here(self) -> bool:
        """Whether the app publishes in this context."""
        return _app.get() is self._app
