"""Which class serves which way out, made as the settings say."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.outbound.contract import Limits, Transport
from taskdb.outbound.log import Log
from taskdb.outbound.target import Guard
from taskdb.settings import Settings


def guard_of(settings: Settings) -> Guard:
    """Who may be spoken to."""
    return Guard(tuple(ip_network(word) for word in settings.outbound_private))


def limits_of(settings: Settings) -> Limits:
    """How long one attempt may take."""
    return Limits(settings.outbound_connect_seconds, settings.outbound_total_seconds)


def open_webhook(settings: Settings, url: str, secrets: Sequence[str]) -> Transport:
    """Signed posts to a URL; raises TargetRefused."""
    try:
        from taskdb.outbound.webhook import Webhook  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise _missing("webhook", error) from None
    return Webhook(url, secrets, guard_of(settings), limits_of(settings))


def open_redis_channel(settings: Settings, prefix: str) -> Transport:
    """Channels of the Redis that the settings name; raises TargetRefused."""
    try:
        from taskdb.outbound.redis_channel import RedisChannel  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise _missing("redis", error) from None
    if not settings.channel_url:
        raise TargetRefused("no Redis is named: set TASKDB_REDIS_CHANNEL_URL")
    return RedisChannel(settings.channel_url, prefix, limits_of(settings))


def open_sns(settings: Settings, arn: str) -> Transport:
    """An SNS topic; raises TargetRefused."""
    try:
        from taskdb.outbound.sns import Sns  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise _missing("sns", error) from None
    return Sns(arn, limits_of(settings))


def open_log() -> Transport:
    """The log of this process."""
    return Log()


def _missing(extra: str, error: ModuleNotFoundError) -> DeliveryFailed:
    return DeliveryFailed(
        f"{error.name} is not installed here: pip install 'celery-taskdb[{extra}]'"
    )
