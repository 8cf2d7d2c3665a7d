"""What the moves are spelled of: fragments over the row alias `old`.

`MINE` means: the claim token of the run that writes is the one in the row. A run that ends itself
leaves its token there, so that a repeated write whose first answer was lost finds its own work;
who takes a task away from a run removes it.
"""

from __future__ import annotations

from collections.abc import Iterable

from taskdb.model.status import PUBLISHABLE, TaskStatus, in_order
from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.task.slot_need import is_refused

ONE = "old.id = :id"
WANTED = "old.cancel_requested_at IS NOT NULL"
MINE = "old.claim_token = :token"
NO_WORKER = (("worker", "NULL"),)
NOBODY = (*NO_WORKER, ("claim_token", "NULL"))
SPARE = (("spared", "old.spared + 1"),)
ALONE = (("chunk", "NULL"),)
"""A task that leaves its chunk gets a message of its own from then on."""
NOT_HELD = ("held_by", "NULL")
WAITS = "old.waits_for IS NOT NULL"
FRESH_BUDGET = (("spared", "old.attempt"), ("crashes", "0"), ("unregistered", "0"))
BLANK = (
    ("result", "NULL"),
    ("result_ref", "NULL"),
    ("error", "NULL"),
    ("ended_at", "NULL"),
    ("cancel_requested_at", "NULL"),
    ("called_back", "NULL"),
)


def reported(d: StoreDialect) -> tuple[tuple[str, str], ...]:
    """What a body said beside its outcome; what it did not say stays."""
    return (
        ("attributes", f"COALESCE({d.json('attributes')}, old.attributes)"),
        ("progress_current", f"COALESCE({d.integer('current')}, old.progress_current)"),
        ("progress_total", f"COALESCE({d.integer('total')}, old.progress_total)"),
        ("progress_message", f"COALESCE({d.text('message')}, old.progress_message)"),
    )


def waiting(d: StoreDialect) -> tuple[tuple[str, str], ...]:
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


def due_again(d: StoreDialect) -> tuple[tuple[str, str], ...]:
    return (("run_at", d.later(":delay")), ("relay_at", d.later(":delay")))


def to(status: str) -> tuple[tuple[str, str], ...]:
    return (("status", f"'{TaskStatus(status)}'"),)


def wanted_or(status: str) -> tuple[tuple[str, str], ...]:
    """The status, or CANCELED where someone asked for that while the body ran."""
    return (("status", f"CASE WHEN {WANTED} THEN 'CANCELED' ELSE '{TaskStatus(status)}' END"),)


def unless_canceled(d: StoreDialect, status: str) -> tuple[tuple[str, str], ...]:
    """As `wanted_or`, for a status that is not terminal."""
    return (*wanted_or(status), ("ended_at", f"CASE WHEN {WANTED} THEN {d.now} END"))


def is_in(statuses: Iterable[TaskStatus]) -> str:
    return f"old.status IN ({listed(statuses)})"


def listed(statuses: Iterable[TaskStatus]) -> str:
    return ", ".join(f"'{value}'" for value in in_order(statuses))


def waits_anew(*assignments: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """What takes a row back to waiting; a gated one has lost its slots and waits for new ones."""
    status = dict(assignments)["status"]
    waits = ", ".join(repr(value) for value in in_order(PUBLISHABLE))
    held = f"CASE WHEN old.is_gated AND {status} IN ({waits}) THEN 'gate' END"
    return (*assignments, ("held_by", held))


def not_aside(d: StoreDialect, loop: str, column: str = "id") -> str:
    """Whether a loop has not set a row aside, or its next try is due."""
    return (
        f"CAST({column} AS TEXT) NOT IN (SELECT a.key FROM taskdb_set_aside AS a"
        f" WHERE a.loop = '{loop}' AND a.next_try_at > (SELECT {d.now}))"
    )


def claimable(d: StoreDialect) -> str:
    """Ready and in time, and no rule stops it that it has not passed."""
    return f"({ready(d)}) AND NOT ({expired(d)}) AND NOT {is_refused()}"


def of_type(d: StoreDialect) -> str:
    """Whether a row is of the type that a message named; any is, where the type is NULL."""
    return f"({d.text('type')} IS NULL OR old.type = {d.text('type')})"


def expired(d: StoreDialect, row: str = "old") -> str:
    """Whether its first attempt was to start earlier. Whatever has started is not bound by that."""
    return f"{row}.started_at IS NULL AND COALESCE({row}.deadline_at <= {d.now}, false)"


def ready(d: StoreDialect) -> str:
    """Waiting, and neither held nor for a time to come."""
    return (
        "old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED')"
        " OR (old.status IN ('SCHEDULED', 'ERRORED')"
        f" AND COALESCE(old.run_at, {d.now}) <= {d.now}))"
    )


def error_of_this_attempt(d: StoreDialect) -> tuple[str, str]:
    """For who does not know the number of the run: the row does."""
    return ("error", d.merged(d.json("error"), d.made("attempt", "old.attempt")))
