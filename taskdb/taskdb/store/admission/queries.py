"""The statements of limits and slots, read from the file beside this module."""

from __future__ import annotations

from functools import cache

from taskdb.store.engine.dialect import Columns, StoreDialect
from taskdb.store.task.statements import Queries, queries_of

_COLUMNS: dict[str, Columns] = {
    "keys": {"key": "text"},
    "lines": {"key": "text", "target": "text", "name": "text"},
    "places": {"target": "text", "name": "text"},
    "slots": {"key": "text", "n": "integer", "task_id": "id", "seconds": "number"},
    "reservations": {"key": "text", "task_id": "id"},
    "holds": {"id": "id", "held_by": "text"},
}


@cache
def gate_queries_for(d: StoreDialect) -> Queries:
    """Write every statement for one dialect."""
    return queries_of(d, "taskdb.store.admission", _COLUMNS)
