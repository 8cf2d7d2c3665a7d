"""Alarms: what raises one, how bad it is, who is told; and one as a value, read from its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self, TypeVar

from taskdb.errors import did_you_mean
from taskdb.model.bounds import QUEUE_BYTES, as_duration, shown, wrong_text

E = TypeVar("E", bound=StrEnum)


class AlarmSource(StrEnum):
    """What an alarm is about."""

    FAILED = "failed"
    """A task is FAILED."""
    HALTED = "halted"
    """A task waits for a person."""
    JOIN = "join"
    """A parent failed because of its sub-tasks."""
    MISSED_SCHEDULE = "missed_schedule"
    """A due time of a schedule was let pass."""
    LOST_WORKER = "lost_worker"
    """A worker is not seen any more and did not say that it stops."""
    NO_CONSUMER = "no_consumer"
    """Tasks wait in a queue that no live worker takes from."""
    BACKLOG = "backlog"
    """Tasks of a queue or a type have waited for longer than they may."""

    @property
    def is_condition(self) -> bool:
        """It lasts, and is over by itself when what it tells of is."""
        return self in _CONDITIONS


_CONDITIONS = frozenset(
    {
        AlarmSource.MISSED_SCHEDULE,
        AlarmSource.LOST_WORKER,
        AlarmSource.NO_CONSUMER,
        AlarmSource.BACKLOG,
    }
)


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The higher, the worse."""
        return list(Severity).index(self)


DEFAULT_SEVERITIES: Mapping[AlarmSource, Severity] = {
    AlarmSource.FAILED: Severity.ERROR,
    AlarmSource.HALTED: Severity.ERROR,
    AlarmSource.JOIN: Severity.ERROR,
    AlarmSource.MISSED_SCHEDULE: Severity.WARNING,
    AlarmSource.LOST_WORKER: Severity.WARNING,
    AlarmSource.NO_CONSUMER: Severity.ERROR,
    AlarmSource.BACKLOG: Severity.WARNING,
}
"""Where a type says nothing else."""


class AlarmState(StrEnum):
    """Who has to do something about it."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """Someone is at it: no message until it is resolved and comes back."""
    SNOOZED = "snoozed"
    """No message until a moment; then it is open."""
    RESOLVED = "resolved"
    """Over. When it comes back it is open, and a regression."""


class MessageKind(StrEnum):
    """Why people are told."""

    OPENED = "opened"
    AGAIN = "again"
    """It went on: what came in a window, in one message."""
    REGRESSION = "regression"
    """It was resolved, and is back."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a task type says of its alarms: ``@task(…, alarm=Alarm(…))``; `alarm=False`: none.

    `on` names what raises one (None: what the settings say), `severity` how bad that is (None: as
    bad as its source is), `to` the channels that are told instead of those of the routes,
    `group_by_tenant` whether each tenant has alarms of its own (None: as the settings say),
    `backlog` after what time a waiting task of the type is one too old. Raises ValueError for what
    makes no sense.
    """

    on: tuple[AlarmSource, ...] | None = None
    severity: Severity | None = None
    to: tuple[str, ...] = ()
    group_by_tenant: bool | None = None
    backlog: timedelta | None = None

    def __init__(
        self,
        on: str | Iterable[str] | None = None,
        severity: str | None = None,
        to: str | Iterable[str] = (),
        group_by_tenant: bool | None = None,  # noqa: FBT001 - given by name, as the others are
        backlog: timedelta | float | None = None,
    ) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("on", None if on is None else tuple(one_of(AlarmSource, each) for each in _texts(on)))
        put("severity", None if severity is None else one_of(Severity, severity))
        put("to", _texts(to))
        put("group_by_tenant", group_by_tenant)
        put("backlog", _duration(backlog))
        if not isinstance(group_by_tenant, bool | None):
            raise TypeError(f"group_by_tenant={group_by_tenant!r} is neither True nor False")
        for name in self.to:
            # Half of an index entry is another column's.
            if not name or wrong_text(name, QUEUE_BYTES) is not None:
                raise ValueError(f"to=... names channels, and {shown(name)} names none")

    @classmethod
    def of(cls, given: Any) -> Self | None:
        """A policy as `@task` takes it: None says nothing, False means that nothing is raised.

        Raises TypeError.
        """
        if given is None or isinstance(given, cls):
            return given
        if given is False:
            return cls(on=())
        raise TypeError(f"alarm={given!r} is no policy: give Alarm(...), or False for none")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmEntity:
    """One cause of failures, and what is known of it; read once and never changed.

    `tenant` is None for one that counts for all tenants together. `count` is how often it came,
    `told` how many of these a message has told of. `is_routed` is False where it should have been
    told and no route takes it, None where there was nothing to tell. `task_ids` are the newest
    samples, `sample` says more of the last; text in it is redacted.
    """

    id: str
    fingerprint: str
    source: AlarmSource
    type: str
    error_type: str
    place: str
    tenant: str | None
    severity: Severity
    state: AlarmState
    snoozed_until: datetime | None
    count: int
    told: int
    window_until: datetime | None
    is_regression: bool
    is_routed: bool | None
    channels: tuple[str, ...]
    task_ids: tuple[str, ...]
    sample: Mapping[str, Any] = field(default_factory=dict)
    message: str
    first_seen_at: datetime
    last_seen_at: datetime
    opened_at: datetime
    resolved_at: datetime | None
    acted_by: str | None
    acted_at: datetime | None
    note: str | None
    acted_for: str | None = None
    """The tenant whose client acted on it last; None is the operator, or no one."""

    @property
    def subject(self) -> str:
        """What it is about, in a few words: a type, a queue, a worker, a schedule."""
        return self.type if not self.source.is_condition else self.place or self.type


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmDelivery:
    """One message of an alarm to one channel."""

    id: str
    alarm_id: str
    channel: str
    sequence: int
    kind: MessageKind
    count: int
    total: int
    attempts: int
    next_try_at: datetime
    last_error: str | None
    sent_at: datetime | None
    created_at: datetime


def one_of(kind: type[E], given: Any) -> E:
    """The member of this value; ValueError with the nearest one."""
    values = [one.value for one in kind]
    try:
        return kind(given.lower() if isinstance(given, str) else given)
    except ValueError:
        hint = did_you_mean(shown(given), values)
        raise ValueError(f"{shown(given)} is none of {', '.join(values)}{hint}") from None


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{shown(texts)} must be texts")
    return tuple(dict.fromkeys(texts))


def _duration(given: timedelta | float | None) -> timedelta | None:
    if given is None:
        return None
    duration = as_duration(given, "backlog")
    if not duration:
        raise ValueError(f"backlog={given!r} must be longer than zero")
    return duration
