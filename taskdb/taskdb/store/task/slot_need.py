"""The slots that a task needs before it is published, by its limits, pauses and mutex.

A limit or pause is a row of `taskdb_limit` for a queue, a type or a tenant. A task with a limit, a
pause or a mutex key is published only when it has a slot of each of its keys.

The target `own` is a tenant too: a limit or pause that the tenant has set for itself, beside the
operator's. Both apply, so neither loosens the other.
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
"""The targets of limits and pauses, each with the column of a task that names it."""
Place = tuple[str, str]
"""A target and its name."""
MUTEX, RUNNING, STARTS, PAUSED = "mutex", "running", "starts", "paused"


@dataclass(frozen=True, slots=True)
class Rule:
    """The limit and the pause of one row of `taskdb_limit`."""

    is_paused: bool
    max_running: int | None
    max_starts: int | None
    window_seconds: float | None


@dataclass(frozen=True, slots=True)
class Need:
    """A slot that a task needs: its key, the number of slots, and the seconds of its window."""

    key: str
    places: int
    seconds: float | None = None


Rules = Mapping[Place, Rule]


def places_of(row: Row) -> tuple[Place, ...]:
    """Return the places for which limits and pauses of a task may be set."""
    return tuple((target, row[column]) for target, column in TARGETS.items())


def pause_of(row: Row, rules: Rules) -> str | None:
    """Return the pause that stops a task, as `held_by` names it; None where there is none."""
    for target, name in places_of(row):
        rule = rules.get((target, name))
        if rule is not None and rule.is_paused:
            return f"{PAUSED}:{target}:{name}"
    return None


def needs_of(row: Row, rules: Rules) -> list[Need]:
    """Return the slots that a task needs, in order of their keys. It gets all of them or none."""
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
    """Return the key of a mutex. Two tenants never share one."""
    spelled = tenant.replace("%", "%25").replace("/", "%2F")
    return f"{MUTEX}:{spelled}/{key}"


def wait_queues_of(tenant: str, queue: str, type_name: str, mutex: str | None) -> list[str]:
    """Return the wait queues whose tasks may wait for the slots that a task frees at its end."""
    named = {"queue": queue, "type": type_name, "tenant": tenant}
    keys = [f"{RUNNING}:{target}:{named[column]}" for target, column in TARGETS.items()]
    return keys if mutex is None else [mutex_key(tenant, mutex), *keys]


def place_of(key: str) -> Place | None:
    """Return the place of the limit or pause of a wait queue; None for a mutex."""
    kind, _, rest = key.partition(":")
    if kind == MUTEX:
        return None
    target, _, name = rest.partition(":")
    return target, name


def is_own(key: str) -> bool:
    """Return whether a key belongs to a limit or pause that a tenant has set for itself."""
    place = place_of(key)
    return place is not None and place[0] == OWN


def is_shared(key: str) -> bool:
    """Return whether tasks of several tenants may need slots of this key."""
    place = place_of(key)
    return place is not None and place[0] in {"queue", "type"}


def room_of(key: str, rules: Rules, taken: int, most: int) -> int:
    """Return how many tasks of a wait queue may get a slot; at most `most`."""
    kind = key.partition(":")[0]
    place = place_of(key)
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
    """Return the place, and the limit and pause, of a row."""
    rule = Rule(
        bool(row["is_paused"]), row["max_running"], row["max_starts"], row["window_seconds"]
    )
    return (row["target"], row["name"]), rule


def as_json(place: Place) -> dict[str, Any]:
    """Return a place as a parameter of a statement."""
    return {"target": place[0], "name": place[1]}
