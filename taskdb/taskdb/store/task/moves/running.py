"""A run: taken by a claim, and ended by what its body returned, raised or said."""

from __future__ import annotations

from taskdb.model.status import RUNNING
from taskdb.store.engine.dialect import Columns, MoveStatement, StoreDialect
from taskdb.store.task.moves.fragments import (
    ALONE,
    MINE,
    NO_WORKER,
    ONE,
    SPARE,
    WAITS,
    WANTED,
    claimable,
    due_again,
    is_in,
    of_type,
    reported,
    to,
    unless_canceled,
    waiting,
    waits_anew,
)

CLAIM_ANSWER = (
    "tenant",
    "type",
    "attempt",
    "spared",
    "crashes",
    "claim_token",
    "input",
    "input_ref",
    "result",
    "result_ref",
    "error",
    "attributes",
    "role",
    "parent_id",
    "position",
    "called_back",
    "is_gated",
    "mutex_key",
    "queue",
    "trace",
)
RESULTS: Columns = {"id": "id", "result": "text", "result_ref": "text"}


def running_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    """By whoever has the claim."""
    report = reported(d)
    mine = f"{MINE} AND {is_in(RUNNING)} AND NOT {WAITS}"
    ended = (*report, ("ended_at", d.now))
    error = (("error", d.json("error")),)
    # What a message is for. None: no message brought it.
    wanted = (
        f"{of_type(d)} AND ({d.integer('attempt')} IS NULL OR old.attempt = {d.integer('attempt')})"
    )
    unanswered = f"{WANTED} AND old.called_back IS NULL"
    claimed = (
        *to("STARTED"),
        ("attempt", "old.attempt + 1"),
        ("worker", d.text("worker")),
        ("claim_token", d.text("token")),
        ("max_attempts", d.integer("max_attempts")),
        ("may_rerun", d.truth("may_rerun")),
        ("started_at", d.now),
        ("ended_at", "NULL"),
        # It was to start by then, and has: what it waits for later has a deadline of its own.
        ("deadline_at", "NULL"),
        ("progress_current", "NULL"),
        ("progress_total", "NULL"),
        ("progress_message", "NULL"),
        # What an earlier run gave to the outside is worth nothing any more.
        ("callback_hash", "NULL"),
    )
    return {
        # A worker takes a waiting task; the attempt is counted and the claim token is the fence.
        "claim": MoveStatement(
            "claim",
            ONE,
            f"{claimable(d)} AND {wanted}",
            claimed,
            answer=CLAIM_ANSWER,
            durable=False,
            is_likely=True,
        ),
        # The same for the items of one message, as many as it was published for. A CTE is run
        # once; what another delivery takes meanwhile does not count.
        "claim_chunk": MoveStatement(
            "claim_chunk",
            (
                "old.id IN (WITH taken AS (SELECT t.id FROM taskdb_task AS t WHERE t.chunk = :id"
                f" AND (t.status IN ('CREATED', 'QUEUED') OR t.claim_token = {d.text('token')}"
                " AND t.status IN ('STARTED', 'PROCESSING')) ORDER BY t.id LIMIT :count"
                f"{d.locking('FOR UPDATE')}) SELECT id FROM taken)"
            ),
            f"{claimable(d)} AND {wanted}",
            claimed,
            answer=CLAIM_ANSWER,
            durable=False,
            many=True,
        ),
        # The body's first word of progress.
        "progress": MoveStatement(
            "progress",
            ONE,
            f"{MINE} AND old.status = 'STARTED'",
            (*to("PROCESSING"), *report),
            answer=("claim_token",),
            durable=False,
        ),
        "complete": MoveStatement(
            "complete",
            ONE,
            mine,
            (
                *to("COMPLETED"),
                *ended,
                ("result", d.json("result")),
                ("result_ref", d.text("result_ref")),
                ("error", "NULL"),
            ),
            answer=("claim_token",),
            is_likely=True,
        ),
        # The same for a body that has said nothing beside its result, as most.
        "complete_silent": MoveStatement(
            "complete",
            ONE,
            mine,
            (
                *to("COMPLETED"),
                ("ended_at", d.now),
                ("result", d.json("result")),
                ("result_ref", d.text("result_ref")),
                ("error", "NULL"),
            ),
            answer=("claim_token",),
            is_likely=True,
        ),
        # Items of a chunk that ended well, each with a result of its own.
        "complete_many": MoveStatement(
            "complete",
            "old.id IN (SELECT draft.id FROM " + d.drafts("given", RESULTS) + ")",
            mine,
            (
                *to("COMPLETED"),
                ("ended_at", d.now),
                ("result", d.as_json("draft.result")),
                ("result_ref", "draft.result_ref"),
                ("error", "NULL"),
            ),
            answer=("claim_token",),
            many=True,
            given=RESULTS,
        ),
        # The body has made sub-tasks of its own task: it waits for them, without a worker.
        "fan_out": MoveStatement(
            "wait",
            ONE,
            f"{mine} AND old.cancel_requested_at IS NULL",
            (
                *to("PROCESSING"),
                *waiting(d),
                *NO_WORKER,
                ("kind", "'FAN_OUT'"),
                # That of an attempt before would be taken for the parent's own, and fail it.
                ("error", "NULL"),
                ("progress_current", "NULL"),
                ("progress_total", "NULL"),
                ("progress_message", "NULL"),
            ),
            answer=("claim_token", "waits_for"),
        ),
        # The body has given a token to the outside and is over: the task waits without a worker.
        # Where the outside has answered already, the same transaction goes on from here.
        "await_callback": MoveStatement(
            "await_callback",
            ONE,
            mine,
            (
                ("status", f"CASE WHEN {unanswered} THEN 'CANCELED' ELSE 'PROCESSING' END"),
                ("waits_for", f"CASE WHEN {unanswered} THEN NULL ELSE 'callback' END"),
                ("ended_at", f"CASE WHEN {unanswered} THEN {d.now} END"),
                *report,
                ("spec", d.json("spec")),
                ("result", "CASE WHEN old.called_back = 'FAILED' THEN NULL ELSE old.result END"),
                ("error", "NULL"),
                *NO_WORKER,
                *ALONE,
            ),
            answer=("claim_token",),
        ),
        # The outside answered while the body still ran: its end will find that.
        "answer": MoveStatement(
            "answer",
            ONE,
            f"{is_in(RUNNING)} AND NOT {WAITS} AND old.called_back IS NULL",
            (
                ("status", "old.status"),
                ("called_back", d.text("called_back")),
                ("result", d.json("result")),
                ("result_ref", d.text("result_ref")),
            ),
        ),
        # The body is over; further handlers of its type follow.
        "finish": MoveStatement(
            "finish",
            ONE,
            mine,
            (
                *to("FINISHED"),
                *report,
                *waiting(d),
                *NO_WORKER,
                ("result", d.json("result")),
                ("result_ref", d.text("result_ref")),
                ("error", "NULL"),
            ),
            answer=("claim_token",),
        ),
        # The attempt failed and another follows when it is due.
        "error": MoveStatement(
            "error",
            ONE,
            mine,
            waits_anew(
                *unless_canceled(d, "ERRORED"),
                *report,
                *error,
                *due_again(d),
                *NO_WORKER,
                *ALONE,
            ),
            answer=("claim_token",),
        ),
        "fail": MoveStatement(
            "fail",
            ONE,
            mine,
            _failed(d, (*report, *error)),
            answer=("claim_token",),
        ),
        # The body asked for later: the run does not count.
        "snooze": MoveStatement(
            "snooze",
            ONE,
            mine,
            waits_anew(
                *unless_canceled(d, "SCHEDULED"),
                *report,
                *due_again(d),
                *NO_WORKER,
                *ALONE,
                *SPARE,
            ),
            answer=("claim_token",),
        ),
        "halt": MoveStatement(
            "halt",
            ONE,
            mine,
            (*unless_canceled(d, "HALTED"), *report, *error),
            answer=("claim_token",),
        ),
        "cancel_own": MoveStatement(
            "cancel_own", ONE, mine, (*to("CANCELED"), *ended, *error), answer=("claim_token",)
        ),
    }


def _failed(d: StoreDialect, rest: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Over, bad; but what the outside answered meanwhile is not lost: another claim ends by it."""
    answered = "old.called_back IS NOT NULL"
    return (
        (
            "status",
            f"CASE WHEN {answered} THEN 'ERRORED' WHEN {WANTED} THEN 'CANCELED' ELSE 'FAILED' END",
        ),
        ("ended_at", f"CASE WHEN NOT ({answered}) THEN {d.now} END"),
        ("run_at", f"CASE WHEN {answered} THEN {d.now} ELSE old.run_at END"),
        ("relay_at", f"CASE WHEN {answered} THEN {d.now} ELSE old.relay_at END"),
        ("worker", f"CASE WHEN NOT ({answered}) THEN old.worker END"),
        ("held_by", f"CASE WHEN {answered} AND old.is_gated THEN 'gate' ELSE old.held_by END"),
        *rest,
    )
