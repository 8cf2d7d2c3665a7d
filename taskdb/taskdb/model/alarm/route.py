"""The routes from alarms to channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from taskdb.errors import did_you_mean
from taskdb.model.alarm.alarm import AlarmSource, Severity, one_of
from taskdb.model.alarm.channel import read_json
from taskdb.model.bounds import NAME_BYTES, shown, wrong_text

_KEYS = ("to", "tenant", "type", "severity", "source")


class AlarmSubject(Protocol):
    """The values of an alarm that a route depends on."""

    @property
    def source(self) -> AlarmSource: ...
    @property
    def type(self) -> str: ...
    @property
    def tenant(self) -> str | None: ...
    @property
    def severity(self) -> Severity: ...


@dataclass(frozen=True, slots=True)
class Route:
    """Sends matching alarms to channels; a field of None matches all. A type may end with `*`.

    `owner` is the tenant whose client created the route; None is the operator. A route of a tenant
    adds channels for alarms of this tenant, and removes none.
    """

    to: tuple[str, ...]
    tenant: str | None = None
    type: str | None = None
    severity: Severity = Severity.INFO
    source: AlarmSource | None = None
    id: str | None = None
    """The id of its row; None for a route of the settings."""
    owner: str | None = None

    def fits(self, subject: AlarmSubject) -> bool:
        """Return whether the route matches an alarm."""
        return (
            self.source in {None, subject.source}
            and self.tenant in {None, subject.tenant}
            and subject.severity.rank >= self.severity.rank
            and (self.type is None or _is_like(subject.type, self.type))
        )


@dataclass(frozen=True, slots=True)
class AlarmRules:
    """The settings of alarms."""

    window: timedelta
    sources: frozenset[AlarmSource]
    group_by_tenant: bool
    with_input: bool
    channels: tuple[str, ...] = ()
    """The channels of the operator."""
    routes: tuple[Route, ...] = ()
    tenant_channels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The channels that a tenant may use."""

    def channels_of(self, subject: AlarmSubject, further: Iterable[Route]) -> tuple[str, ...]:
        """Return the channels that the operator's routes name, from the settings and `further`.

        If the operator has no route at all, return every channel of the operator.
        """
        routes = [*self.routes, *(one for one in further if one.owner is None)]
        if not routes:
            return self.channels
        return _named(one.to for one in routes if one.fits(subject))

    def added_channels_of(self, subject: AlarmSubject, further: Iterable[Route]) -> tuple[str, ...]:
        """Return the channels that routes of the alarm's tenant add and that it may use now."""
        if subject.tenant is None:
            return ()
        own = self.tenant_channels.get(subject.tenant, ())
        routes = (one for one in further if one.owner == subject.tenant and one.fits(subject))
        return tuple(name for name in _named(one.to for one in routes) if name in own)


def parse_routes(given: Any, channels: Iterable[str]) -> tuple[Route, ...]:
    """Return the routes of a JSON list. Raises ValueError."""
    value = read_json(given)
    if not isinstance(value, list | tuple):
        raise ValueError('a list of routes, such as [{"to": ["ops"], "severity": "error"}]')  # noqa: TRY004 - as above
    known = tuple(channels)
    return tuple(
        one if isinstance(one, Route) else parse_route(one, known, f"route {number}")
        for number, one in enumerate(value, start=1)
    )


def parse_route(given: Any, channels: Iterable[str], where: str) -> Route:
    """Return one route to some of these channels. A ValueError names no other channel."""
    if not isinstance(given, Mapping):
        raise ValueError(f'{where} is not an object such as {{"to": ["ops"]}}')  # noqa: TRY004 - as above
    for name in given:
        if name not in _KEYS:
            raise ValueError(f"{where} has no key {name!r}{did_you_mean(str(name), _KEYS)}")
    try:
        return Route(
            to=_known(given.get("to"), tuple(channels)),
            tenant=_text(given.get("tenant"), "tenant"),
            type=_pattern(_text(given.get("type"), "type")),
            severity=one_of(Severity, given.get("severity") or Severity.INFO),
            source=one_of(AlarmSource, given["source"]) if given.get("source") else None,
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _known(given: Any, channels: tuple[str, ...]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not names:
        raise ValueError('it has no channels: add "to": ["channel"]')
    for name in names:
        if name not in channels:
            hint = did_you_mean(str(name), channels)
            known = ", ".join(channels) or "none"
            raise ValueError(
                f"no channel is named {shown(name)}{hint}. TASKDB_ALARM_CHANNELS allows: {known}"
            )
    return tuple(dict.fromkeys(names))


def _named(several: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in several for name in names))


def _text(given: Any, name: str) -> str | None:
    if given is None:
        return None
    reason = wrong_text(given, NAME_BYTES)
    if reason is not None:
        raise ValueError(f"{name} must be text: {reason}")
    return str(given)


def _pattern(given: str | None) -> str | None:
    if given is not None and (not given or "*" in given[:-1]):
        raise ValueError("type is a name, or a prefix of names with a * at its end")
    return given


def _is_like(type: str, wanted: str) -> bool:
    return type.startswith(wanted[:-1]) if wanted.endswith("*") else type == wanted
