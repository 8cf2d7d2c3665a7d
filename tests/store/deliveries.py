"""Deliveries for tests: due rows are leased, sent or refused by hand."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from taskdb.store.outgoing.delivery import Deliveries, Leased, Passed
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep
from tests.store.tasks import LEASE


def alarm_messages(store: Store) -> Deliveries:
    return StoreUpkeep(store).alarm_messages


def notifications(store: Store) -> Deliveries:
    return StoreUpkeep(store).notifications


def lease(
    store: Store, holder: str = "one", lease: timedelta = LEASE, busy: Iterable[str] = ()
) -> list[Any]:
    """Lease every subscription that is due, except the busy ones."""
    deliveries = notifications(store)
    targets = [one.target for one in deliveries.due() if one.target not in busy]
    found = [deliveries.take(target, holder, lease) for target in targets]
    return [one for one in found if one is not None]


def take(store: Store, channel: str = "ops", lease: timedelta = LEASE) -> Any:
    """Lease the next message of a channel."""
    return alarm_messages(store).take(channel, "sender", lease)


def sent(store: Store, one: Leased) -> bool:
    passed = Passed(one.cursor, sent=1)
    return alarm_messages(store).advance(one, passed, LEASE, ends=True)


def refused(store: Store, one: Leased, reason: str, delay: timedelta = LEASE) -> None:
    alarm_messages(store).fail(
        one, Passed(one.cursor), reason, delay=delay, give_up=timedelta(days=1), is_final=False
    )
