"""An exception of a body, as words for its row."""

from __future__ import annotations

import traceback
from collections.abc import Container

from taskdb.entity import TaskError
from taskdb.store.encode import storable


def task_error(error: BaseException, attempt: int, shown: str = "") -> TaskError:
    """An exception as the row keeps it."""
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    return TaskError(name, storable(message_of(error)), storable(shown), attempt)


def traceback_text(error: BaseException, ours: Container[str]) -> str:
    """The traceback without the frames of these files at its head, which are in every one."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in ours:
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    return "".join(lines) if frames is not None else ""


def message_of(error: BaseException) -> str:
    """Its own words, or that it has none that can be read."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return f"<{type(error).__name__} whose message cannot be read: {type(broken).__name__}>"


def no_such_end(error: BaseException) -> Exception:
    """What stands for an end of Celery's that a tracked body does not have."""
    message = (
        f"a body may not raise Celery's {type(error).__name__}: raise taskdb.Cancel to stop the "
        "task, or taskdb.Fail to fail it"
    )
    return TypeError(message)
