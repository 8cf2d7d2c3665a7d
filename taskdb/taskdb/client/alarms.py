"""Alarms: the actions that a person takes on them, and the routes that send them to channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from uuid_utils.compat import uuid7

from taskdb.client.caller.actor import note_change
from taskdb.client.caller.caller import Caller
from taskdb.client.types import Types
from taskdb.errors import Fault, InvalidInput
from taskdb.model.alarm.alarm import (
    AlarmDelivery,
    AlarmEntity,
    AlarmSource,
    AlarmState,
    MessageKind,
    Severity,
    one_of,
)
from taskdb.model.alarm.channel import channels_of_tenants
from taskdb.model.alarm.message import AlarmMessage, message_of
from taskdb.model.alarm.route import Route, parse_route
from taskdb.model.bounds import NAME_BYTES, as_duration, check_texts, shown, spelled
from taskdb.model.clock import require_aware
from taskdb.model.json_text import storable
from taskdb.outgoing.transports import channel_of, open_transport
from taskdb.settings.settings import Settings
from taskdb.store.store import Store

_SUBJECT = "the alarm request"
_PAGE_LIMIT = 1_000
_LONGEST_SNOOZE = timedelta(days=366)
_TEST_ID = "00000000-0000-0000-0000-000000000000"


class Alarms:
    """`taskdb.alarms`: alarms, and the routes that send them to channels.

    A client that is scoped to tenants sees only the alarms of those tenants. An alarm that counts
    failures of all tenants belongs to the operator. A scoped client uses the channels that the
    settings allow to its tenants, and sees only their messages. Its routes add to the operator's.
    """

    def __init__(self, settings: Settings, store: Store, types: Types, caller: Caller) -> None:
        self._settings = settings
        self._alarms = store.alarms
        self._types = types
        self._caller = caller
        self._scope = caller.scope

    @property
    def _channels(self) -> tuple[str, ...] | None:
        """The names of the channels that this client sees; None means every channel."""
        if self._scope.tenants is None:
            return None
        return channels_of_tenants(self._settings.alarm_channels, self._scope.tenants)

    def _seen(self, one: AlarmEntity) -> AlarmEntity:
        """Remove the channels, the note and the actor that belong to the operator."""
        own = self._channels
        if own is None:
            return one
        mine = replace(one, channels=tuple(name for name in one.channels if name in own))
        return mine if one.acted_for is not None else replace(mine, acted_by=None, note=None)

    # --- look ---------------------------------------------------------------------------------

    def get(self, reference: str) -> AlarmEntity:
        """Return the alarm with this id or fingerprint; raises AlarmNotFound."""
        return self._seen(self._alarms.get(_reference(reference), self._scope))

    def deliveries(self, reference: str) -> list[AlarmDelivery]:
        """Return the messages of an alarm, newest first; raises AlarmNotFound."""
        alarm_id = self.get(reference).id
        return self._alarms.deliveries(alarm_id, self._scope, channels=self._channels)

    def undelivered(self, limit: int = 100) -> list[AlarmDelivery]:
        """Return messages that no channel has taken yet, oldest first; raises InvalidInput."""
        if _is_no_number(limit) or not 1 <= limit <= _PAGE_LIMIT:
            raise InvalidInput(_SUBJECT, [Fault("limit", f"1 to {_PAGE_LIMIT:,}")])
        return self._alarms.undelivered(self._scope, channels=self._channels, limit=limit)

    def errors(self, alarm_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the last delivery error of each alarm; '' for a message that was not tried yet.

        Alarms that this client does not see are left out.
        """
        if not isinstance(alarm_ids, Sequence):
            raise InvalidInput(_SUBJECT, [Fault("alarm_ids", "a list of ids")])
        return self._alarms.last_errors(alarm_ids, self._scope, channels=self._channels)

    # --- act ----------------------------------------------------------------------------------

    def acknowledge(
        self, reference: str, *, by: str | None = None, note: str | None = None
    ) -> AlarmEntity:
        """Acknowledge an alarm: it counts failures, but sends no message until it is resolved.

        A resolved alarm stays as it is. Raises AlarmNotFound.
        """
        place = _reference(reference)
        return self.get(
            self._alarms.acknowledge(place, self._scope, self._caller.actor(by), _plain(note))
        )

    def snooze(
        self, reference: str, until: datetime | timedelta | float, *, by: str | None = None
    ) -> AlarmEntity:
        """Send no messages until a moment, or for a duration (seconds or timedelta); then reopen.

        One message then reports the failures of the meantime. A resolved alarm stays as it is.
        Raises AlarmNotFound, InvalidInput.
        """
        moment = _until(until)
        found = self._alarms.snooze(
            _reference(reference), self._scope, moment, self._caller.actor(by)
        )
        return self.get(found)

    def resolve(
        self, reference: str, *, by: str | None = None, note: str | None = None
    ) -> AlarmEntity:
        """Mark an alarm as resolved. A new failure reopens it as a regression and notifies at once.

        Raises AlarmNotFound.
        """
        place = _reference(reference)
        return self.get(
            self._alarms.resolve(place, self._scope, self._caller.actor(by), _plain(note))
        )

    def test_channel(self, channel: str) -> None:
        """Send a message of a test alarm over a channel of the settings, now.

        Raises DeliveryFailed or TargetRefused with the reason; InvalidInput for a client that is
        scoped to tenants, and for a channel that is not named in the settings.
        """
        self._refuse_scoped("channels are tried")
        names = [one.name for one in self._settings.alarm_channels]
        if channel not in names:
            advice = f"no channel is named {shown(channel)}. TASKDB_ALARM_CHANNELS allows: "
            raise InvalidInput(_SUBJECT, [Fault("channel", advice + (", ".join(names) or "none"))])
        stored = message_of(_made_up(channel), MessageKind.OPENED, 1)
        message = AlarmMessage(str(uuid7()), stored).message(self._settings.redaction)
        with closing(
            open_transport(self._settings, channel_of(self._settings, channel))
        ) as transport:
            transport.send(message)

    # --- routes -------------------------------------------------------------------------------

    def routes(self) -> list[Route]:
        """Return the routes of the settings, then the stored ones; a tenant sees only its own."""
        own = () if self._scope.tenants is not None else self._settings.alarm_routes
        return [*own, *self._alarms.routes(self._scope)]

    def add_route(
        self,
        to: str | Sequence[str],
        *,
        tenant: str | None = None,
        type: str | None = None,
        severity: str | Severity = Severity.INFO,
        source: str | AlarmSource | None = None,
        by: str | None = None,
    ) -> str:
        """Also send the alarms that match to these channels; returns the id of the route.

        An alarm must match all of: the tenant, the type (which may end with `*`), the source, and
        the minimum severity. Alarms go to every channel of the operator until the operator has a
        route; then only to the channels of matching routes. A route of a scoped client needs its
        `tenant`, and adds channels for the alarms of this tenant. Raises InvalidInput.
        """
        given = {
            "to": to,
            "tenant": tenant,
            "type": type,
            "severity": str(severity),
            "source": source and str(source),
        }
        owner = self._owner_of(tenant)
        channels = self._settings.alarm_channels
        usable = (
            [one.name for one in channels]
            if owner is None
            else channels_of_tenants(channels, [owner])
        )
        try:
            route = replace(parse_route(given, usable, "route"), owner=owner)
        except ValueError as error:
            raise InvalidInput(
                "the route", [Fault("", str(error).removeprefix("route: "))]
            ) from None
        return self._alarms.add_route(route, self._scope, self._caller.actor(by))

    def remove_route(self, route_id: str, *, by: str | None = None) -> bool:
        """Delete a stored route; returns False if this scope has no such route."""
        actor, place = self._caller.actor(by), spelled(route_id)
        is_removed = self._alarms.remove_route(place, self._scope)
        if is_removed:
            note_change("alarm_route.removed", place, actor)
        return is_removed

    def declare(self) -> None:
        """Store the alarm options of this process's task types, as workers and beats do.

        Options that are no longer declared are removed. Raises InvalidInput for a scoped client.
        """
        self._refuse_scoped("alarms are declared")
        self._alarms.declare({one.name: one.alarm for one in self._types.registry})

    def list(
        self,
        *,
        state: str | Iterable[str] = (),
        tenant: str | None = None,
        type: str | None = None,
        undelivered: bool = False,
        unrouted: bool = False,
        limit: int = 100,
    ) -> list[AlarmEntity]:
        """Return alarms, the last seen first; without a `state`, those that are not resolved.

        `undelivered`: only those with a message that no channel has taken. `unrouted`: only those
        due for a message that match no route. `limit`: 1 to 1,000. Raises InvalidInput.
        """
        if _is_no_number(limit) or not 1 <= limit <= _PAGE_LIMIT:
            raise InvalidInput(_SUBJECT, [Fault("limit", f"1 to {_PAGE_LIMIT:,}")])
        try:
            words = (state,) if isinstance(state, str) else tuple(state)
            states = tuple(one_of(AlarmState, word) for word in words)
        except (ValueError, TypeError) as error:
            raise InvalidInput(_SUBJECT, [Fault("state", str(error))]) from None
        check_texts(_SUBJECT, NAME_BYTES, tenant=tenant, type=type)
        live = tuple(one for one in AlarmState if one is not AlarmState.RESOLVED)
        found = self._alarms.page(
            self._scope,
            states=states or (() if undelivered else live),
            tenant=tenant,
            type=type,
            undelivered=undelivered,
            unrouted=unrouted,
            limit=limit,
            channels=self._channels,
        )
        return [self._seen(one) for one in found]

    def _owner_of(self, tenant: str | None) -> str | None:
        """Return the owner of a route: the tenant of a scoped client, or None for the operator."""
        if self._scope.tenants is None:
            return None
        if not isinstance(tenant, str) or not self._scope.allows(tenant):
            raise InvalidInput("the route", [Fault("tenant", "name one of this client's")])
        return tenant

    def _refuse_scoped(self, what: str) -> None:
        if self._scope.tenants is not None:
            raise InvalidInput(_SUBJECT, [Fault("", f"{what} by the operator only")])


def _is_no_number(limit: Any) -> bool:
    """Whether it is not an integer; booleans do not count as integers."""
    return isinstance(limit, bool) or not isinstance(limit, int)


def _until(given: datetime | timedelta | float) -> datetime | timedelta:
    try:
        if isinstance(given, datetime):
            moment = require_aware(given, "until")
            left = moment - datetime.now(UTC)
        else:
            left = as_duration(given, "until")
    except (ValueError, TypeError) as error:
        raise InvalidInput(_SUBJECT, [Fault("until", str(error))]) from None
    if not timedelta(0) < left <= _LONGEST_SNOOZE:
        advice = "give a moment to come, at most a year away; or resolve it"
        raise InvalidInput(_SUBJECT, [Fault("until", advice)])
    return given if isinstance(given, datetime) else left


def _reference(given: Any) -> str:
    """Return the id or the fingerprint of an alarm; raises InvalidInput for other values."""
    reference = spelled(given)
    check_texts(_SUBJECT, reference=reference)
    return reference


def _plain(text: str | None) -> str | None:
    return None if text is None else storable(spelled(text), 2_000)


def _made_up(channel: str) -> AlarmEntity:
    now = datetime.now(UTC)
    return AlarmEntity(
        id=_TEST_ID,
        fingerprint="test",
        source=AlarmSource.FAILED,
        type="taskdb.test",
        error_type="Test",
        place="",
        tenant=None,
        severity=Severity.INFO,
        state=AlarmState.OPEN,
        snoozed_until=None,
        count=1,
        reported=0,
        window_until=None,
        is_regression=False,
        is_routed=True,
        channels=(channel,),
        task_ids=(),
        sample={},
        message=f"This is a test of the channel {channel!r}: nothing has failed.",
        first_seen_at=now,
        last_seen_at=now,
        opened_at=now,
        resolved_at=None,
        acted_by=None,
        acted_at=None,
        note=None,
    )
