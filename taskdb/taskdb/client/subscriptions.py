"""Subscriptions: the subscribers that are notified of changes of status."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, TypedDict

from uuid_utils.compat import uuid7

from taskdb.client.caller.actor import note_change
from taskdb.client.caller.caller import Caller
from taskdb.errors import Fault, InvalidInput
from taskdb.model.alarm.channel import Channel, ChannelKind
from taskdb.model.bounds import NAME_BYTES, as_duration, check_texts, shown, spelled, wrong_text
from taskdb.model.clock import require_aware
from taskdb.model.entity import TaskKind
from taskdb.model.notification import trial_message
from taskdb.model.status import TaskStatus
from taskdb.model.subscription import (
    SUBJECT,
    KeyedSubscription,
    SubscriptionEntity,
    SubscriptionState,
    TransportKind,
    filter_of,
)
from taskdb.outgoing.signing import new_secret, secret_key
from taskdb.outgoing.transports import check_target, open_transport
from taskdb.settings.settings import Settings
from taskdb.store.outgoing.subscription.subscription import NewSubscription, Start
from taskdb.store.store import Store
from taskdb.store.task.list import EventCursor

NAME_LIMIT = 200
_CHARACTERS = {"target": 2_048}
_WIDEST = 4
"""Bytes of a character in UTF-8, at most."""
OVERLAP = timedelta(days=1)
"""Default time in which the previous secret still signs after an exchange."""
_LONGEST_OVERLAP = timedelta(days=365)
_OF_TENANTS = frozenset({TransportKind.WEBHOOK, TransportKind.REDIS})
"""Transports for a scoped client; the others use the operator's own identity."""


class SubscriptionOptions(TypedDict, total=False):
    """The options of `create` besides name, transport and target."""

    tenant: str | None
    type: str | None
    kind: TaskKind | str | None
    status: TaskStatus | str | Iterable[TaskStatus | str] | None
    with_sub_tasks: bool
    start: str | datetime
    secret: str | None
    created_by: str | None


class Subscriptions:
    """`taskdb.subscriptions`: the subscribers that are notified of changes of status."""

    def __init__(self, settings: Settings, store: Store, caller: Caller) -> None:
        self._settings = settings
        self._store = store
        self._caller = caller
        self._scope = caller.scope

    def create(  # noqa: PLR0913 - the options of a subscription, all by name
        self,
        name: str,
        transport: TransportKind | str,
        target: str = "",
        *,
        tenant: str | None = None,
        type: str | None = None,
        kind: TaskKind | str | None = None,
        status: TaskStatus | str | Iterable[TaskStatus | str] | None = None,
        with_sub_tasks: bool = False,
        start: str | datetime = "now",
        secret: str | None = None,
        created_by: str | None = None,
    ) -> KeyedSubscription:
        """Notify of changes of status: a webhook, a Redis channel, an SNS topic or the log.

        `target` is the URL, the prefix of the Redis channels (`taskdb` unless given) or the ARN;
        the log has none. Without a tenant, an operator's subscription covers every tenant. A
        scoped client uses its own tenant, and webhooks and Redis only. `type` may end with a `*`.
        `start` is "now", "beginning", a moment or a cursor. Unless a webhook's `secret` is given,
        one is made; only this call returns it.

        Raises InvalidInput, TargetRefused, SubscriptionExists, DatabaseError.
        """
        faults: list[Fault] = []
        way = _transport(transport, faults)
        chosen = filter_of(type, kind, status, faults, with_sub_tasks=with_sub_tasks)
        whose = self._tenant(tenant, faults)
        begin = _start(start, faults)
        for word, text in (("name", name), ("target", target), ("created_by", created_by)):
            _check_text(word, text, faults)
        if way is not None and way not in _OF_TENANTS and self._scope.tenants is not None:
            faults.append(Fault("transport", f"{way} is the operator's: use the unscoped client"))
        key = _secret(way, secret, faults)
        if faults or way is None:
            raise InvalidInput(SUBJECT, faults)
        place = target or ("taskdb" if way is TransportKind.REDIS else "")
        check_target(self._settings, way, place)
        new = NewSubscription(
            name=name,
            tenant=whose,
            transport=way,
            target=place,
            filter=chosen,
            secret=key,
            created_by=self._caller.actor(created_by),
        )
        return KeyedSubscription(self._store.subscriptions.add(new, begin, self._scope), key)

    def get(self, reference: str, *, tenant: str | None = None) -> SubscriptionEntity:
        """Return the subscription with this name or id.

        Raises SubscriptionNotFound, and InvalidInput for a name that several tenants use, if no
        tenant is given.
        """
        reference = spelled(reference)
        check_texts(SUBJECT, reference=reference, tenant=tenant)
        return self._store.subscriptions.get(reference, self._scope, tenant)

    def test(self, reference: str, *, tenant: str | None = None) -> str:
        """Send a test message now, signed and guarded as every other; returns its id.

        Raises DeliveryFailed with the reason, SubscriptionNotFound.
        """
        found = self.get(reference, tenant=tenant)
        secrets = self._store.subscriptions.secrets(found.id, self._scope)
        message = trial_message(found.name, found.tenant, str(uuid7()), self._store.schedules.now())
        channel = Channel(found.name, ChannelKind(found.transport), found.target, tuple(secrets))
        with closing(open_transport(self._settings, channel)) as transport:
            transport.send(message)
        return message.id

    def pause(
        self, reference: str, *, tenant: str | None = None, by: str | None = None
    ) -> SubscriptionEntity:
        """Send it no notifications until `resume`; no event of the meantime is lost."""
        actor, found = self._caller.actor(by), self.get(reference, tenant=tenant)
        paused = self._store.subscriptions.pause(found.id, self._scope)
        note_change("subscription.paused", found.id, actor)
        return paused

    def resume(
        self, reference: str, *, tenant: str | None = None, by: str | None = None
    ) -> SubscriptionEntity:
        """Continue a paused, dead or waiting subscription at once, from where it stopped."""
        actor, found = self._caller.actor(by), self.get(reference, tenant=tenant)
        resumed = self._store.subscriptions.resume(found.id, self._scope)
        note_change("subscription.resumed", found.id, actor)
        return resumed

    def replay(
        self,
        reference: str,
        start: str | datetime,
        *,
        tenant: str | None = None,
        by: str | None = None,
    ) -> SubscriptionEntity:
        """Send events again from "beginning", a moment or a cursor; with "now" only new ones.

        A paused or dead subscription becomes active. Events of deleted tasks are gone. Raises
        SubscriptionNotFound, InvalidInput.
        """
        faults: list[Fault] = []
        begin = _start(start, faults)
        if faults:
            raise InvalidInput(SUBJECT, faults)
        actor, found = self._caller.actor(by), self.get(reference, tenant=tenant)
        replayed = self._store.subscriptions.resume(found.id, self._scope, begin)
        note_change("subscription.replayed", found.id, actor)
        return replayed

    def rotate_secret(
        self,
        reference: str,
        *,
        secret: str | None = None,
        overlap: timedelta = OVERLAP,
        tenant: str | None = None,
        by: str | None = None,
    ) -> KeyedSubscription:
        """Sign with another secret; for the time `overlap` with the old one as well.

        Unless the secret is given, one is made; only this call returns it. Raises
        SubscriptionNotFound, and InvalidInput for a transport that does not sign.
        """
        actor, found = self._caller.actor(by), self.get(reference, tenant=tenant)
        faults: list[Fault] = []
        if found.transport is not TransportKind.WEBHOOK:
            faults.append(Fault("", f"{found.transport} signs nothing: it has no secret"))
        length = _overlap(overlap, faults)
        key = _secret(TransportKind.WEBHOOK, secret, faults)
        if faults or key is None:
            raise InvalidInput(SUBJECT, faults)
        rotated = self._store.subscriptions.rotate_secret(found.id, key, length, self._scope)
        note_change("subscription.secret_rotated", found.id, actor)
        return KeyedSubscription(rotated, key)

    def remove(self, reference: str, *, tenant: str | None = None, by: str | None = None) -> None:
        """Delete a subscription; raises SubscriptionNotFound."""
        actor, found = self._caller.actor(by), self.get(reference, tenant=tenant)
        self._store.subscriptions.remove(found.id, self._scope)
        note_change("subscription.removed", f"{found.id} {found.name}", actor)

    def _tenant(self, given: str | None, faults: list[Fault]) -> str | None:
        _check_text("tenant", given, faults)
        tenants = self._scope.tenants
        if given is not None:
            if not self._scope.allows(given):
                faults.append(Fault("tenant", f"{given!r} is out of the scope of this client"))
            return given
        if tenants is None:
            return None
        if len(tenants) > 1:
            faults.append(Fault("tenant", f"name one of {', '.join(map(repr, tenants))}"))
        return tenants[0]

    def list(
        self, *, tenant: str | None = None, state: SubscriptionState | str | None = None
    ) -> list[SubscriptionEntity]:
        """Return the subscriptions in this scope, by tenant and name; raises InvalidInput."""
        try:
            chosen = None if state is None else SubscriptionState(state)
        except ValueError:
            known = ", ".join(SubscriptionState)
            raise InvalidInput("the list request", [Fault("state", f"one of {known}")]) from None
        check_texts("the list request", NAME_BYTES, tenant=tenant)
        return self._store.subscriptions.all(self._scope, tenant=tenant, state=chosen)


def _transport(given: Any, faults: list[Fault]) -> TransportKind | None:
    try:
        return TransportKind(given)
    except ValueError:
        faults.append(Fault("transport", f"{shown(given)} is none of {', '.join(TransportKind)}"))
        return None


def _secret(way: TransportKind | None, given: str | None, faults: list[Fault]) -> str | None:
    if way is not TransportKind.WEBHOOK:
        if given is not None:
            faults.append(Fault("secret", "only a webhook is signed: leave it out"))
        return None
    if given is None:
        return new_secret()
    reason = wrong_text(given)
    if reason is not None:
        faults.append(Fault("secret", "is not text that can be stored"))
        return None
    try:
        secret_key(given)
    except ValueError as error:
        faults.append(Fault("secret", str(error)))
    return given.strip()


def _overlap(given: Any, faults: list[Fault]) -> timedelta:
    try:
        length = as_duration(given, "overlap")
    except (TypeError, ValueError):
        length = timedelta.max
    if length > _LONGEST_OVERLAP:
        faults.append(Fault("overlap", f"0 to {_LONGEST_OVERLAP.days} days"))
    return length


def _start(given: Any, faults: list[Fault]) -> Start:
    try:
        if isinstance(given, datetime):
            return require_aware(given, "start")
        if given == "now":
            return "now"
        if given == "beginning":
            return "beginning"
        return EventCursor.parse(given)
    except (ValueError, TypeError) as error:
        reason = str(error) if isinstance(given, datetime) else "no such place in the history"
        advice = f"{reason}: pass now, beginning, a moment, or the cursor that `show` prints"
        faults.append(Fault("start", advice))
        return "now"


def _check_text(name: str, given: Any, faults: list[Fault]) -> None:
    is_optional = name != "name"
    if is_optional and (given is None or (given == "" and name in {"target", "tenant"})):
        return
    if not isinstance(given, str) or not given.strip():
        faults.append(Fault(name, "text that is not empty"))
        return
    limit = _CHARACTERS.get(name, NAME_LIMIT)
    if name != "tenant" and len(given) > limit:
        faults.append(Fault(name, f"longer than {limit:,} characters"))
    elif reason := wrong_text(given, NAME_BYTES if name == "tenant" else limit * _WIDEST):
        faults.append(Fault(name, reason))
