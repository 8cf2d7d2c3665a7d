"""Durations and moments as people type them: `90`, `5m`, `1h30m`, `2031-05-04T10:00`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import LONGEST, as_duration
from taskdb.model.clock import require_aware

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d|w)")
_SUBJECT = "the command"


def duration_of(text: str, option: str) -> timedelta:
    """The duration of `90` (seconds), `5m` or `1h30m`; raises InvalidInput."""
    spelled = text.strip().lower()
    parts = _PART.findall(spelled)
    try:
        if parts and not _PART.sub("", spelled).strip():
            seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        else:
            seconds = float(spelled)
        return as_duration(seconds, option)
    except ValueError:
        pass
    advice = (
        f"{text!r} is not a duration of up to {LONGEST.days:,} days: write seconds, or for example "
        "5m, 1h30m, 2d"
    )
    raise InvalidInput(_SUBJECT, [Fault(option, advice)])


def moment_of(text: str, option: str) -> datetime:
    """The moment of an ISO text, in local time where it names no zone; raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(text.strip())
        # Local time, where it names no zone.
        return require_aware(moment if moment.tzinfo else moment.astimezone(UTC), option)
    except (ValueError, OverflowError, OSError):
        advice = (
            f"{text!r} is not a moment: write 2031-05-04T10:00 (local time) or 2031-05-04T08:00:00Z"
        )
        raise InvalidInput(_SUBJECT, [Fault(option, advice)]) from None


def from_now(text: str, option: str) -> datetime:
    """A moment, or a duration that counts from now on."""
    return _moment_or(text, option, sign=1)


def before_now(text: str, option: str) -> datetime:
    """A moment, or a duration that counts back from now."""
    return _moment_or(text, option, sign=-1)


def _moment_or(text: str, option: str, sign: int) -> datetime:
    try:
        return datetime.now(UTC) + sign * duration_of(text, option)
    except InvalidInput:
        return moment_of(text, option)
