"""The class that every error of this package extends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from typing import Any, ClassVar

_HUMP = re.compile("(?<=[a-z])(?=[A-Z])")
_PACKAGE = __name__.rpartition(".")[0]


class TaskDBError(Exception):
    """The base of every error that this package raises on purpose.

    `code` is stable; it is the name of the class (`TASK_NOT_FOUND`), unless the class has another.
    A subclass with a constructor keeps each argument as an attribute of the same name; so its
    errors can be pickled, and cross a process with their data.
    """

    code: ClassVar[str] = "TASKDB_ERROR"
    page: ClassVar[str] = "reference/errors.md"
    """The page of the docs that helps most."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        # Rows keep the name of an error: it is the one to import, `taskdb.errors.TaskNotFound`.
        if cls.__module__.startswith(f"{_PACKAGE}."):
            cls.__module__ = _PACKAGE
        if "code" not in vars(cls):
            cls.code = _HUMP.sub("_", cls.__name__).upper()

    def __reduce__(self) -> Any:
        code = getattr(type(self).__init__, "__code__", None)
        if code is None:
            return super().__reduce__()
        names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        return (partial(type(self), **{name: getattr(self, name) for name in names}), ())


TaskDBError.__module__ = _PACKAGE


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of the known names, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
