"""Settings of notifications, and of the targets that messages may be sent to."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, PositiveFloat, PositiveInt, SecretStr

from taskdb.settings.location import check_broker_url, port_range
from taskdb.settings.value import Words, checked, split_words


def _ports(value: Any) -> Any:
    words = split_words(str(value) if isinstance(value, int) else value)
    if not isinstance(words, list | tuple):
        raise ValueError("ports such as 443,8000-8999")  # noqa: TRY004 - pydantic makes its errors of ValueErrors only
    ports = tuple(str(word) for word in words)
    for word in ports:
        port_range(word)
    return ports


def _check_networks(words: tuple[str, ...]) -> None:
    for word in words:
        try:
            ip_network(word)
        except ValueError as error:
            raise ValueError(f"{error}; write 10.1.0.0/16 or fd00::/8") from None


class NotificationSettings(BaseModel, defer_build=True):
    """The loop that serves subscriptions, and the guard of webhooks."""

    notify_interval_seconds: PositiveFloat = 0.5
    """Pause between two passes that send notifications and messages of alarms."""
    notify_threads: PositiveInt = 8
    """Subscriptions that a beat serves at once; as many again whose target is slow or fails."""
    notify_give_up_seconds: PositiveFloat = 86_400
    """A subscription whose target has failed for this long is dead."""
    outbound_private: Annotated[Words, checked(_check_networks)] = ()
    """Comma-separated networks that webhooks may go to although they are not public, such as
    `10.1.0.0/16`. Empty: none."""
    outbound_ports: Annotated[tuple[str, ...], BeforeValidator(_ports)] = ("443",)
    """Comma-separated ports, and ranges of ports, that webhooks may go to, such as `443,8443` or
    `443,8000-8999`."""
    outbound_http: bool = False
    """Allow webhooks to `http://` URLs as well, on port 80 and on the ports of
    `TASKDB_OUTBOUND_PORTS`. Their messages are not encrypted."""
    outbound_connect_seconds: PositiveFloat = 5.0
    """Longest wait for a connection to a target."""
    outbound_total_seconds: PositiveFloat = 15.0
    """Longest time to send one message and read the response."""
    redis_channel_url: Annotated[SecretStr, checked(check_broker_url)] = SecretStr("")
    """Redis that notifications are published to. Empty: the broker, if it is Redis."""
