"""A run that its process did not live to end, and a message that nobody ran."""

from __future__ import annotations

from taskdb.model.status import RUNNING
from taskdb.store.engine.dialect import MoveStatement, StoreDialect
from taskdb.store.task.moves.fragments import (
    ALONE,
    MINE,
    NO_WORKER,
    NOBODY,
    ONE,
    SPARE,
    WAITS,
    WANTED,
    due_again,
    error_of_this_attempt,
    is_in,
    not_aside,
    of_type,
    ready,
    to,
    unless_canceled,
    waits_anew,
)
from taskdb.store.task.slot_need import is_refused


def runs_of(d: StoreDialect, worker: str) -> str:
    """The rows `t` that run on a worker `w` of which this is true, as FROM and WHERE.

    SQLite finds the index of what is not over only by its own words.
    """
    return (
        f"FROM taskdb_task AS t{d.looked_up('taskdb_worker', '*', 'w.id = t.worker', 'w')}"
        " WHERE t.status IN ('STARTED', 'PROCESSING') AND t.status <> 'COMPLETED'"
        f" AND t.waits_for IS NULL AND NOT t.is_adopted AND ({worker})"
    )


def is_dead(d: StoreDialect) -> str:
    """Whether a worker was not seen within the lease, or has stopped."""
    return (
        "(w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL"
        f" OR w.seen_at < (SELECT {d.later('-:lease')}))"
    )


def is_unlisted(d: StoreDialect) -> str:
    """Whether a worker has not listed a run in its last two beats."""
    return (
        f"(t.started_at < w.listed_before_at AND NOT {d.lists('w.claims', 't.claim_token')}"
        f" AND NOT {d.lists('w.claims_before', 't.claim_token')})"
    )


def crash_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    """The process of a run died: another attempt, and HALTED as poison when it did so too often.

    FAILED where the type wants no other run. What died while a cancel was wanted is what the cancel
    asked for. Of a chunk nobody knows which item did it: each gets a message of its own, unspent,
    where the one that does it again is known. An item of which one knows (it caught its own end) is
    a task as any other.
    """
    poison = f"old.crashes + 1 >= {d.integer('max_crashes')}"
    # What the outside has answered needs no other run of the body.
    over = "NOT old.may_rerun AND old.called_back IS NULL"
    again = f"WHEN {over} THEN 'FAILED' WHEN {poison} THEN 'HALTED' ELSE 'ERRORED'"
    is_alone = f"old.chunk IS NULL OR {over}"
    rest = (
        *ALONE,
        ("error", _error_of_a_crash(d, poison)),
        *due_again(d),
        ("ended_at", f"CASE WHEN {WANTED} OR {over} THEN {d.now} END"),
    )
    known = (
        ("status", f"CASE WHEN {WANTED} THEN 'CANCELED' {again} END"),
        ("crashes", "old.crashes + 1"),
        *rest,
    )
    perhaps = (
        (
            "status",
            (
                f"CASE WHEN {WANTED} THEN 'CANCELED' WHEN NOT ({is_alone}) THEN 'CREATED'"
                f" {again} END"
            ),
        ),
        ("crashes", f"old.crashes + CASE WHEN {is_alone} THEN 1 ELSE 0 END"),
        ("spared", f"old.spared + CASE WHEN {is_alone} THEN 0 ELSE 1 END"),
        *rest,
    )
    # With its token: a row that another rescue took, and that is claimed anew, was not found dead.
    dead = (
        "(old.id, COALESCE(old.claim_token, '')) IN (SELECT t.id, COALESCE(t.claim_token, '')"
        f" {runs_of(d, f'{is_dead(d)} OR {is_unlisted(d)}')}"
        f" AND {not_aside(d, 'rescue', 't.id')} ORDER BY t.id LIMIT :limit)"
    )
    still = f"{is_in(RUNNING)} AND NOT {WAITS}"
    return {
        "crash": MoveStatement(
            "crash",
            ONE,
            f"{MINE} AND {still}",
            waits_anew(*known),
            answer=("claim_token",),
        ),
        "crash_chunk": MoveStatement(
            "crash",
            "old.chunk = :id",
            f"{MINE} AND {still}",
            waits_anew(*perhaps, *NOBODY),
            many=True,
        ),
        "rescue": MoveStatement(
            "rescue",
            dead,
            still,
            waits_anew(*perhaps, ("claim_token", "NULL")),
            many=True,
            skip_locked=True,
            # Without the lease at hand the planner reads the whole table.
            planned_each_time=True,
        ),
    }


def _error_of_a_crash(d: StoreDialect, poison: str) -> str:
    """That of poison names the workers on which it ran: one of them may be what is wrong."""
    _, error = error_of_this_attempt(d)
    where = (
        f"(SELECT {d.joined('e.worker')} FROM taskdb_event AS e"
        " WHERE e.task_id = old.id AND e.to_status = 'STARTED')"
    )
    said = f"{d.member(d.json('error'), 'message')} || '; its runs were on ' || {where}"
    nothing = d.as_json("'{}'")
    return d.merged(error, f"CASE WHEN {poison} THEN {d.made('message', said)} ELSE {nothing} END")


def hand_backs(d: StoreDialect) -> dict[str, MoveStatement]:
    """What does not count: handed back to be published again, or refused by a rule."""
    soon = ("relay_at", d.later(":delay"))
    # A message alone fails no task: workers say in the database which types they have.
    known = (
        f"EXISTS (SELECT 1 FROM taskdb_worker AS w WHERE NOT {is_dead(d)}"
        f" AND {d.lists('w.queues', 'old.queue')} AND {d.lists('w.types', 'old.type')})"
    )
    too_often = f"old.unregistered + 1 >= {d.integer('strays')} AND NOT {known}"
    # Of one publication one message counts; of what was never put back, also one that comes before
    # the publisher has marked the row.
    astray = (
        f"{ready(d)} AND old.type = {d.text('type')} AND {d.lists(d.json('queues'), 'old.queue')}"
        " AND (old.status = 'QUEUED' OR old.unregistered = 0"
        f" OR old.updated_at <= {d.later('-:delay')})"
    )
    back = waits_anew(*unless_canceled(d, "CREATED"), ("run_at", "NULL"), soon)
    own = f"{MINE} AND {is_in(RUNNING)} AND NOT {WAITS}"
    stray = waits_anew(
        (
            "status",
            f"CASE WHEN {too_often} THEN 'FAILED' ELSE 'CREATED' END",
        ),
        ("unregistered", "old.unregistered + 1"),
        (
            "ended_at",
            f"CASE WHEN {too_often} THEN {d.now} END",
        ),
        error_of_this_attempt(d),
        soon,
        *NOBODY,
    )
    stopped = f"{ready(d)} AND {is_refused()}"
    hold = (
        *to("CREATED"),
        ("is_gated", "true"),
        ("held_by", "'gate'"),
        ("relay_at", d.now),
        *NOBODY,
        *ALONE,
    )
    return {
        # A run that does not count: rejected for requeue, or stopped with its worker.
        "hand_back": MoveStatement(
            "hand_back", ONE, own, (*back, *NO_WORKER, *ALONE, *SPARE), answer=("claim_token",)
        ),
        "hand_back_chunk": MoveStatement(
            "hand_back",
            "old.chunk = :id",
            own,
            (*back, *NOBODY, *ALONE, *SPARE),
            many=True,
        ),
        # A message that no body saw: its process died before the claim.
        "hand_back_unclaimed": MoveStatement(
            "hand_back_unclaimed", ONE, f"old.status = 'QUEUED' AND {of_type(d)}", (*back, *NOBODY)
        ),
        "hand_back_unclaimed_chunk": MoveStatement(
            "hand_back_unclaimed",
            "old.chunk = :id",
            f"old.status = 'QUEUED' AND {of_type(d)}",
            (*back, *NOBODY),
            many=True,
        ),
        # Messages that the broker has not any more; what was queued again since has another one.
        "hand_back_lost": MoveStatement(
            "hand_back_lost",
            f"old.id IN {d.listed_ids('ids')}",
            f"old.status = 'QUEUED' AND old.queued_at <= {d.moment('seen')}",
            (*back, *NOBODY),
            many=True,
        ),
        # Everything that a worker still held when its pool was down.
        "hand_back_worker": MoveStatement(
            "hand_back_worker",
            f"old.worker = :worker AND {is_in(RUNNING)}",
            f"NOT {WAITS}",
            (*back, *NOBODY, *ALONE, *SPARE),
            answer=("parent_id",),
            many=True,
        ),
        # A rule that its message did not know of stops it: back, to wait for its slots. Nothing has
        # run, so nothing is counted.
        "hold": MoveStatement("hand_back", ONE, stopped, hold),
        "hold_chunk": MoveStatement("hand_back", "old.chunk = :id", stopped, hold, many=True),
        # No worker knew the type: again later, and FAILED when that came too often. A message that
        # comes before its task is due changes nothing: it would shorten the wait.
        "stray": MoveStatement("stray", ONE, f"({astray})", stray),
        "stray_chunk": MoveStatement("stray", "old.chunk = :id", f"({astray})", stray, many=True),
    }
