"""The statements of tasks in the dialect of a database, and the execution of moves."""

from __future__ import annotations

from typing import Any

from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import Moved, MoveStatement
from taskdb.store.engine.session import Row
from taskdb.store.task.statements import Moves, Queries, moves_for, queries_of
from taskdb.store.task.task_id import is_id


class TaskTable:
    """The moves and queries of task rows on one database. The parts of the store share it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def moves(self) -> Moves:
        """Every move, in the dialect of this database."""
        return moves_for(self._database.dialect)

    @property
    def queries(self) -> Queries:
        """Every query, in the dialect of this database."""
        return queries_of(self._database.dialect, "task/queries")

    def move(self, statement: MoveStatement, parameters: dict[str, Any]) -> Moved | None:
        """Carry out a move of the row `id`. Returns None when there is no such row.

        Celery accepts any text as an id. A text that is not a UUID is the id of no row.
        """
        if not is_id(parameters["id"]):
            return None
        moved = self._database.move(statement, parameters)
        return moved[0] if moved else None

    def has_moved(self, statement: MoveStatement, parameters: dict[str, Any]) -> bool:
        """Carry out a move of the row `id`. Returns whether the row moved."""
        moved = self.move(statement, parameters)
        return moved is not None and moved.after is not None

    def place(self, task_id: str) -> Row | None:
        """Return the place of a row in its tree, and its status; None when there is no row."""
        if not is_id(task_id):
            return None
        found = self._database.query(self.queries.place, {"id": task_id}, writes=False)
        return found[0] if found else None
