"""Errors and reasons as the columns and the history have them."""

from __future__ import annotations

import re
from typing import Any

from taskdb.model.entity import TaskError
from taskdb.model.json_text import encode, storable

_EXCERPT = 500
_FRAME = re.compile(r'^ *File "([^"\n]+)", line \d+, in (\S+)', re.MULTILINE)
_LIBRARY = re.compile(r"(?:site|dist)-packages|[\\/]lib(?:64)?[\\/]python\d|^<(?:frozen|string)")


def spelled_error(error: TaskError, by: str | None = None) -> dict[str, Any]:
    """The error for its column, and a short form of it for the history; any text will do.

    `by` is the actor, where a person says that the task failed.
    """
    kind, message = storable(error.type), storable(error.message)
    whole = {
        "type": kind,
        "message": message,
        "traceback": storable(error.traceback),
        "attempt": error.attempt,
        **({"trace": error.trace} if error.trace else {}),
    }
    short = {"error": kind, "message": message[:_EXCERPT]}
    place = place_of(error.traceback)
    if place:
        short["place"] = place
    if by is not None:
        short["by"] = by
    return {"error": encode(whole, "error"), "detail": encode(short, "detail")}


def place_of(traceback: str) -> str:
    """Where an error was raised: the innermost frame that is no library's, without its line.

    Lines move with every change of a file, and folders differ between machines.
    """
    frames = _FRAME.findall(traceback)
    own = [frame for frame in frames if not _LIBRARY.search(frame[0])]
    if not frames:
        return ""
    path, function = (own or frames)[-1]
    parts = re.split(r"[\\/]", path)
    return storable(f"{'/'.join(parts[-2:])} in {function}")[:_EXCERPT]


def spelled_reason(reason: str, by: str | None = None) -> str:
    """The detail of an event that has a reason, and of a change by hand its actor."""
    told = {"reason": storable(reason)}
    if by is not None:
        told["by"] = storable(by)
    return encode(told, "detail")
