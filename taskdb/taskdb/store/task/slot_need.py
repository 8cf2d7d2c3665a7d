"""Which tasks a rule concerns: the fragments that tell, and the keys of the slots a task needs.

A rule is a row of `gate`, for a queue, a type or a tenant; or a mutex key. A task that has one is
gated: it is published only with a slot of each of its keys.

The target `own` is a tenant as well: it is what the tenant has set for itself, beside what the
operator has set for it. Both hold, so that neither loosens the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from taskdb.store.engine.session import Row

Target = Literal["queue", "type", "tenant", "own"]
OWN: Target = "own"
TARGETS: Mapping[Target, str] = {
    "queue": "queue",
    "type": "type",
    "tenant": "tenant",
    OWN: "tenant",
}
"""What a rule is made for, and the column of a task that names it."""
Place = tuple[str, str]
"""A target and its name."""
MUTEX, RUNNING, STARTS, PAUSED = "mutex", "running", "starts", "paused"


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of `gate`."""

    is_paused: bool
    max_running: int | None
    max_starts: int | None
    window_seconds: float | None


@dataclass(frozen=True, slots=True)
class Need:
    """A slot that a task must have: its key, of how many it is one, and the window's length."""

    key: str
    places: int
    seconds: float | None = None


Rules = Mapping[Place, Rule]


def places_of(row: Row) -> tuple[Place, ...]:
    """What the rules of a task may be made for."""
    return tuple((target, row[column]) for target, column in TARGETS.items())


def pause_of(row: Row, rules: Rules) -> str | None:
    """The pause that stops a task, as its `held_by` names it."""
    for target, name in places_of(row):
        rule = rules.get((target, name))
        if rule is not None and rule.is_paused:
            return f"{PAUSED}:{target}:{name}"
    return None


def needs_of(row: Row, rules: Rules) -> list[Need]:
    """The slots that a task must have, all or none, in the order of their keys."""
    needs = []
    if row["mutex_key"] is not None:
        needs.append(Need(mutex_key(row["tenant"], row["mutex_key"]), 1))
    for target, name in places_of(row):
        rule = rules.get((target, name))
        if rule is None:
            continue
        if rule.max_running is not None:
            needs.append(Need(f"{RUNNING}:{target}:{name}", rule.max_running))
        if rule.max_starts is not None:
            key = f"{STARTS}:{target}:{name}"
            needs.append(Need(key, rule.max_starts, rule.window_seconds))
    return sorted(needs, key=lambda need: need.key)


def mutex_key(tenant: str, key: str) -> str:
    """The key of a mutex: no two tenants have one in common, whatever their names."""
    spelled = tenant.replace("%", "%25").replace("/", "%2F")
    return f"{MUTEX}:{spelled}/{key}"


def lines_of(tenant: str, queue: str, type_name: str, mutex: str | None) -> list[str]:
    """The lines in which someone may wait for what a task gives back at its end."""
    named = {"queue": queue, "type": type_name, "tenant": tenant}
    lines = [f"{RUNNING}:{target}:{named[column]}" for target, column in TARGETS.items()]
    return lines if mutex is None else [mutex_key(tenant, mutex), *lines]


def place_of(line: str) -> Place | None:
    """What the rule of a line is made for; None for a mutex, which is a rule of its own."""
    kind, _, rest = line.partition(":")
    if kind == MUTEX:
        return None
    target, _, name = rest.partition(":")
    return target, name


def is_own(key: str) -> bool:
    """Whether a key is that of a rule which a tenant has set for itself."""
    place = place_of(key)
    return place is not None and place[0] == OWN


def is_shared(key: str) -> bool:
    """Whether tasks of several tenants may need slots of this key."""
    place = place_of(key)
    return place is not None and place[0] in {"queue", "type"}


def room_of(line: str, rules: Rules, taken: int, most: int) -> int:
    """How many tasks of a line are worth a look, at most so many."""
    kind = line.partition(":")[0]
    place = place_of(line)
    rule = None if place is None else rules.get(place)
    limit: int | None = None
    if kind == MUTEX:
        limit = 1
    elif rule is not None and kind == PAUSED:
        limit = 0 if rule.is_paused else None
    elif rule is not None:
        limit = rule.max_running if kind == RUNNING else rule.max_starts
    return most if limit is None else min(max(limit - taken, 0), most)


def rule_of(row: Row) -> tuple[Place, Rule]:
    """A rule as it was read."""
    rule = Rule(
        bool(row["is_paused"]), row["max_running"], row["max_starts"], row["window_seconds"]
    )
    return (row["target"], row["name"]), rule


def as_json(place: Place) -> dict[str, Any]:
    """A place as a parameter carries it."""
    return {"target": place[0], "name": place[1]}
