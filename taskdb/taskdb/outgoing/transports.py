"""Makes the transport for a target, with the limits of the settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_network

from taskdb.errors import DeliveryFailed, TargetRefused
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


def open_transport(
    settings: Settings, way: str, target: str, secrets: Sequence[str] = ()
) -> Transport:
    """Return a transport to this target: `webhook`, `redis`, `sns` or `log`.

    Raises TargetRefused, and DeliveryFailed if an extra is not installed.
    """
    if way == "webhook":
        return open_webhook(settings, target, secrets)
    if way == "redis":
        return open_redis_channel(settings, target)
    if way == "sns":
        return open_sns(settings, target)
    return Log()


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
