"""What every part of the store stands on."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from taskdb.model.entity import TaskError
from taskdb.model.json_text import encode, storable
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import Moved, MoveStatement
from taskdb.store.task.moves.moves import Moves, moves_for
from taskdb.store.task.queries import Queries, queries_for

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EXCERPT = 500
_FRAME = re.compile(r'^ *File "([^"\n]+)", line \d+, in (\S+)', re.MULTILINE)
_LIBRARY = re.compile(r"(?:site|dist)-packages|[\\/]lib(?:64)?[\\/]python\d|^<(?:frozen|string)")
LEAST_ID = "00000000-0000-0000-0000-000000000000"
"""Comes before every id."""


class StorePart:
    """A group of verbs over one database."""

    database: Database
    aside: Aside
    grace: timedelta
    """How long a row that its own process will publish is left alone by the relay."""

    @property
    def moves(self) -> Moves:
        return moves_for(self.database.dialect)

    @property
    def queries(self) -> Queries:
        return queries_for(self.database.dialect)

    def move_one(self, statement: MoveStatement, parameters: dict[str, Any]) -> Moved | None:
        """Carry out a move of the row `id`; None when there is no such row.

        A foreign id (Celery takes any text for one) is that of no row.
        """
        if not is_id(parameters["id"]):
            return None
        moved = self.database.move(statement, parameters)
        return moved[0] if moved else None

    def moves_one(self, statement: MoveStatement, parameters: dict[str, Any]) -> bool:
        """The same; whether it moved."""
        moved = self.move_one(statement, parameters)
        return moved is not None and moved.after is not None


def is_id(text: str) -> bool:
    """Whether this may be the id of a task: a UUID in its usual spelling."""
    return _ID.fullmatch(text) is not None


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
