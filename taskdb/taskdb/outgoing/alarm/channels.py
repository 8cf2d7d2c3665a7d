"""Opens channels by their name."""

from __future__ import annotations

from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.logger import get_logger
from taskdb.model.alarm.route import Channel, ChannelKind
from taskdb.model.message import Message
from taskdb.outgoing.alarm.contract import WayOut, Words
from taskdb.outgoing.contract import Transport
from taskdb.outgoing.log import Log
from taskdb.outgoing.transports import open_redis_channel, open_sns, open_webhook
from taskdb.settings.settings import Settings

log = get_logger("taskdb.alarm")


class ForPrograms:
    """Sends the envelope over one of the transports that notifications also use."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, message_id: str, words: Words) -> None:
        envelope = words["envelope"]
        content = envelope["content"]
        message = Message(
            id=message_id,
            envelope=envelope,
            tenant=envelope["tenantCode"],
            type=content["type"],
            task_id=next(iter(content["taskIds"][-1:]), ""),
            attributes={
                "action": envelope["action"],
                "severity": content["severity"],
                "source": content["source"],
            },
        )
        self._transport.send(message)

    def close(self) -> None:
        self._transport.close()


def open_channel(settings: Settings, name: str) -> WayOut:
    """Return the open channel of this name; raises DeliveryFailed and TargetRefused."""
    channel = next((one for one in settings.alarm_channels if one.name == name), None)
    if channel is None:
        message = f"no channel is named {name!r} here: name it in TASKDB_ALARM_CHANNELS"
        raise DeliveryFailed(message)
    if channel.kind is ChannelKind.APPRISE:
        return _for_people(settings, channel)
    return ForPrograms(_transport(settings, channel))


def import_channels(settings: Settings) -> None:
    """Import the modules of the channels, before the process has threads and forks.

    A fork waits for an import that runs in another thread.
    """
    for channel in settings.alarm_channels:
        try:
            open_channel(settings, channel.name).close()
        except (DeliveryFailed, TargetRefused) as error:
            # Each delivery logs this error where operators look.
            log.debug("channel.open_failed", channel=channel.name, reason=str(error))


def _transport(settings: Settings, channel: Channel) -> Transport:
    if channel.kind is ChannelKind.WEBHOOK:
        return open_webhook(settings, channel.target, channel.secrets)
    if channel.kind is ChannelKind.SNS:
        return open_sns(settings, channel.target)
    if channel.kind is ChannelKind.REDIS:
        return open_redis_channel(settings, channel.target)
    return Log()


def _for_people(settings: Settings, channel: Channel) -> WayOut:
    try:
        from taskdb.outgoing.alarm.apprise_channel import ForPeople  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise DeliveryFailed(
            f"{error.name} is not installed here: pip install 'celery-taskdb[alarms]'"
        ) from None
    return ForPeople(channel.target, settings.outbound_total_seconds)
