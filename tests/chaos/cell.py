"""The matrix as data: what is broken, how, and at which moment of a task's life.

A cell is one combination. Those that do not exist have a reason, which `absence` gives.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class Victim(StrEnum):
    SUBMITTER = "submitter"
    CHILD = "worker child"
    MAIN = "worker main"
    WORKER = "whole worker"
    BEAT = "beat"
    BROKER = "broker"
    DATABASE = "database"
    BROKER_LINE = "line to broker"
    DATABASE_LINE = "line to database"
    ROW = "row"


class Fault(StrEnum):
    KILL = "kill -9"
    TERM = "SIGTERM to the group"
    STOP = "stop"
    CUT = "cut"
    WIPE = "wipe"
    POISON = "poison"
    FAILOVER = "failover to read-only"
    RESTORE = "restore into a new cluster"
    LOCK = "a lock on the row"


class Moment(StrEnum):
    BEFORE_PUBLISH = "before publish"
    AFTER_PUBLISH = "after publish"
    QUEUED = "queued"
    CLAIMED = "claimed"
    IN_THE_BODY = "in the body"
    AFTER_THE_BODY = "after the body"
    OUTCOME_WRITTEN = "outcome written"
    BEFORE_JOIN = "between outcome and join"
    JOINING = "while joining"
    FINALISING = "while finalising"
    SCHEDULED = "while scheduled"
    RETRYING = "while retrying"


class Loop(StrEnum):
    """What cannot work on a row that is poison."""

    RELAY = "relay"
    RELEASE = "release"
    RESCUE = "rescue"
    EXPIRE = "expire"
    CALLBACKS = "callbacks"
    RECONCILE = "reconcile"
    REQUEUE = "requeue"
    ADOPT = "adopt"
    SCHEDULE = "schedule"
    FOLD = "fold"
    DELIVER = "deliver"
    PRUNE = "prune"
    SWEEP = "sweep"


class Load(StrEnum):
    MIX = "mix"
    THOUSAND = "1,000 tasks"


class Broker(StrEnum):
    REDIS = "redis"
    RABBITMQ = "rabbitmq"


PUBLISHING = frozenset({Moment.BEFORE_PUBLISH, Moment.AFTER_PUBLISH})
"""Moments at which a process that publishes stands: the submitting one, or a beat's relay."""
RUNNING = frozenset(
    {
        Moment.CLAIMED,
        Moment.IN_THE_BODY,
        Moment.AFTER_THE_BODY,
        Moment.OUTCOME_WRITTEN,
        Moment.BEFORE_JOIN,
        Moment.JOINING,
        Moment.FINALISING,
    }
)
"""Moments at which a child of a worker stands."""
RESTING = frozenset({Moment.QUEUED, Moment.SCHEDULED, Moment.RETRYING})
"""Moments at which nobody stands: the rows (and messages) wait."""
JOINS = frozenset({Moment.BEFORE_JOIN, Moment.JOINING, Moment.FINALISING})
"""Moments that only the last part of a fan-out has."""

WRITING = frozenset({Moment.QUEUED, Moment.CLAIMED, Moment.IN_THE_BODY, Moment.AFTER_THE_BODY})
"""Moments before a write of a run: its claim, what the body reports, its outcome."""
RESTORED = frozenset({Moment.QUEUED, Moment.IN_THE_BODY, Moment.RETRYING})
"""Moments at which the database is restored: rows wait, or a body runs meanwhile."""
REFUSALS = frozenset({Fault.FAILOVER, Fault.LOCK})
"""Faults of a database that answers, and refuses."""

LINES = frozenset({Victim.BROKER_LINE, Victim.DATABASE_LINE})
WATCHED = ("chaos.plain", "chaos.part", "chaos.step", "chaos.retries")
"""Types of which a run may be the one that stands at a moment of a run."""

_BROKERS_NATURE = frozenset(
    {Victim.BROKER, Victim.BROKER_LINE, Victim.WORKER, Victim.MAIN, Victim.CHILD}
)
"""Whose faults show how a broker gives messages back: these cells are run on each broker."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination, on one broker."""

    victim: Victim
    fault: Fault
    moment: Moment
    broker: Broker = Broker.REDIS
    load: Load = Load.MIX
    loop: Loop | None = None
    """Of a row that is poison: the loop that has to work on it."""

    @property
    def name(self) -> str:
        words = [self.victim, self.fault, self.moment]
        if self.broker is not Broker.REDIS:
            words.append(self.broker)
        if self.load is not Load.MIX:
            words.append(self.load)
        if self.loop is not None:
            words.append(self.loop)
        return " / ".join(words)

    def chance(self, seed: int) -> random.Random:
        """What is left to chance in this cell; the same for the same seed."""
        return random.Random(f"{seed} {self.name}")


def absence(victim: Victim, fault: Fault, moment: Moment) -> str | None:
    """Why there is no such cell; None where there is one."""
    return _absent_fault(victim, fault) or _absent_moment(victim, fault, moment)


_ONLY: dict[Fault, tuple[Victim, str]] = {
    Fault.TERM: (
        Victim.WORKER,
        "a signal to a process group is how a supervisor stops a whole worker",
    ),
    Fault.RESTORE: (Victim.DATABASE, "only the database has a backup"),
    Fault.WIPE: (
        Victim.BROKER,
        "only the broker may lose what it has: the database is the record",
    ),
    **dict.fromkeys(
        REFUSALS,
        (
            Victim.DATABASE,
            "only the database can refuse a write by itself, or wait for a lock",
        ),
    ),
}
"""Faults of one victim alone, and why."""


def _absent_fault(victim: Victim, fault: Fault) -> str | None:
    only, reason = _ONLY.get(fault, (victim, ""))
    if victim is not only:
        return reason
    if (fault is Fault.POISON) != (victim is Victim.ROW):
        return "only a row can be poison, and nothing else can happen to it"
    if fault is Fault.KILL and victim in LINES:
        return "a line has no process to kill: it is cut"
    if fault is Fault.CUT and victim not in LINES:
        return "only a line can be cut: those of a process break when it is killed"
    return None


def _absent_moment(victim: Victim, fault: Fault, moment: Moment) -> str | None:
    reasons = (
        (
            fault in REFUSALS and moment not in WRITING,
            "a refused write is tried before the claim, in the body and at the outcome",
        ),
        (
            fault is Fault.TERM and moment not in RUNNING | {Moment.QUEUED},
            "a stopping worker is not combined with faults of tasks without a worker",
        ),
        (
            fault is Fault.RESTORE and moment not in RESTORED,
            "a restore finds rows that wait, or a body that runs",
        ),
        (
            victim is Victim.ROW and moment is not Moment.QUEUED,
            "a row that is poison is there from the beginning, for each loop of its own",
        ),
        (
            victim is Victim.SUBMITTER and (moment in RUNNING or moment is Moment.RETRYING),
            "the process that submitted has no part in a run",
        ),
        (
            victim is Victim.CHILD and moment in PUBLISHING | {Moment.SCHEDULED, Moment.RETRYING},
            "no child has anything to do with a task that no worker has",
        ),
    )
    return next((reason for is_absent, reason in reasons if is_absent), None)


def every_cell() -> list[Cell]:
    """All that exist, on Redis; and on RabbitMQ those where a broker's nature matters."""
    found = [
        Cell(victim, fault, moment)
        for victim in Victim
        for fault in Fault
        for moment in Moment
        if absence(victim, fault, moment) is None and victim is not Victim.ROW
    ]
    found += [Cell(Victim.ROW, Fault.POISON, Moment.QUEUED, loop=loop) for loop in Loop]
    found += [
        Cell(cell.victim, cell.fault, cell.moment, Broker.RABBITMQ)
        for cell in found
        if cell.victim in _BROKERS_NATURE
    ]
    return [*found, THOUSAND]


THOUSAND = Cell(Victim.BROKER, Fault.WIPE, Moment.QUEUED, load=Load.THOUSAND)
"""All messages gone, with a thousand of them waiting."""


def selection(seed: int, count: int) -> list[Cell]:
    """So many cells, by chance; each victim, fault and moment at least once, where there is room.

    The wiped broker with its thousand is always among them.
    """
    chance = random.Random(f"selection {seed}")
    rest = [cell for cell in every_cell() if cell is not THOUSAND]
    chance.shuffle(rest)
    chosen = [THOUSAND]
    met: set[object] = set()
    for cell in rest:
        new = {(cell.victim, cell.fault), cell.moment, cell.broker} - met
        if new:
            chosen.append(cell)
            met |= new
    # RabbitMQ takes seconds to start again: its cells beyond the first ones come last.
    rest.sort(key=lambda cell: cell.broker is Broker.RABBITMQ)
    chosen += [cell for cell in rest if cell not in chosen]
    return chosen[:count]


def absences() -> dict[str, list[tuple[Victim, Fault, Moment]]]:
    """The combinations that do not exist, by the reason."""
    found: dict[str, list[tuple[Victim, Fault, Moment]]] = {}
    for victim in Victim:
        for fault in Fault:
            for moment in Moment:
                reason = absence(victim, fault, moment)
                if reason is not None:
                    found.setdefault(reason, []).append((victim, fault, moment))
    return found
