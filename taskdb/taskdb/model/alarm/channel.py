"""The channels of alarms: named targets that the settings declare."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from taskdb.model.bounds import NAME_BYTES, wrong_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ARN = re.compile(r"arn:[a-z-]+:sns:\S+")


class ChannelKind(StrEnum):
    """The kind of a channel."""

    APPRISE = "apprise"
    WEBHOOK = "webhook"
    SNS = "sns"
    REDIS = "redis"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Channel:
    """A target of alarms. Only its name and kind may be shown; the other fields have secrets.

    The clients of `tenants` may use it in their own routes. Without any, only the operator may.
    """

    name: str
    kind: ChannelKind
    target: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    tenants: tuple[str, ...] = ()


def parse_channels(given: Any) -> tuple[Channel, ...]:
    """Return the channels of a JSON object, name to target. A ValueError repeats no target."""
    value = read_json(given)
    if not isinstance(value, Mapping):
        raise ValueError('an object such as {"ops": "slack://…"}')  # noqa: TRY004 - pydantic makes its errors of ValueErrors only
    return tuple(_channel(name, target) for name, target in value.items())


def channels_of_tenants(channels: Iterable[Channel], tenants: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the channels that one of these tenants may use."""
    wanted = set(tenants)
    return tuple(one.name for one in channels if wanted.intersection(one.tenants))


def read_json(given: Any) -> Any:
    """Return the value of a JSON text; any other value as it is. A ValueError repeats no text."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except json.JSONDecodeError as error:
        # The text has secrets, so the message leaves it out.
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from None


def _channel(name: Any, given: Any) -> Channel:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no channel: letters, digits, '_', '.' and '-'")
    if isinstance(given, str):
        return _by_url(name, given.strip())
    kinds = [str(kind) for kind in ChannelKind]
    if not isinstance(given, Mapping) or len([kind for kind in kinds if kind in given]) != 1:
        raise ValueError(
            f"channel {name}: pass an Apprise URL, or an object with one of {', '.join(kinds)}"
        )
    kind = next(ChannelKind(kind) for kind in kinds if kind in given)
    target, secrets = given[kind], given.get("secret", ())
    secrets = tuple(secrets) if isinstance(secrets, list | tuple) else (secrets,)
    tenants = _tenants(name, given.get("tenants", ()))
    unknown = set(given) - {str(kind), "secret", "tenants"}
    if unknown:
        raise ValueError(f"channel {name}: unknown {', '.join(sorted(map(str, unknown)))}")
    if not isinstance(target, str) or not all(isinstance(one, str) and one for one in secrets):
        raise ValueError(f"channel {name}: {kind} and secret are texts")
    if kind is ChannelKind.WEBHOOK and not secrets:
        raise ValueError(
            f'channel {name}: a webhook is signed: {{"webhook": "https://…", "secret": "whsec_…"}}'
        )
    if kind is ChannelKind.APPRISE:
        return replace(_by_url(name, target.strip()), tenants=tenants)
    return Channel(name, kind, target, secrets, tenants)


def _tenants(name: str, given: Any) -> tuple[str, ...]:
    several = (given,) if isinstance(given, str) else given
    if not isinstance(several, list | tuple):
        raise ValueError(f"channel {name}: tenants are texts")  # noqa: TRY004 - pydantic makes its errors of ValueErrors only
    for one in several:
        if (reason := wrong_text(one, NAME_BYTES)) is not None:
            raise ValueError(f"channel {name}: tenants are texts: {reason}")
    return tuple(dict.fromkeys(several))


def _by_url(name: str, url: str) -> Channel:
    if url == "log":
        return Channel(name, ChannelKind.LOG)
    if _ARN.fullmatch(url):
        return Channel(name, ChannelKind.SNS, url)
    scheme, separator, rest = url.partition("://")
    if not separator or not rest or not scheme.isascii():
        raise ValueError(f"channel {name}: not an Apprise URL such as mailto://… or slack://…")
    if scheme.lower() in {"http", "https"}:
        raise ValueError(
            f'channel {name}: for a signed webhook write {{"webhook": "{scheme}://…", "secret":'
            ' "whsec_…"}; services have URLs of their own, such as slack://…'
        )
    return Channel(name, ChannelKind.APPRISE, url)
