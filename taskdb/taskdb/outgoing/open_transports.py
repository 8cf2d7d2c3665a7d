"""Transports that stay open between two turns of a target."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container

from taskdb.fork import RenewedLock
from taskdb.model.alarm.channel import Channel
from taskdb.outgoing.contract import Transport
from taskdb.outgoing.transports import open_transport
from taskdb.settings.settings import Settings

_MOST = 256


class OpenTransports:
    """The last used transports, by target. One thread at a time uses a target."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = RenewedLock()
        self._known: OrderedDict[str, tuple[Channel, Transport]] = OrderedDict()

    def get(self, target: str, channel: Channel, in_use: Container[str]) -> Transport:
        """Return the transport of a target, new if its channel has changed.

        Closes unused ones when there are too many. Raises TargetRefused and DeliveryFailed.
        """
        with self._lock:
            found = self._known.pop(target, None)
            if found is not None and found[0] == channel:
                self._known[target] = found
                return found[1]
        if found is not None:
            found[1].close()
        opened = open_transport(self._settings, channel)
        with self._lock:
            self._known[target] = (channel, opened)
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
