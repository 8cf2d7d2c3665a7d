"""Every statement that moves a row, by the verb of the state machine that it carries out.

Each is one guarded move over the row alias `old`; the loser of a race changes nothing. `mine`
below means: the claim token of the run that writes is the one in the row. A run that ends itself
leaves its token there, so that a repeated write whose first answer was lost finds its own work;
who takes a task away from a run removes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from taskdb.status import MOVES, PUBLISHABLE, RUNNING, WAITING, TaskStatus, in_order
from taskdb.store.dialect import Columns, MoveStatement, StoreDialect

MARKS: Columns = {"id": "id", "relay_at": "moment"}
_ONE = "old.id = :id"
_WANTED = "old.cancel_requested_at IS NOT NULL"
_MINE = "old.claim_token = :token"
_NO_WORKER = (("worker", "NULL"),)
_NOBODY = (*_NO_WORKER, ("claim_token", "NULL"))
_SPARE = (("spared", "old.spared + 1"),)
_FRESH_BUDGET = (("spared", "old.attempt"), ("crashes", "0"), ("unregistered", "0"))
_BLANK = (
    ("result", "NULL"),
    ("result_ref", "NULL"),
    ("error", "NULL"),
    ("run_at", "NULL"),
    ("ended_at", "NULL"),
    ("cancel_requested_at", "NULL"),
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
)


@dataclass(frozen=True, slots=True)
class Moves:
    """The statements, for one dialect."""

    queue: MoveStatement
    claim: MoveStatement
    progress: MoveStatement
    complete: MoveStatement
    error: MoveStatement
    fail: MoveStatement
    snooze: MoveStatement
    halt: MoveStatement
    cancel_own: MoveStatement
    crash: MoveStatement
    rescue: MoveStatement
    hand_back: MoveStatement
    hand_back_unclaimed: MoveStatement
    hand_back_worker: MoveStatement
    stray: MoveStatement
    revoke: MoveStatement
    expire: MoveStatement
    cancel: MoveStatement
    retry: MoveStatement
    resubmit: MoveStatement


def moves_for(d: StoreDialect) -> Moves:
    """Spell every move for one database."""
    return Moves(**_running_moves(d), **_crash_moves(d), **_hand_backs(d), **_waiting_moves(d))


def _running_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    report = reported(d)
    mine = f"{_MINE} AND {_is(RUNNING)}"
    ended = (*report, ("ended_at", d.now))
    error = (("error", d.json("error")),)
    return {
        # A worker takes a waiting task; the attempt is counted and the claim token is the fence.
        "claim": MoveStatement(
            "claim",
            _ONE,
            _ready(d),
            (
                *_to("STARTED"),
                ("attempt", "old.attempt + 1"),
                ("worker", d.text("worker")),
                ("claim_token", d.text("token")),
                ("max_attempts", d.integer("max_attempts")),
                ("started_at", d.now),
                ("ended_at", "NULL"),
                ("progress_current", "NULL"),
                ("progress_total", "NULL"),
                ("progress_message", "NULL"),
            ),
            answer=CLAIM_ANSWER,
            durable=False,
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
        # The attempt failed and another follows when it is due.
        "error": MoveStatement(
            "error",
            _ONE,
            mine,
            (*_unless_canceled(d, "ERRORED"), *report, *error, *_due_again(d), *_NO_WORKER),
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
            (*_unless_canceled(d, "SCHEDULED"), *report, *_due_again(d), *_NO_WORKER, *_SPARE),
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

    What died while a cancel was wanted is what the cancel asked for.
    """
    poison = f"old.crashes + 1 >= {d.integer('max_crashes')}"
    assignments = (
        (
            "status",
            f"CASE WHEN {_WANTED} THEN 'CANCELED' WHEN {poison} THEN 'HALTED' ELSE 'ERRORED' END",
        ),
        ("crashes", "old.crashes + 1"),
        _error_of_this_attempt(d),
        *_due_again(d),
        ("ended_at", f"CASE WHEN {_WANTED} THEN {d.now} END"),
    )
    dead = (
        "old.id IN (SELECT t.id FROM task AS t LEFT JOIN worker AS w ON w.id = t.worker"
        " WHERE t.status IN ('STARTED', 'PROCESSING') AND t.waits_for IS NULL"
        " AND (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL"
        f" OR w.seen_at < {d.later('-:lease')}) ORDER BY t.id LIMIT :limit)"
    )
    still = f"{_is(RUNNING)} AND old.waits_for IS NULL"
    return {
        "crash": MoveStatement(
            "crash",
            _ONE,
            f"{_MINE} AND {still}",
            assignments,
            answer=("claim_token",),
        ),
        "rescue": MoveStatement(
            "rescue",
            dead,
            still,
            (*assignments, ("claim_token", "NULL")),
            many=True,
            skip_locked=True,
        ),
    }


def _hand_backs(d: StoreDialect) -> dict[str, MoveStatement]:
    soon = ("relay_at", d.later(":delay"))
    too_often = f"old.unregistered + 1 >= {d.integer('strays')}"
    back = (*_unless_canceled(d, "CREATED"), ("run_at", "NULL"), soon)
    own = f"{_MINE} AND {_is(RUNNING)} AND old.waits_for IS NULL"
    return {
        # A run that does not count: rejected for requeue, or stopped with its worker.
        "hand_back": MoveStatement(
            "hand_back", _ONE, own, (*back, *_NO_WORKER, *_SPARE), answer=("claim_token",)
        ),
        # A message that no body saw: its process died before the claim.
        "hand_back_unclaimed": MoveStatement(
            "hand_back_unclaimed", _ONE, "old.status = 'QUEUED'", (*back, *_NOBODY)
        ),
        # Everything that a worker still held when its pool was down.
        "hand_back_worker": MoveStatement(
            "hand_back_worker",
            f"old.worker = :worker AND {_is(RUNNING)}",
            "old.waits_for IS NULL",
            (*back, *_NOBODY, *_SPARE),
            many=True,
        ),
        # No worker knew the type: again later, and FAILED when that came too often. A message that
        # comes before its task is due changes nothing: it would shorten the wait.
        "stray": MoveStatement(
            "stray",
            _ONE,
            _ready(d),
            (
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
            ),
        ),
    }


def _waiting_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    runs = f"{_is(RUNNING)} AND old.worker IS NOT NULL"
    chosen = f"old.id IN {d.listed_ids('ids')}"
    published = (
        f"(old.id, old.relay_at) IN (SELECT draft.id, draft.relay_at"
        f" FROM {d.drafts('marks', MARKS)})"
    )
    error = _error_of_this_attempt(d)
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
            f"{_is(WAITING)} OR ({_MINE} AND {_is(RUNNING)})",
            (*_to("CANCELED"), error, ("ended_at", d.now)),
        ),
        "expire": MoveStatement(
            "expire", _ONE, _is(WAITING), (*_to("FAILED"), error, ("ended_at", d.now))
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
            ),
            many=True,
        ),
        # By hand: anew with a whole budget; the attempt number goes on.
        "retry": MoveStatement(
            "retry",
            chosen,
            _is(MOVES["retry"].sources),
            (*_to("CREATED"), *_FRESH_BUDGET, *_BLANK, *_NOBODY, ("relay_at", d.later(":delay"))),
            many=True,
        ),
        # The same unique key was submitted again.
        "resubmit": MoveStatement(
            "resubmit",
            "old.tenant = :tenant AND old.type = :type AND old.unique_key = :unique_key",
            _is(MOVES["resubmit"].sources),
            (
                *_to("CREATED"),
                *_FRESH_BUDGET,
                *_BLANK,
                *_NOBODY,
                ("relay_at", d.later(":delay")),
                ("input", d.json("input")),
                ("input_ref", d.text("input_ref")),
                ("deadline_at", d.moment("deadline_at")),
                ("queue", d.text("queue")),
                ("priority", d.integer("priority")),
            ),
        ),
    }


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
    listed = ", ".join(f"'{value}'" for value in in_order(statuses))
    return f"old.status IN ({listed})"


def _ready(d: StoreDialect) -> str:
    """Waiting, and not for a time to come."""
    return (
        "old.status IN ('CREATED', 'QUEUED') OR (old.status IN ('SCHEDULED', 'ERRORED')"
        f" AND COALESCE(old.run_at, {d.now}) <= {d.now})"
    )


def _error_of_this_attempt(d: StoreDialect) -> tuple[str, str]:
    """For who does not know the number of the run: the row does."""
    return ("error", d.merged(d.json("error"), d.made("attempt", "old.attempt")))
