"""What becomes of a task that nobody runs: queued, expired, canceled, run again."""

from __future__ import annotations

from taskdb.model.status import MOVES, PUBLISHABLE, RETRIED_IN_BULK, RUNNING, WAITING
from taskdb.store.engine.dialect import Columns, MoveStatement, StoreDialect
from taskdb.store.task.moves.fragments import (
    ALONE,
    BLANK,
    FRESH_BUDGET,
    MINE,
    NOBODY,
    NOT_HELD,
    ONE,
    WAITS,
    WANTED,
    error_of_this_attempt,
    expired,
    is_in,
    listed,
    not_aside,
    to,
)

MARKS: Columns = {"id": "id", "relay_at": "moment"}


def waiting_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    """By who publishes, and by hand."""
    # A parent ends when its sub-tasks have. Who waits for the outside has none.
    runs = f"({is_in(RUNNING)} AND old.worker IS NOT NULL OR old.waits_for <> 'callback')"
    chosen = f"old.id IN {d.listed_ids('ids')}"
    published = (
        f"(old.id, old.relay_at) IN (SELECT draft.id, draft.relay_at"
        f" FROM {d.drafts('marks', MARKS)})"
    )
    error = error_of_this_attempt(d)
    late = f"{is_in(WAITING)} AND {expired(d)}"
    return {
        # The broker took these messages, and nothing has happened to the rows since.
        "queue": MoveStatement(
            "queue",
            published,
            is_in(PUBLISHABLE),
            (*to("QUEUED"), ("queued_at", d.now)),
            durable=False,
            many=True,
        ),
        # A worker ended the process of a run. The row, and no message, says that it was to be.
        "revoke": MoveStatement(
            "revoke",
            ONE,
            f"{MINE} AND {is_in(RUNNING)} AND NOT {WAITS} AND {WANTED}",
            (*to("CANCELED"), error, ("ended_at", d.now)),
        ),
        # A message cannot tell that: the row may have another deadline by now.
        "expire": MoveStatement(
            "expire", ONE, late, (*to("FAILED"), error, ("ended_at", d.now), NOT_HELD)
        ),
        # What nobody has claimed in time, wherever its message is.
        "expire_due": MoveStatement(
            "expire",
            (
                f"old.id IN (SELECT id FROM taskdb_task WHERE deadline_at <= (SELECT {d.now})"
                f" AND status IN ({listed(WAITING)}) AND NOT is_adopted AND started_at IS NULL"
                # The words of the index, by which SQLite finds it.
                " AND status IN ('CREATED','SCHEDULED','QUEUED','PROCESSING','ERRORED')"
                f" AND {not_aside(d, 'expire')} ORDER BY deadline_at LIMIT :limit)"
            ),
            late,
            (*to("FAILED"), error, ("ended_at", d.now), NOT_HELD),
            answer=("parent_id",),
            many=True,
            skip_locked=True,
        ),
        "expire_chunk": MoveStatement(
            "expire",
            "old.chunk = :id",
            late,
            (*to("FAILED"), error, ("ended_at", d.now)),
            many=True,
        ),
        # Stop what waits at once; ask what runs.
        "cancel": MoveStatement(
            "cancel",
            chosen,
            is_in(MOVES["cancel"].sources),
            (
                (
                    "status",
                    f"CASE WHEN {runs} THEN old.status ELSE 'CANCELED' END",
                ),
                # Asking twice does not prolong the grace of the running body.
                ("cancel_requested_at", f"COALESCE(old.cancel_requested_at, {d.now})"),
                (
                    "ended_at",
                    f"CASE WHEN {runs} THEN NULL ELSE {d.now} END",
                ),
                ("waits_for", "NULLIF(old.waits_for, 'callback')"),
                NOT_HELD,
            ),
            answer=("waits_for", "parent_id"),
            many=True,
        ),
        # By hand: anew with a whole budget; the attempt number goes on.
        "retry": MoveStatement(
            "retry", chosen, is_in(MOVES["retry"].sources), _again(d), many=True
        ),
        # The same, of what has not COMPLETED since it was chosen, and does not wait for its time.
        "retry_ended_badly": MoveStatement(
            "retry", chosen, is_in(RETRIED_IN_BULK), _again(d), many=True
        ),
    }


def _again(d: StoreDialect) -> tuple[tuple[str, str], ...]:
    return (
        *to("CREATED"),
        *FRESH_BUDGET,
        *BLANK,
        *NOBODY,
        *ALONE,
        ("run_at", "NULL"),
        # The person wants it to run now.
        ("deadline_at", "NULL"),
        ("spec", "NULL"),
        # Behind its parent's window, or else before the gate.
        (
            "held_by",
            (
                f"CASE WHEN {d.text('held_by')} IS NOT NULL THEN {d.text('held_by')}"
                " WHEN old.is_gated THEN 'gate' END"
            ),
        ),
        (
            "relay_at",
            (
                f"CASE WHEN {d.text('held_by')} IS NOT NULL THEN {d.never}"
                f" WHEN old.is_gated THEN {d.now} ELSE {d.later(':delay')} END"
            ),
        ),
    )
