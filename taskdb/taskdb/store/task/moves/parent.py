"""What becomes of a parent; carried out under its lock, as its sub-tasks decide."""

from __future__ import annotations

from taskdb.model.status import OPEN, TERMINAL, TaskStatus, in_order
from taskdb.store.engine.dialect import MoveStatement, StoreDialect
from taskdb.store.task.moves.fragments import NO_WORKER, NOBODY, ONE, WAITS, is_in, to, waiting


def parent_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    """What becomes of a parent; carried out under its lock, as its sub-tasks decide."""
    # Whatever led here: what is over has nothing open below it.
    waits = (
        f"{WAITS} AND old.status IN ('PROCESSING', 'FINISHED') AND NOT EXISTS"
        " (SELECT 1 FROM taskdb_task AS s WHERE s.parent_id = old.id"
        f" AND s.status IN ({', '.join(repr(value) for value in in_order(OPEN))}))"
    )
    ended = (("waits_for", "NULL"), ("ended_at", d.now), *NO_WORKER)
    result = (("result", d.json("result")), ("result_ref", d.text("result_ref")))
    return {
        # A new parent begins to wait, a reopened one does so again, a waiting one for the next.
        "wait": MoveStatement(
            "wait",
            ONE,
            f"old.status = 'CREATED' OR ({WAITS} AND old.status = 'PROCESSING')",
            (*to("PROCESSING"), *waiting(d), *NOBODY, ("error", d.json("error"))),
        ),
        # One of its sub-tasks runs again, so it is not over.
        "reopen": MoveStatement(
            "retry",
            ONE,
            is_in({*TERMINAL, TaskStatus.HALTED}),
            (
                *to("CREATED"),
                *NOBODY,
                ("error", "NULL"),
                ("ended_at", "NULL"),
                ("cancel_requested_at", "NULL"),
            ),
        ),
        # Its time is up: the error stands there while its sub-tasks are stopped.
        "doom": MoveStatement(
            "doom",
            ONE,
            f"{WAITS} AND old.status = 'PROCESSING' AND old.error IS NULL",
            (("status", "old.status"), ("error", d.json("error"))),
        ),
        "join_complete": MoveStatement(
            "complete", ONE, waits, (*to("COMPLETED"), *ended, *result, ("error", "NULL"))
        ),
        # Its work is done, and a handler still runs.
        "join_finish": MoveStatement(
            "finish",
            ONE,
            f"{WAITS} AND old.status = 'PROCESSING'",
            (*to("FINISHED"), *waiting(d), *result),
        ),
        "join_fail": MoveStatement(
            "fail", ONE, waits, (*to("FAILED"), *ended, ("error", d.json("error")))
        ),
        "join_cancel": MoveStatement("cancel", ONE, waits, (*to("CANCELED"), *ended)),
    }
