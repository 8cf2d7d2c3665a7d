"""Errors and reasons as the columns and the history store them."""

from __future__ import annotations

import re
from typing import Any

from taskdb.model.entity import TaskError
from taskdb.model.json_text import encode, storable

_EXCERPT = 500
_FRAME = re.compile(r'^ *File "([^"\n]+)", line \d+, in (\S+)', re.MULTILINE)
_LIBRARY = re.compile(r"(?:site|dist)-packages|[\\/]lib(?:64)?[\\/]python\d|^<(?:frozen|string)")


def spelled_error(error: TaskError, by: str | None = None) -> dict[str, Any]:
    """Return an error for its column, and a short form for the history. Accepts any text.

    `by`: the actor, where a person reported the failure.
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
    """Return the innermost frame of a traceback that is not in a library: file and function.

    Line numbers change with each edit of a file, and folders differ between machines.
    """
    frames = _FRAME.findall(traceback)
    own = [frame for frame in frames if not _LIBRARY.search(frame[0])]
    if not frames:
        return ""
    path, function = (own or frames)[-1]
    parts = re.split(r"[\\/]", path)
    return storable(f"{'/'.join(parts[-2:])} in {function}")[:_EXCERPT]


def spelled_reason(reason: str, by: str | None = None) -> str:
    """Return the detail of an event with a reason. `by`: the actor of a change by hand."""
    detail = {"reason": storable(reason)}
    if by is not None:
        detail["by"] = storable(by)
    return encode(detail, "detail")
