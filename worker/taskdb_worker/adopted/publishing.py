"""A mark while a watched app publishes: the signal of a publish names no app.

An app publishes only through `send_task`. While the app is watched, its instance has its own
`send_task`, which sets the mark around the call and changes nothing else.
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
                # A caller kept this function for longer than the app was watched.
                return original(*arguments, **options)
            token = _app.set(app)
            try:
                return original(*arguments, **options)
            finally:
                _app.reset(token)

        self._marked = send_task

    def begin(self) -> None:
        """Start to mark."""
        self._before = vars(self._app).get(_ATTRIBUTE)
        self._is_on = True
        setattr(self._app, _ATTRIBUTE, self._marked)

    def end(self) -> None:
        """Restore the app. A function that other code put over the mark stays."""
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
