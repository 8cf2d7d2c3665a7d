"""The columns that an insert writes from a draft, and those that a resubmit writes again."""

from __future__ import annotations

from taskdb.store.engine.dialect import Columns

DRAFT_COLUMNS: Columns = {
    "id": "id",
    "tenant": "text",
    "type": "text",
    "kind": "text",
    "role": "text",
    "name": "text",
    "queue": "text",
    "priority": "integer",
    "input": "text",
    "input_ref": "text",
    "attributes": "text",
    "tags": "text",
    "unique_key": "text",
    "parent_id": "id",
    "position": "integer",
    "chunk": "id",
    "spec": "text",
    "held_by": "text",
    "mutex_key": "text",
    "request_id": "text",
    "created_by": "text",
    "created_ip": "text",
    "deadline_at": "moment",
    "notify_id": "text",
}
TRACED_COLUMNS: Columns = {**DRAFT_COLUMNS, "trace": "text"}
WHEN: Columns = {"run_at": "moment", "delay": "number"}
"""The values from which the database computes when a draft is due, by its own clock."""
DRAFT_JSON = frozenset({"input", "attributes", "tags", "spec"})

PLACE = frozenset(
    {
        "id",
        "tenant",
        "type",
        "kind",
        "role",
        "unique_key",
        "parent_id",
        "position",
        "chunk",
        "spec",
        "held_by",
    }
)
"""The columns of the identity and the place of a row. A resubmit writes all others again."""
RESUBMITTED: Columns = {name: kind for name, kind in TRACED_COLUMNS.items() if name not in PLACE}
ASKED: Columns = {
    name: kind for name, kind in RESUBMITTED.items() if name not in {"input", "input_ref"}
}
"""The columns that a resubmit writes to a tree that continues. Its inputs are the same."""
