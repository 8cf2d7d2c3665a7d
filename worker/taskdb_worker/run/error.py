"""An exception of a body, as text for its row."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Container
from typing import Any, TypeVar

from billiard.common import terminate_handler_fired

from taskdb.model.entity import TaskError
from taskdb.model.json_text import storable

T = TypeVar("T")

_LONGEST_PICKLE = 65_536
"""The most bytes of an exception that Celery sends to the main process and logs."""


def task_error(error: BaseException, attempt: int, shown: str = "") -> TaskError:
    """Return an exception as the row stores it."""
    return TaskError(name_of(error), storable(message_of(error)), storable(shown), attempt)


def traceback_text(error: BaseException, ours: Container[str]) -> str:
    """Return the traceback without the frames of these files at its head: every one has them."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in ours:
        frames = frames.tb_next
    if frames is None:
        return ""
    alone = (*traceback.format_tb(frames), f"{name_of(error)}: {message_of(error)}")
    return _read(
        lambda: "".join(traceback.format_exception(type(error), error, frames)),
        # Its notes, its attributes or one of its causes cannot be read.
        lambda _: "".join(alone),
    )


def message_of(error: BaseException) -> str:
    """Return the message of the error, or a text that it cannot be read."""
    return _read(
        # Plain text: the object that `__str__` returns may have methods of its own.
        lambda: str.__str__(str(error)),
        lambda broken: f"<{name_of(error)} whose message cannot be read: {name_of(broken)}>",
    )


def fit_for_celery(error: BaseException | None) -> Exception | None:
    """Return the error if Celery can print it and send it between processes, else None.

    Celery reads attributes, formats all causes and pickles. Each may run code of the exception.
    """
    if error is None or not is_a(error, Exception):
        return None
    return _read(lambda: _round_trip(error), lambda _: None)


def _round_trip(error: Any) -> Exception | None:
    packed = pickle.dumps(error)
    repr(error), str(error), getattr(error, "no_such_attribute", None)
    isinstance(error, OSError)
    traceback.format_exception(error)
    is_same = type(pickle.loads(packed)) is type(error)  # noqa: S301 - made a line above
    return error if is_same and len(packed) <= _LONGEST_PICKLE else None


def is_a(error: BaseException, kinds: type[Any] | tuple[type[Any], ...]) -> bool:
    """Check like `isinstance`, without the `__class__` of the exception, which may be anything."""
    return issubclass(type(error), kinds)


def name_of(error: BaseException) -> str:
    # Not by attributes of the class: its metaclass may compute them.
    module, name = (
        type.__getattribute__(type(error), one) for one in ("__module__", "__qualname__")
    )
    return storable(name if module == "builtins" else f"{module}.{name}")


def _read(read: Callable[[], T], instead: Callable[[BaseException], T]) -> T:
    """Read from an exception of a body, or return `instead`: its methods may raise anything."""
    try:
        return read()
    except BaseException as broken:
        if terminate_handler_fired():
            raise
        return instead(broken)


def no_such_end(error: BaseException) -> Exception:
    """Return the error that replaces an end of Celery's that a tracked body does not have."""
    return TypeError(
        f"a body may not raise Celery's {type(error).__name__}: raise taskdb.Cancel to stop the "
        "task, or taskdb.Fail to fail it"
    )
