"""Makes the transport for a target, with the limits of the settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_network

from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.logger import get_logger
from taskdb.model.alarm.channel import Channel, ChannelKind
from taskdb.outgoing.contract import Limits, Transport
from taskdb.outgoing.log import Log
from taskdb.outgoing.signing import secret_key
from taskdb.outgoing.target import Guard
from taskdb.settings.location import port_range
from taskdb.settings.settings import Settings

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ARN = re.compile(
    r"arn:aws(?:-[a-z]+)*:sns:[a-z]{2}(?:-[a-z0-9]+)+:\d{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?"
)


log = get_logger("taskdb.delivery")


def open_transport(settings: Settings, channel: Channel) -> Transport:
    """Return a transport to this target.

    Raises TargetRefused, and DeliveryFailed if an extra is not installed.
    """
    if channel.kind is ChannelKind.WEBHOOK:
        return open_webhook(settings, channel.target, channel.secrets)
    if channel.kind is ChannelKind.REDIS:
        return open_redis_channel(settings, channel.target)
    if channel.kind is ChannelKind.SNS:
        return open_sns(settings, channel.target)
    if channel.kind is ChannelKind.APPRISE:
        return open_apprise(settings, channel.target)
    return Log()


def channel_of(settings: Settings, name: str) -> Channel:
    """Return the channel of alarms with this name; raises DeliveryFailed."""
    channel = next((one for one in settings.alarm_channels if one.name == name), None)
    if channel is None:
        raise DeliveryFailed(f"no channel is named {name!r} here: name it in TASKDB_ALARM_CHANNELS")
    return channel


def import_channels(settings: Settings) -> None:
    """Import the modules of the channels, before the process has threads and forks.

    A fork waits for an import that runs in another thread.
    """
    for channel in settings.alarm_channels:
        try:
            open_transport(settings, channel).close()
        except (DeliveryFailed, TargetRefused) as error:
            # Each delivery logs this error where operators look.
            log.debug("channel.open_failed", channel=channel.name, reason=str(error))


def check_target(settings: Settings, way: str, target: str) -> None:
    """Raise TargetRefused for a target that is not allowed; opens nothing."""
    if way == "webhook":
        guard_of(settings).check(target, settings.outbound_connect_seconds)
    elif way == "redis":
        check_prefix(target)
        if not settings.channel_url:
            raise TargetRefused("no Redis is named: set TASKDB_REDIS_CHANNEL_URL")
    elif way == "sns":
        check_arn(target)
    elif target:
        raise TargetRefused("the log has no target: leave it out")


def guard_of(settings: Settings) -> Guard:
    """Return the guard with the webhook targets that the settings allow."""
    return Guard(
        networks=tuple(ip_network(word) for word in settings.outbound_private),
        ports=tuple(port_range(word) for word in settings.outbound_ports),
        allows_http=settings.outbound_http,
    )


def limits_of(settings: Settings) -> Limits:
    """Return the time limits of one attempt."""
    return Limits(settings.outbound_connect_seconds, settings.outbound_total_seconds)


def open_webhook(settings: Settings, url: str, secrets: Sequence[str]) -> Transport:
    """Return a transport of signed posts to a URL; raises TargetRefused."""
    try:
        from taskdb.outgoing.webhook import Webhook  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise _missing("webhook", error) from None
    for secret in secrets:
        try:
            secret_key(secret)
        except ValueError as error:
            raise TargetRefused(str(error)) from None
    return Webhook(url, secrets, guard_of(settings), limits_of(settings))


def open_redis_channel(settings: Settings, prefix: str) -> Transport:
    """Return a transport to channels of the Redis of the settings; raises TargetRefused."""
    check_target(settings, "redis", prefix)
    try:
        from taskdb.outgoing.redis_channel import RedisChannel  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise _missing("redis", error) from None
    return RedisChannel(settings.channel_url, prefix, limits_of(settings))


def open_sns(settings: Settings, arn: str) -> Transport:
    """Return a transport to an SNS topic; raises TargetRefused."""
    check_arn(arn)
    try:
        from taskdb.outgoing.sns import Sns  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise _missing("sns", error) from None
    return Sns(arn, limits_of(settings))


def open_apprise(settings: Settings, url: str) -> Transport:
    """Return a transport to people; raises TargetRefused for a URL that Apprise cannot use."""
    try:
        from taskdb.outgoing.apprise_channel import AppriseChannel  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise _missing("alarms", error) from None
    return AppriseChannel(url, settings.outbound_total_seconds)


def check_prefix(prefix: str) -> None:
    """Raise TargetRefused for a channel prefix that could be taken for another's."""
    if not _PREFIX.fullmatch(prefix):
        raise TargetRefused(
            "the target of a Redis subscription is the first word of its channels: letters, "
            "digits, '_', '.' and '-'"
        )


def check_arn(arn: str) -> None:
    """Raise TargetRefused unless it is the ARN of a topic: a part of the ARN names a host."""
    if not _ARN.fullmatch(arn):
        raise TargetRefused(
            "the target of an SNS subscription is the ARN of a topic: "
            "arn:aws:sns:eu-central-1:123456789012:name"
        )


def _missing(extra: str, error: ModuleNotFoundError) -> DeliveryFailed:
    return DeliveryFailed(
        f"{error.name} is not installed here: pip install 'celery-taskdb[{extra}]'"
    )
