"""Settings of alarms."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PositiveFloat,
    ValidationInfo,
    field_validator,
)

from taskdb.model.alarm.alarm import AlarmSource, one_of
from taskdb.model.alarm.channel import Channel, channels_of_tenants, parse_channels
from taskdb.model.alarm.route import AlarmRules, Route, parse_routes
from taskdb.model.bounds import NAME_BYTES, wrong_text
from taskdb.settings.value import parse_json, split_words


def _channels(value: Any) -> Any:
    is_parsed = isinstance(value, tuple) and all(isinstance(one, Channel) for one in value)
    return value if is_parsed else parse_channels(value)


def _sources(value: Any) -> Any:
    words = split_words(value)
    return () if tuple(words) == ("none",) else tuple(one_of(AlarmSource, one) for one in words)


def _ages(value: Any) -> Any:
    ages = parse_json(value)
    for name, seconds in dict(ages).items():
        target, _, subject = str(name).partition(":")
        is_text = wrong_text(name, NAME_BYTES) is None
        if name != "*" and (not is_text or target not in {"queue", "type"} or not subject):
            raise ValueError(f"{name!r} is neither queue:NAME, type:NAME nor *")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
            raise ValueError(f"{name}: must be seconds, more than 0")
    return ages


class AlarmSettings(BaseModel, defer_build=True):
    """Channels and routes of alarms, what raises one, and how they are grouped."""

    alarm_channels: Annotated[
        tuple[Channel, ...], BeforeValidator(_channels), Field(repr=False, exclude=True)
    ] = ()
    """Where alarms go: a JSON object of names and targets. A target is an Apprise URL (`slack://…`,
    `mailto://…`), the ARN of an SNS topic, `log`, or an object such as `{"webhook": "https://…",
    "secret": "whsec_…"}`. `"tenants": ["acme"]` in it lets clients of these tenants route alarms
    there; other alarms go there only by a route that names it. Set the same for workers and
    beats."""
    alarm_routes: tuple[Route, ...] = ()
    """Which alarm goes to which channels: a JSON list such as `[{"to": ["ops"], "severity":
    "error"}, {"to": ["shop"], "type": "order.*", "tenant": "acme"}]`. Every route that matches
    counts. Without any route, here or as a row, every channel gets every alarm. Routes of tenants
    only add channels."""
    alarm_sources: Annotated[tuple[AlarmSource, ...], BeforeValidator(_sources)] = tuple(
        AlarmSource
    )
    """Comma-separated sources that raise an alarm where a type sets none (`failed`, `halted`,
    `join`, `missed_schedule`, `lost_worker`, `no_consumer`, `backlog`); `none`: no alarm. Default:
    all."""
    alarm_group_by_tenant: bool = False
    """Count the failures of each tenant apart, where a type sets nothing. Otherwise one alarm
    counts all tenants, and only the operator sees it."""
    alarm_with_input: bool = False
    """Send the redacted input of the last failed task along to programs."""
    alarm_window_seconds: PositiveFloat = 300.0
    """At most one message per cause in this time, with the count of failures."""
    alarm_interval_seconds: PositiveFloat = 1.0
    """Pause between two passes of the loop that raises alarms. A worker with channels does not wait
    for it."""
    alarm_watch_interval_seconds: PositiveFloat = 10.0
    """Pause between two passes that look for missed schedules, lost workers, queues without
    consumers and backlogs."""
    alarm_unconsumed_seconds: PositiveFloat = 60.0
    """A task that waits this long in a queue that no live worker consumes raises an alarm."""
    alarm_backlog_seconds: Annotated[dict[str, float], BeforeValidator(_ages)] = {}
    """How long a task waits before it raises an alarm: a JSON object such as `{"queue:mail": 300,
    "type:order.pay": 60, "*": 3600}`; `*` is every other queue."""
    alarm_lease_seconds: PositiveFloat = 60.0
    """Another process sends a message after this, if its sender has died."""
    alarm_keep_days: PositiveFloat = 90.0
    """Resolved alarms and sent messages are kept this long."""

    @field_validator("alarm_routes", mode="before")
    @classmethod
    def _are_routes(cls, value: Any, info: ValidationInfo) -> Any:
        return parse_routes(value, [one.name for one in info.data.get("alarm_channels", ())])

    @property
    def alarm_rules(self) -> AlarmRules:
        """The rules of alarms where a task type sets none."""
        return AlarmRules(
            window=timedelta(seconds=self.alarm_window_seconds),
            sources=frozenset(self.alarm_sources),
            group_by_tenant=self.alarm_group_by_tenant,
            with_input=self.alarm_with_input,
            channels=tuple(one.name for one in self.alarm_channels if not one.tenants),
            routes=self.alarm_routes,
            tenant_channels={
                tenant: channels_of_tenants(self.alarm_channels, [tenant])
                for tenant in {name for one in self.alarm_channels for name in one.tenants}
            },
        )
