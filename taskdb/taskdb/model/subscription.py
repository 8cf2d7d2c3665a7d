"""Who wants to be told of what, as values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from taskdb.errors import Fault, did_you_mean
from taskdb.model.bounds import NAME_BYTES, shown, wrong_text
from taskdb.model.entity import TaskKind
from taskdb.model.status import TaskStatus

SUBJECT = "the subscription"


class SubscriptionState(StrEnum):
    """Whether it is told."""

    ACTIVE = "active"
    PAUSED = "paused"
    DEAD = "dead"


class TransportKind(StrEnum):
    """How it is told."""

    WEBHOOK = "webhook"
    REDIS = "redis"
    SNS = "sns"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which changes of status are told; what is left out means any.

    `type` is the name of a task type, or the beginning of names with a `*` at its end.
    """

    type: str | None = None
    kind: TaskKind | None = None
    statuses: tuple[TaskStatus, ...] = ()
    with_sub_tasks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionEntity:
    """One subscription as its row says; its secrets are not among it."""

    id: str
    name: str
    tenant: str
    is_for_all: bool
    """It is told of every tenant; `tenant` is then empty."""
    transport: TransportKind
    target: str
    filter: EventFilter
    state: SubscriptionState
    cursor: str
    """The place behind the last event that was sent or passed over."""
    cursor_at: datetime | None
    """When that event was."""
    attempts: int
    """Sends of the event that is next which failed."""
    failing_since: datetime | None
    next_try_at: datetime | None
    last_error: str | None
    sent: int
    last_sent_at: datetime | None
    previous_secret_until: datetime | None
    created_by: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class KeyedSubscription:
    """A subscription and its new secret, which nobody is told again; None where it needs none."""

    subscription: SubscriptionEntity
    secret: str | None = field(repr=False)


def filter_of(
    type: Any, kind: Any, status: Any, faults: list[Fault], *, with_sub_tasks: bool
) -> EventFilter:
    """The filter of what was given; adds what is wrong to the faults."""
    if type is not None and (not isinstance(type, str) or not type or "*" in type[:-1]):
        faults.append(Fault("type", "a name, or the beginning of names with a * at its end"))
    elif type is not None and (reason := wrong_text(type, NAME_BYTES)) is not None:
        faults.append(Fault("type", reason))
    return EventFilter(
        type=type,
        kind=_kind(kind, faults),
        statuses=_statuses(status, faults),
        with_sub_tasks=bool(with_sub_tasks),
    )


def _kind(given: Any, faults: list[Fault]) -> TaskKind | None:
    if given is None:
        return None
    try:
        return TaskKind(str(given).upper())
    except ValueError:
        faults.append(Fault("kind", f"{shown(given)} is none of {', '.join(TaskKind)}"))
        return None


def _statuses(given: Any, faults: list[Fault]) -> tuple[TaskStatus, ...]:
    several = [given] if isinstance(given, str) else given
    if several is None:
        return ()
    if not isinstance(several, Iterable):
        faults.append(Fault("status", f"{shown(given)} is no status and no list of them"))
        return ()
    found: dict[TaskStatus, None] = {}
    known = [status.value for status in TaskStatus]
    for one in several:
        word = str(one).upper()
        if word in known:
            found[TaskStatus(word)] = None
        else:
            faults.append(Fault("status", f"{shown(one)} is no status{did_you_mean(word, known)}"))
    return tuple(found)
