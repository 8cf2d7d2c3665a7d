"""Alarms: sources, severities and states; the policy of a task type; one alarm as a value."""

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
    """The source of an alarm."""

    FAILED = "failed"
    """A task is FAILED."""
    HALTED = "halted"
    """A task waits for a person."""
    JOIN = "join"
    """A parent failed because of its sub-tasks."""
    MISSED_SCHEDULE = "missed_schedule"
    """A due time of a schedule was skipped."""
    LOST_WORKER = "lost_worker"
    """A worker has no heartbeat any more, and did not stop regularly."""
    NO_CONSUMER = "no_consumer"
    """Tasks wait in a queue that no live worker consumes."""
    BACKLOG = "backlog"
    """Tasks of a queue or a type have waited for longer than allowed."""

    @property
    def is_condition(self) -> bool:
        """The alarm resolves itself when its cause ends."""
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
    """The severity of an alarm."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The rank; a higher one is worse."""
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
"""The severity where a type sets none."""


class AlarmState(StrEnum):
    """The state of an alarm: whether a person has to act."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """A person works on it: no message until it is resolved and fails again."""
    SNOOZED = "snoozed"
    """No message until a moment; then it is open again."""
    RESOLVED = "resolved"
    """Ended. A new failure opens it again as a regression."""


class MessageKind(StrEnum):
    """The reason of a message."""

    OPENED = "opened"
    AGAIN = "again"
    """More failures: those of one window in one message."""
    REGRESSION = "regression"
    """The alarm was resolved, and failed again."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """The alarm policy of a task type: ``@task(…, alarm=Alarm(…))``; `alarm=False`: no alarms.

    `on` names the sources that raise an alarm (None: those of the settings). `severity` is the
    severity (None: that of the source). `to` names the channels, instead of those of the routes.
    `group_by_tenant` decides whether each tenant has its own alarms (None: as in the settings).
    `backlog` is how long a task of the type may wait before it raises an alarm. Raises ValueError
    or TypeError for wrong values.
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
        group_by_tenant: bool | None = None,  # noqa: FBT001 - passed by name, as the others
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
            # The other half of an index entry belongs to another column.
            if not name or wrong_text(name, QUEUE_BYTES) is not None:
                raise ValueError(f"to=... names channels, and {shown(name)} is not a name")

    @classmethod
    def of(cls, given: Any) -> Self | None:
        """Return the policy that `@task` got: None sets nothing, False means no alarms.

        Raises TypeError.
        """
        if given is None or isinstance(given, cls):
            return given
        if given is False:
            return cls(on=())
        raise TypeError(f"alarm={given!r} is not a policy: pass Alarm(...), or False for none")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmEntity:
    """One cause of failures: a snapshot of its row, which never changes.

    `tenant` is None for an alarm that counts all tenants together. `count` is the number of
    failures, `reported` the number of those that a message has reported. `is_routed` is False if a
    message was due and no route matched, None if none was due. `task_ids` are the newest failed
    tasks, `sample` has details of the last one; its text is redacted.
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
    reported: int
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
    """The tenant whose client acted on the alarm last. None: the operator did, or no client has."""

    @property
    def subject(self) -> str:
        """The subject in a few words: a type, a queue, a worker or a schedule."""
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
    """Return the enumeration value. A ValueError suggests the nearest one."""
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
