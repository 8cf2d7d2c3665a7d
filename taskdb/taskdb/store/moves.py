"""Every statement that moves a row, by the verb of the state machine that it carries out.

Each is one guarded move over the row alias `old`; the loser of a race changes nothing. `mine`
below means: the claim token of the run that writes is the one in the row. A run that ends itself
leaves its token there, so that a repeated write whose first answer was lost finds its own work;
who takes a task away from a run removes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from taskdb.status import (
    MOVES,
    OPEN,
    PUBLISHABLE,
    RUNNING,
    TERMINAL,
    WAITING,
    TaskStatus,
    in_order,
)
from taskdb.store.dialect import Columns, MoveStatement, StoreDialect
from taskdb.store.rules import is_refused

MARKS: Columns = {"id": "id", "relay_at": "moment"}
_ONE = "old.id = :id"
_WANTED = "old.cancel_requested_at IS NOT NULL"
_MINE = "old.claim_token = :token"
_NO_WORKER = (("worker", "NULL"),)
_NOBODY = (*_NO_WORKER, ("claim_token", "NULL"))
_SPARE = (("spared", "old.spared + 1"),)
_ALONE = (("chunk", "NULL"),)
"""A task that leaves its chunk gets a message of its own from then on."""
_NOT_HELD = ("held_by", "NULL")
_WAITS = "old.waits_for IS NOT NULL"
_FRESH_BUDGET = (("spared", "old.attempt"), ("crashes", "0"), ("unregistered", "0"))
_BLANK = (
    ("result", "NULL"),
    ("result_ref", "NULL"),
    ("error", "NULL"),
    ("run_at", "NULL"),
    ("ended_at", "NULL"),
    ("cancel_requested_at", "NULL"),
    ("called_back", "NULL"),
)
CLAIM_ANSWER = (
    "tenant",
    "type",
    "attempt",
    "spared",
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
)
RESULTS: Columns = {"id": "id", "result": "text", "result_ref": "text"}


@dataclass(frozen=True, slots=True)
class Moves:
    """The statements, for one dialect."""

    queue: MoveStatement
    claim: MoveStatement
    claim_chunk: MoveStatement
    progress: MoveStatement
    complete: MoveStatement
    complete_many: MoveStatement
    fan_out: MoveStatement
    await_callback: MoveStatement
    answer: MoveStatement
    finish: MoveStatement
    error: MoveStatement
    fail: MoveStatement
    snooze: MoveStatement
    halt: MoveStatement
    cancel_own: MoveStatement
    crash: MoveStatement
    crash_chunk: MoveStatement
    rescue: MoveStatement
    hand_back: MoveStatement
    hand_back_unclaimed: MoveStatement
    hand_back_unclaimed_chunk: MoveStatement
    hand_back_lost: MoveStatement
    hand_back_worker: MoveStatement
    hold: MoveStatement
    hold_chunk: MoveStatement
    stray: MoveStatement
    stray_chunk: MoveStatement
    revoke: MoveStatement
    revoke_chunk: MoveStatement
    expire: MoveStatement
    expire_due: MoveStatement
    expire_chunk: MoveStatement
    cancel: MoveStatement
    retry: MoveStatement
    resubmit: MoveStatement
    wait: MoveStatement
    doom: MoveStatement
    reopen: MoveStatement
    join_complete: MoveStatement
    join_finish: MoveStatement
    join_fail: MoveStatement
    join_cancel: MoveStatement


def moves_for(d: StoreDialect) -> Moves:
    """Spell every move for one database."""
    return Moves(
        **_running_moves(d),
        **_crash_moves(d),
        **_hand_backs(d),
        **_waiting_moves(d),
        **_parent_moves(d),
    )


def _running_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    report = reported(d)
    mine = f"{_MINE} AND {_is(RUNNING)} AND NOT {_WAITS}"
    ended = (*report, ("ended_at", d.now))
    error = (("error", d.json("error")),)
    unanswered = f"{_WANTED} AND old.called_back IS NULL"
    claimed = (
        *_to("STARTED"),
        ("attempt", "old.attempt + 1"),
        ("worker", d.text("worker")),
        ("claim_token", d.text("token")),
        ("max_attempts", d.integer("max_attempts")),
        ("may_rerun", d.truth("may_rerun")),
        ("started_at", d.now),
        ("ended_at", "NULL"),
        ("progress_current", "NULL"),
        ("progress_total", "NULL"),
        ("progress_message", "NULL"),
        # What an earlier run gave to the outside is worth nothing any more.
        ("callback_hash", "NULL"),
    )
    return {
        # A worker takes a waiting task; the attempt is counted and the claim token is the fence.
        "claim": MoveStatement(
            "claim", _ONE, _claimable(d), claimed, answer=CLAIM_ANSWER, durable=False
        ),
        # The same for the items of one message, as many as it was published for. A CTE is run
        # once; what another delivery takes meanwhile does not count.
        "claim_chunk": MoveStatement(
            "claim_chunk",
            (
                "old.id IN (WITH taken AS (SELECT t.id FROM task AS t WHERE t.chunk = :id"
                f" AND (t.status IN ('CREATED', 'QUEUED') OR t.claim_token = {d.text('token')}"
                " AND t.status IN ('STARTED', 'PROCESSING')) ORDER BY t.id LIMIT :count"
                f"{d.locking('FOR UPDATE')}) SELECT id FROM taken)"
            ),
            _claimable(d),
            claimed,
            answer=CLAIM_ANSWER,
            durable=False,
            many=True,
        ),
        # The body's first word of progress.
        "progress": MoveStatement(
            "progress",
            _ONE,
            f"{_MINE} AND old.status = 'STARTED'",
            (*_to("PROCESSING"), *report),
            answer=("claim_token",),
            durable=False,
        ),
        "complete": MoveStatement(
            "complete",
            _ONE,
            mine,
            (
                *_to("COMPLETED"),
                *ended,
                ("result", d.json("result")),
                ("result_ref", d.text("result_ref")),
                ("error", "NULL"),
            ),
            answer=("claim_token",),
        ),
        # Items of a chunk that ended well, each with a result of its own.
        "complete_many": MoveStatement(
            "complete",
            "old.id IN (SELECT draft.id FROM " + d.drafts("given", RESULTS) + ")",
            mine,
            (
                *_to("COMPLETED"),
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
            _ONE,
            f"{mine} AND old.cancel_requested_at IS NULL",
            (
                *_to("PROCESSING"),
                *_waiting(d),
                *_NO_WORKER,
                ("kind", "'FAN_OUT'"),
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
            _ONE,
            mine,
            (
                ("status", f"CASE WHEN {unanswered} THEN 'CANCELED' ELSE 'PROCESSING' END"),
                ("waits_for", f"CASE WHEN {unanswered} THEN NULL ELSE 'callback' END"),
                ("ended_at", f"CASE WHEN {unanswered} THEN {d.now} END"),
                *report,
                ("spec", d.json("spec")),
                ("result", "CASE WHEN old.called_back = 'FAILED' THEN NULL ELSE old.result END"),
                ("error", "NULL"),
                *_NO_WORKER,
                *_ALONE,
            ),
            answer=("claim_token",),
        ),
        # The outside answered while the body still ran: its end will find that.
        "answer": MoveStatement(
            "answer",
            _ONE,
            f"{_is(RUNNING)} AND NOT {_WAITS} AND old.called_back IS NULL",
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
            _ONE,
            mine,
            (
                *_to("FINISHED"),
                *report,
                *_waiting(d),
                *_NO_WORKER,
                ("result", d.json("result")),
                ("result_ref", d.text("result_ref")),
                ("error", "NULL"),
            ),
            answer=("claim_token",),
        ),
        # The attempt failed and another follows when it is due.
        "error": MoveStatement(
            "error",
            _ONE,
            mine,
            _waits_anew(
                *_unless_canceled(d, "ERRORED"),
                *report,
                *error,
                *_due_again(d),
                *_NO_WORKER,
                *_ALONE,
            ),
            answer=("claim_token",),
        ),
        "fail": MoveStatement(
            "fail",
            _ONE,
            mine,
            (*_wanted_or("FAILED"), *ended, *error),
            answer=("claim_token",),
        ),
        # The body asked for later: the run does not count.
        "snooze": MoveStatement(
            "snooze",
            _ONE,
            mine,
            _waits_anew(
                *_unless_canceled(d, "SCHEDULED"),
                *report,
                *_due_again(d),
                *_NO_WORKER,
                *_ALONE,
                *_SPARE,
            ),
            answer=("claim_token",),
        ),
        "halt": MoveStatement(
            "halt",
            _ONE,
            mine,
            (*_unless_canceled(d, "HALTED"), *report, *error),
            answer=("claim_token",),
        ),
        "cancel_own": MoveStatement(
            "cancel_own", _ONE, mine, (*_to("CANCELED"), *ended, *error), answer=("claim_token",)
        ),
    }


def reported(d: StoreDialect) -> tuple[tuple[str, str], ...]:
    """What a body said beside its outcome; what it did not say stays."""
    return (
        ("attributes", f"COALESCE({d.json('attributes')}, old.attributes)"),
        ("progress_current", f"COALESCE({d.integer('current')}, old.progress_current)"),
        ("progress_total", f"COALESCE({d.integer('total')}, old.progress_total)"),
        ("progress_message", f"COALESCE({d.text('message')}, old.progress_message)"),
    )


def _crash_moves(d: StoreDialect) -> dict[str, MoveStatement]:
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
        *_ALONE,
        ("error", _error_of_a_crash(d, poison)),
        *_due_again(d),
        ("ended_at", f"CASE WHEN {_WANTED} OR {over} THEN {d.now} END"),
    )
    known = (
        ("status", f"CASE WHEN {_WANTED} THEN 'CANCELED' {again} END"),
        ("crashes", "old.crashes + 1"),
        *rest,
    )
    perhaps = (
        (
            "status",
            (
                f"CASE WHEN {_WANTED} THEN 'CANCELED' WHEN NOT ({is_alone}) THEN 'CREATED'"
                f" {again} END"
            ),
        ),
        ("crashes", f"old.crashes + CASE WHEN {is_alone} THEN 1 ELSE 0 END"),
        ("spared", f"old.spared + CASE WHEN {is_alone} THEN 0 ELSE 1 END"),
        *rest,
    )
    unlisted = (
        "t.started_at < w.listed_before_at"
        f" AND NOT {d.lists('w.claims', 't.claim_token')}"
        f" AND NOT {d.lists('w.claims_before', 't.claim_token')}"
    )
    # With its token: a row that another rescue took, and that is claimed anew, was not found dead.
    dead = (
        "(old.id, COALESCE(old.claim_token, '')) IN (SELECT t.id, COALESCE(t.claim_token, '')"
        " FROM task AS t LEFT JOIN worker AS w ON w.id = t.worker"
        " WHERE t.status IN ('STARTED', 'PROCESSING') AND t.waits_for IS NULL"
        " AND (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL"
        f" OR w.seen_at < {d.later('-:lease')} OR ({unlisted})) ORDER BY t.id LIMIT :limit)"
    )
    still = f"{_is(RUNNING)} AND NOT {_WAITS}"
    return {
        "crash": MoveStatement(
            "crash",
            _ONE,
            f"{_MINE} AND {still}",
            _waits_anew(*known),
            answer=("claim_token",),
        ),
        "crash_chunk": MoveStatement(
            "crash",
            "old.chunk = :id",
            f"{_MINE} AND {still}",
            _waits_anew(*perhaps, *_NOBODY),
            many=True,
        ),
        "rescue": MoveStatement(
            "rescue",
            dead,
            still,
            _waits_anew(*perhaps, ("claim_token", "NULL")),
            many=True,
            skip_locked=True,
        ),
    }


def _error_of_a_crash(d: StoreDialect, poison: str) -> str:
    """That of poison names the workers on which it ran: one of them may be what is wrong."""
    _, error = _error_of_this_attempt(d)
    where = (
        f"(SELECT {d.joined('e.worker')} FROM task_event AS e"
        " WHERE e.task_id = old.id AND e.to_status = 'STARTED')"
    )
    said = f"{d.member(d.json('error'), 'message')} || '; its runs were on ' || {where}"
    nothing = d.as_json("'{}'")
    return d.merged(error, f"CASE WHEN {poison} THEN {d.made('message', said)} ELSE {nothing} END")


def _hand_backs(d: StoreDialect) -> dict[str, MoveStatement]:
    soon = ("relay_at", d.later(":delay"))
    too_often = f"old.unregistered + 1 >= {d.integer('strays')}"
    back = _waits_anew(*_unless_canceled(d, "CREATED"), ("run_at", "NULL"), soon)
    own = f"{_MINE} AND {_is(RUNNING)} AND NOT {_WAITS}"
    stray = _waits_anew(
        (
            "status",
            f"CASE WHEN {too_often} THEN 'FAILED' ELSE 'CREATED' END",
        ),
        ("unregistered", "old.unregistered + 1"),
        (
            "ended_at",
            f"CASE WHEN {too_often} THEN {d.now} END",
        ),
        _error_of_this_attempt(d),
        soon,
        *_NOBODY,
    )
    stopped = f"{_ready(d)} AND {is_refused()}"
    hold = (
        *_to("CREATED"),
        ("is_gated", "true"),
        ("held_by", "'gate'"),
        ("relay_at", d.now),
        *_NOBODY,
        *_ALONE,
    )
    return {
        # A run that does not count: rejected for requeue, or stopped with its worker.
        "hand_back": MoveStatement(
            "hand_back", _ONE, own, (*back, *_NO_WORKER, *_ALONE, *_SPARE), answer=("claim_token",)
        ),
        # A message that no body saw: its process died before the claim.
        "hand_back_unclaimed": MoveStatement(
            "hand_back_unclaimed", _ONE, "old.status = 'QUEUED'", (*back, *_NOBODY)
        ),
        "hand_back_unclaimed_chunk": MoveStatement(
            "hand_back_unclaimed",
            "old.chunk = :id",
            "old.status = 'QUEUED'",
            (*back, *_NOBODY),
            many=True,
        ),
        # Messages that the broker has not any more; what was queued again since has another one.
        "hand_back_lost": MoveStatement(
            "hand_back_lost",
            f"old.id IN {d.listed_ids('ids')}",
            f"old.status = 'QUEUED' AND old.queued_at <= {d.moment('seen')}",
            (*back, *_NOBODY),
            many=True,
        ),
        # Everything that a worker still held when its pool was down.
        "hand_back_worker": MoveStatement(
            "hand_back_worker",
            f"old.worker = :worker AND {_is(RUNNING)}",
            f"NOT {_WAITS}",
            (*back, *_NOBODY, *_ALONE, *_SPARE),
            many=True,
        ),
        # A rule that its message did not know of stops it: back, to wait for its slots. Nothing has
        # run, so nothing is counted.
        "hold": MoveStatement("hand_back", _ONE, stopped, hold),
        "hold_chunk": MoveStatement("hand_back", "old.chunk = :id", stopped, hold, many=True),
        # No worker knew the type: again later, and FAILED when that came too often. A message that
        # comes before its task is due changes nothing: it would shorten the wait.
        "stray": MoveStatement(
            "stray",
            _ONE,
            _ready(d),
            stray,
        ),
        "stray_chunk": MoveStatement("stray", "old.chunk = :id", _ready(d), stray, many=True),
    }


def _waiting_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    # A parent ends when its sub-tasks have. Who waits for the outside has none.
    runs = f"({_is(RUNNING)} AND old.worker IS NOT NULL OR old.waits_for <> 'callback')"
    chosen = f"old.id IN {d.listed_ids('ids')}"
    published = (
        f"(old.id, old.relay_at) IN (SELECT draft.id, draft.relay_at"
        f" FROM {d.drafts('marks', MARKS)})"
    )
    error = _error_of_this_attempt(d)
    gated = f"old.is_gated OR {d.text('mutex_key')} IS NOT NULL"
    return {
        # The broker took these messages, and nothing has happened to the rows since.
        "queue": MoveStatement(
            "queue",
            published,
            _is(PUBLISHABLE),
            (*_to("QUEUED"), ("queued_at", d.now)),
            durable=False,
            many=True,
        ),
        # Celery was told to revoke it: not yet claimed, or running in the worker that says so.
        "revoke": MoveStatement(
            "revoke",
            _ONE,
            f"{_is(WAITING)} OR ({_MINE} AND {_is(RUNNING)} AND NOT {_WAITS})",
            (*_to("CANCELED"), error, ("ended_at", d.now), _NOT_HELD),
        ),
        "revoke_chunk": MoveStatement(
            "revoke",
            "old.chunk = :id",
            f"{_is(WAITING)} OR ({_MINE} AND {_is(RUNNING)} AND NOT {_WAITS})",
            (*_to("CANCELED"), error, ("ended_at", d.now)),
            many=True,
        ),
        "expire": MoveStatement(
            "expire", _ONE, _is(WAITING), (*_to("FAILED"), error, ("ended_at", d.now), _NOT_HELD)
        ),
        # What nobody has claimed in time, wherever its message is.
        "expire_due": MoveStatement(
            "expire",
            (
                f"old.id IN (SELECT id FROM task WHERE deadline_at <= (SELECT {d.now})"
                f" AND status IN ({_listed(WAITING)}) ORDER BY deadline_at LIMIT :limit)"
            ),
            f"{_is(WAITING)} AND old.deadline_at <= {d.now}",
            (*_to("FAILED"), error, ("ended_at", d.now), _NOT_HELD),
            answer=("parent_id",),
            many=True,
            skip_locked=True,
        ),
        "expire_chunk": MoveStatement(
            "expire",
            "old.chunk = :id",
            _is(WAITING),
            (*_to("FAILED"), error, ("ended_at", d.now)),
            many=True,
        ),
        # Stop what waits at once; ask what runs.
        "cancel": MoveStatement(
            "cancel",
            chosen,
            _is(MOVES["cancel"].sources),
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
                _NOT_HELD,
            ),
            answer=("waits_for", "parent_id"),
            many=True,
        ),
        # By hand: anew with a whole budget; the attempt number goes on.
        "retry": MoveStatement(
            "retry",
            chosen,
            _is(MOVES["retry"].sources),
            (
                *_to("CREATED"),
                *_FRESH_BUDGET,
                *_BLANK,
                *_NOBODY,
                *_ALONE,
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
            ),
            many=True,
        ),
        # The same unique key was submitted again.
        "resubmit": MoveStatement(
            "resubmit",
            "old.tenant = :tenant AND old.type = :type AND old.unique_key = :unique_key",
            f"{_is(MOVES['resubmit'].sources)} AND old.kind = 'TASK'",
            (
                *_to("CREATED"),
                *_FRESH_BUDGET,
                *_BLANK,
                *_NOBODY,
                ("spec", "NULL"),
                ("mutex_key", d.text("mutex_key")),
                ("is_gated", f"old.is_gated OR {d.text('mutex_key')} IS NOT NULL"),
                ("held_by", f"CASE WHEN {gated} THEN 'gate' END"),
                ("relay_at", f"CASE WHEN {gated} THEN {d.now} ELSE {d.later(':delay')} END"),
                ("input", d.json("input")),
                ("input_ref", d.text("input_ref")),
                ("deadline_at", d.moment("deadline_at")),
                ("queue", d.text("queue")),
                ("priority", d.integer("priority")),
            ),
        ),
    }


def _parent_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    """What becomes of a parent; carried out under its lock, as its sub-tasks decide."""
    # Whatever led here: what is over has nothing open below it.
    waits = (
        f"{_WAITS} AND old.status IN ('PROCESSING', 'FINISHED') AND NOT EXISTS"
        " (SELECT 1 FROM task AS s WHERE s.parent_id = old.id"
        f" AND s.status IN ({', '.join(repr(value) for value in in_order(OPEN))}))"
    )
    ended = (("waits_for", "NULL"), ("ended_at", d.now), *_NO_WORKER)
    result = (("result", d.json("result")), ("result_ref", d.text("result_ref")))
    return {
        # A new parent begins to wait, a reopened one does so again, a waiting one for the next.
        "wait": MoveStatement(
            "wait",
            _ONE,
            f"old.status = 'CREATED' OR ({_WAITS} AND old.status = 'PROCESSING')",
            (*_to("PROCESSING"), *_waiting(d), *_NOBODY, ("error", d.json("error"))),
        ),
        # One of its sub-tasks runs again, so it is not over.
        "reopen": MoveStatement(
            "retry",
            _ONE,
            _is({*TERMINAL, TaskStatus.HALTED}),
            (
                *_to("CREATED"),
                *_NOBODY,
                ("error", "NULL"),
                ("ended_at", "NULL"),
                ("cancel_requested_at", "NULL"),
            ),
        ),
        # Its time is up: the error stands there while its sub-tasks are stopped.
        "doom": MoveStatement(
            "doom",
            _ONE,
            f"{_WAITS} AND old.status = 'PROCESSING' AND old.error IS NULL",
            (("status", "old.status"), ("error", d.json("error"))),
        ),
        "join_complete": MoveStatement(
            "complete", _ONE, waits, (*_to("COMPLETED"), *ended, *result, ("error", "NULL"))
        ),
        # Its work is done, and a handler still runs.
        "join_finish": MoveStatement(
            "finish",
            _ONE,
            f"{_WAITS} AND old.status = 'PROCESSING'",
            (*_to("FINISHED"), *_waiting(d), *result),
        ),
        "join_fail": MoveStatement(
            "fail", _ONE, waits, (*_to("FAILED"), *ended, ("error", d.json("error")))
        ),
        "join_cancel": MoveStatement("cancel", _ONE, waits, (*_to("CANCELED"), *ended)),
    }


def _waiting(d: StoreDialect) -> tuple[tuple[str, str], ...]:
    """For what a parent waits, what it will do then, and for how long."""
    return (
        ("waits_for", d.text("waits_for")),
        ("spec", d.json("spec")),
        (
            "deadline_at",
            (
                f"CASE WHEN {d.number('timeout')} IS NULL THEN old.deadline_at"
                f" ELSE {d.later(d.number('timeout'))} END"
            ),
        ),
    )


def _due_again(d: StoreDialect) -> tuple[tuple[str, str], ...]:
    return (("run_at", d.later(":delay")), ("relay_at", d.later(":delay")))


def _to(status: str) -> tuple[tuple[str, str], ...]:
    return (("status", f"'{TaskStatus(status)}'"),)


def _wanted_or(status: str) -> tuple[tuple[str, str], ...]:
    """The status, or CANCELED where someone asked for that while the body ran."""
    return (("status", f"CASE WHEN {_WANTED} THEN 'CANCELED' ELSE '{TaskStatus(status)}' END"),)


def _unless_canceled(d: StoreDialect, status: str) -> tuple[tuple[str, str], ...]:
    """As `_wanted_or`, for a status that is not terminal."""
    return (*_wanted_or(status), ("ended_at", f"CASE WHEN {_WANTED} THEN {d.now} END"))


def _is(statuses: Iterable[TaskStatus]) -> str:
    return f"old.status IN ({_listed(statuses)})"


def _listed(statuses: Iterable[TaskStatus]) -> str:
    return ", ".join(f"'{value}'" for value in in_order(statuses))


def _waits_anew(*assignments: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """What takes a row back to waiting; a gated one has lost its slots and waits for new ones."""
    status = dict(assignments)["status"]
    waits = ", ".join(repr(value) for value in in_order(PUBLISHABLE))
    held = f"CASE WHEN old.is_gated AND {status} IN ({waits}) THEN 'gate' END"
    return (*assignments, ("held_by", held))


def _claimable(d: StoreDialect) -> str:
    """Ready, and no rule stops it that it has not passed."""
    return f"({_ready(d)}) AND NOT {is_refused()}"


def _ready(d: StoreDialect) -> str:
    """Waiting, and neither held nor for a time to come."""
    return (
        "old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED')"
        " OR (old.status IN ('SCHEDULED', 'ERRORED')"
        f" AND COALESCE(old.run_at, {d.now}) <= {d.now}))"
    )


def _error_of_this_attempt(d: StoreDialect) -> tuple[str, str]:
    """For who does not know the number of the run: the row does."""
    return ("error", d.merged(d.json("error"), d.made("attempt", "old.attempt")))
