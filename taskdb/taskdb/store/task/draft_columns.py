"""The columns that a draft fills: what an insert writes, and a resubmit writes again."""

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
"""What decides when a draft is due, by the clock of the database."""
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
"""What a row is and where it stands. A resubmit finds it by this; all else it writes anew."""
RESUBMITTED: Columns = {name: kind for name, kind in TRACED_COLUMNS.items() if name not in PLACE}
ASKED: Columns = {
    name: kind for name, kind in RESUBMITTED.items() if name not in {"input", "input_ref"}
}
"""What a tree that goes on is asked anew; its inputs are the same."""
