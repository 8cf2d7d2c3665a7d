"""Subscriptions: which changes of status are sent to which target."""

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
    """Whether notifications are sent."""

    ACTIVE = "active"
    PAUSED = "paused"
    DEAD = "dead"


class TransportKind(StrEnum):
    """The way in which notifications are sent."""

    WEBHOOK = "webhook"
    REDIS = "redis"
    SNS = "sns"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The changes of status that are sent; a field left out matches any.

    `type` is the name of a task type, or a prefix of names with a `*` at its end.
    """

    type: str | None = None
    kind: TaskKind | None = None
    statuses: tuple[TaskStatus, ...] = ()
    with_sub_tasks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionEntity:
    """One subscription, a snapshot of its row without the secrets."""

    id: str
    name: str
    tenant: str
    is_for_all: bool
    """It gets the changes of every tenant; `tenant` is then empty."""
    transport: TransportKind
    target: str
    filter: EventFilter
    state: SubscriptionState
    cursor: str
    """The position after the last event that was sent or skipped."""
    cursor_at: datetime | None
    """The time of that event."""
    attempts: int
    """Failed attempts to send the next event."""
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
    """A subscription and its new secret, which cannot be read again; None if it needs none."""

    subscription: SubscriptionEntity
    secret: str | None = field(repr=False)


def filter_of(
    type: Any, kind: Any, status: Any, faults: list[Fault], *, with_sub_tasks: bool
) -> EventFilter:
    """Return the filter of the options, and append the faults of wrong ones."""
    if type is not None and (not isinstance(type, str) or not type or "*" in type[:-1]):
        faults.append(Fault("type", "a name, or a prefix of names with a * at its end"))
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
        faults.append(Fault("status", f"{shown(given)} is not a status or a list of statuses"))
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
