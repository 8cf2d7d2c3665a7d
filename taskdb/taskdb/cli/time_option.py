"""Durations and moments as a user types them: `90`, `5m`, `1h30m`, `2031-05-04T10:00`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from taskdb.cli.usage import wrong_usage
from taskdb.errors import InvalidInput
from taskdb.model.bounds import LONGEST, as_duration
from taskdb.model.clock import require_aware
from taskdb.model.duration import parse_duration


def duration_of(text: str, option: str) -> timedelta:
    """Read a duration: `90` (seconds), `5m` or `1h30m`. Raises InvalidInput."""
    for read in (parse_duration, lambda seconds: as_duration(float(seconds), option)):
        try:
            return read(text)
        except ValueError:
            continue
    raise wrong_usage(
        option,
        f"{text!r} is not a duration of up to {LONGEST.days:,} days: write seconds, or for example "
        "5m, 1h30m, 2d",
    )


def moment_of(text: str, option: str) -> datetime:
    """Read an ISO moment, in local time where it names no zone. Raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return require_aware(moment if moment.tzinfo else moment.astimezone(UTC), option)
    except (ValueError, OverflowError, OSError):
        advice = "write 2031-05-04T10:00 (local time) or 2031-05-04T08:00:00Z"
        raise wrong_usage(option, f"{text!r} is not a moment: {advice}") from None


def from_now(text: str, option: str) -> datetime:
    """Read a moment, or a duration that counts from now on. Raises InvalidInput."""
    return _moment_or(text, option, sign=1)


def before_now(text: str, option: str) -> datetime:
    """Read a moment, or a duration that counts back from now. Raises InvalidInput."""
    return _moment_or(text, option, sign=-1)


def _moment_or(text: str, option: str, sign: int) -> datetime:
    try:
        return datetime.now(UTC) + sign * duration_of(text, option)
    except InvalidInput:
        return moment_of(text, option)
