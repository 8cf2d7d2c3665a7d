"""Transports that stay open between two turns of a subscription."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container

from taskdb.fork import RenewedLock
from taskdb.outgoing.contract import Transport
from taskdb.outgoing.transports import open_transport
from taskdb.settings.settings import Settings
from taskdb.store.outgoing.subscription.notification import LeasedSubscription

_MOST = 256

_Key = tuple[str, str, tuple[str, ...]]


class OpenTransports:
    """The last used transports, by subscription. One thread at a time uses a subscription."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = RenewedLock()
        self._known: OrderedDict[str, tuple[_Key, Transport]] = OrderedDict()

    def get(self, one: LeasedSubscription, in_use: Container[str]) -> Transport:
        """Return the transport of a subscription, new if its target or secrets have changed.

        Closes unused ones when there are too many. Raises TargetRefused and DeliveryFailed.
        """
        key = (str(one.transport), one.target, one.secrets)
        with self._lock:
            found = self._known.pop(one.id, None)
            if found is not None and found[0] == key:
                self._known[one.id] = found
                return found[1]
        if found is not None:
            found[1].close()
        opened = open_transport(self._settings, one.transport, one.target, one.secrets)
        with self._lock:
            self._known[one.id] = (key, opened)
            surplus = len(self._known) - _MOST
            idle = [name for name in self._known if name not in in_use][: max(surplus, 0)]
            gone = [self._known.pop(name) for name in idle]
        for _, transport in gone:
            transport.close()
        return opened

    def close(self) -> None:
        """Close all. None may be in use."""
        with self._lock:
            gone = list(self._known.values())
            self._known.clear()
        for _, transport in gone:
            transport.close()
