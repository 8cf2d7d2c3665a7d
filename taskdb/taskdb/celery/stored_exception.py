"""Makes an exception again from its class name and its message in a row.

Only classes that this process has already imported are used, so a row cannot run other code. Many
classes cannot be built from a message alone; the caller must see the message in any case.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_PARTS_ARE_LOST = "the exceptions of the group are not kept; see the traceback of the task"


def exception_of(name: str, message: str) -> Exception:
    """Return an exception of the class with this dotted name, whose text has the message.

    Returns a plain `Exception` if this process does not know the class, or cannot build it.
    """
    kind = _known(name)
    if kind is not None:
        is_group = issubclass(kind, ExceptionGroup)
        for make in (_grouped,) if is_group else (_called, _bare, _spoken):
            made = _tried(make, kind, message)
            if made is not None:
                return made
    return Exception(message if kind is None else f"{name}: {message}")


def _known(name: str) -> type[Exception] | None:
    """Return the exception class of this name, which may lie in another class."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        if found is None:
            continue
        for part in parts[end:]:
            # `getattr` could run code (a module's own `__getattr__`).
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        return found if isinstance(found, type) and issubclass(found, Exception) else None
    return None


def _tried(
    make: Callable[[type[Exception], str], Exception], kind: type[Exception], message: str
) -> Exception | None:
    try:
        made = make(kind, message)
        # A text without the message would be misleading.
        is_right = isinstance(made, kind) and message in str(made)
    except BaseException:  # noqa: BLE001 - constructor and text are foreign code
        return None
    return made if is_right else None


def _called(kind: type[Exception], message: str) -> Exception:
    return kind(message)


def _bare(kind: type[Exception], message: str) -> Exception:
    """Build it without its constructor, which needs values that the row does not have."""
    made = kind.__new__(kind)
    made.args = (message,)
    return made


def _grouped(kind: type[Exception], message: str) -> Exception:
    made: Any = kind
    return made(message, [Exception(_PARTS_ARE_LOST)])  # type: ignore[no-any-return]


def _spoken(kind: type[Exception], message: str) -> Exception:
    """Build a subclass, for a class whose text needs values that the row does not have."""
    own = {"__str__": lambda _: message, "__module__": kind.__module__}
    return _bare(type(kind.__name__, (kind,), own), message)
