"""Converts the due times of a Celery schedule into options of `Schedule`; both imports use it.

A crontab is read from the sets of numbers that Celery expands, never from its text. So names,
ranges that wrap, lists and sets mean the same as in Celery. A schedule that would be due at other
times is refused with the reason.
"""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from celery.schedules import BaseSchedule, crontab, schedule, solar

from taskdb.errors import Fault, InvalidInput
from taskdb.model.schedule.schedule import SUBJECT
from taskdb.model.schedule.timetable import zone_of

_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = {
    "minute": range(60),
    "hour": range(24),
    "day_of_month": range(1, 32),
    "month_of_year": range(1, 13),
    "day_of_week": range(7),
}
_RUN = 3
"""At least this many consecutive numbers are written as a range."""
_DECIDING = (
    "is_due", "remaining_estimate", "remaining_delta", "_delta_to_next", "now", "to_local",
    "maybe_make_aware", "utc_enabled", "seconds", "__getattribute__",
)  # fmt: skip
"""The attributes with which a subclass changes its due times."""
_ZONED = ("django_celery_beat.tzcrontab", "sqlalchemy_celery_beat.tzcrontab")
_ANCHOR = datetime(2000, 1, 1)  # noqa: DTZ001 - in the time zone of each schedule
_UNITS = {"days": timedelta(days=1), "hours": timedelta(hours=1), "minutes": timedelta(minutes=1)}


def when(
    given: Any,
    local: tzinfo | str,
    *,
    is_relative: bool = False,
    starting_deadline: float | None = None,
) -> dict[str, Any]:
    """Convert a schedule of Celery, of django-celery-beat, or an interval; raises InvalidInput.

    `local` is the app's time zone. `starting_deadline` is its `beat_cron_starting_deadline`.
    """
    if isinstance(given, int | float | timedelta) and not isinstance(given, bool):
        return _interval(_duration(given), is_relative, local) if is_relative else {"every": given}
    if isinstance(given, crontab):
        found = {"cron": cron_of(given), "timezone": _own_zone(given, _base(given), local)}
        return found | _misfire(starting_deadline)
    if isinstance(given, schedule):
        _base(given)
        return _interval(
            _duration(given.run_every), given.relative, _own_zone(given, schedule, local)
        )
    if _is_clocked(given):
        return {"at": given.clocked_time}
    if isinstance(given, solar):
        raise _refusal("solar schedules are not supported: pass a crontab or an interval")
    raise _refusal(f"{type(given).__name__} is not supported: pass a crontab or an interval")


def cron_of(given: Any) -> str:
    """Write Celery's crontab as five fields; raises InvalidInput for one that is never due."""
    fields = {name: _field(given, name, every) for name, every in _FIELDS.items()}
    # Celery requires both days to match, cron either one.
    is_both = fields["day_of_month"] != "*" and fields["day_of_week"] != "*"
    return " ".join([*list(fields.values())[:-1], ("+" if is_both else "") + fields["day_of_week"]])


def crontab_of(fields: Mapping[str, Any]) -> Any:
    """Return Celery's crontab with these fields; raises InvalidInput if Celery refuses them."""
    try:
        return crontab(**fields)
    # Its parser raises errors of many classes.
    except Exception as error:  # noqa: BLE001
        raise _refusal(f"Celery refuses the crontab {dict(fields)}: {error}", "cron") from None


def zone_name(zone: tzinfo | str) -> str:
    """Return the IANA name of a time zone; raises InvalidInput for one without a name."""
    name = zone if isinstance(zone, str) else _key(zone)
    try:
        zone_of(name or "")
    except ValueError:
        advice = f"the time zone {zone!r} has no IANA name: pass one, for example Europe/Berlin"
        raise _refusal(advice, "timezone") from None
    return str(name)


def _base(given: Any) -> type:
    """Return the class that decides when this is due; refuses a subclass that changes it."""
    kind = type(given)
    zoned = next((one for one in kind.__mro__ if _is_zoned(one)), None)
    base: type = zoned or (crontab if isinstance(given, crontab) else schedule)
    changed = [name for name in _DECIDING if not _is_same(kind, base, name) or name in vars(given)]
    if changed:
        advice = f"{kind.__name__} decides by itself when it is due ({', '.join(changed)})"
        raise _refusal(f"{advice}: pass a plain crontab or an interval")
    own = getattr(given.nowfun, "__func__", None)
    if given.nowfun is not None and (zoned is None or own is not vars(zoned).get("nowfunc")):
        raise _refusal(
            "nowfun is not supported, since only the database's clock counts: leave it out, and"
            " give a time zone to the app, or to the schedule as TzAwareCrontab does",
            "nowfun",
        )
    return base


def _is_same(kind: type, base: type, name: str) -> bool:
    return getattr(kind, name, None) is getattr(base, name, None)


def _is_zoned(kind: type) -> bool:
    return kind.__name__ == "TzAwareCrontab" and kind.__module__ in _ZONED


def _is_clocked(given: Any) -> bool:
    is_ours = type(given).__name__ == "clocked" and isinstance(given, BaseSchedule)
    return is_ours and isinstance(getattr(given, "clocked_time", None), datetime)


def _own_zone(given: Any, base: type, local: tzinfo | str) -> str:
    """Return the time zone of the object or its class, if it has one; else that of the app."""
    has_own = "tz" in vars(given) or not _is_same(type(given), base, "tz")
    return zone_name(given.tz if has_own else local)


def _key(zone: tzinfo) -> str | None:
    if zone is UTC:
        return "UTC"
    if isinstance(zone, timezone):
        hours, rest = divmod(zone.utcoffset(None), timedelta(hours=1))
        # These names have the sign of POSIX.
        return None if rest else f"Etc/GMT{-hours:+d}" if hours else "UTC"
    return getattr(zone, "key", None) or getattr(zone, "zone", None)


def _misfire(starting_deadline: float | None) -> dict[str, Any]:
    """Return the misfire options: Celery skips runs older than the deadline at a beat's start."""
    if starting_deadline is None:
        return {}
    return {"misfire": "skip", "misfire_grace": starting_deadline}


def _duration(given: Any) -> timedelta:
    if isinstance(given, timedelta):
        return given
    try:
        return timedelta(seconds=given)
    except (TypeError, ValueError, OverflowError) as error:
        raise _refusal(f"{given!r} is not an interval: {error}", "every") from None


def _interval(every: timedelta, is_relative: bool, local: tzinfo | str) -> dict[str, Any]:
    """Convert an interval; a relative one is due at whole units of the clock."""
    if not is_relative:
        return {"every": every}
    unit = next((unit for unit in _UNITS.values() if every >= unit), timedelta(seconds=1))
    number = every // unit
    zone = zone_name(local)
    if unit == _UNITS["days"]:
        if number > 1:
            advice = f"a relative interval of {number} days has no form here"
            raise _refusal(f"{advice}: pass a crontab, or leave out relative", "relative")
        return {"cron": "0 0 * * *", "timezone": zone}
    if unit == _UNITS["hours"] and 24 % number == 0:
        return {"cron": f"0 {_step(number)} * * *", "timezone": zone}
    if unit == _UNITS["minutes"] and 60 % number == 0:
        return {"cron": f"{_step(number)} * * * *", "timezone": zone}
    return {"every": number * unit, "starts_at": _ANCHOR.replace(tzinfo=zone_of(zone))}


def _step(number: int) -> str:
    return "*" if number == 1 else f"*/{number}"


def _numbers(name: str, given: Iterable[Any]) -> frozenset[int]:
    found = frozenset(given)
    wrong = [one for one in found if not isinstance(one, int | float) or one != int(one)]
    if wrong or not found:
        shown = ", ".join(map(repr, wrong)) or "no number at all"
        raise _refusal(f"{name} holds {shown}: pass whole numbers", "cron")
    return frozenset(int(one) for one in found)


def _field(given: Any, name: str, every: range) -> str:
    numbers = _numbers(name, getattr(given, name))
    # `0,30` is two fixed times and `*/30` recurs: they differ when a clock is changed.
    is_starred = str(getattr(given, f"_orig_{name}", "")).startswith("*")
    for step in range(1, len(every) // 2 + 1):
        if numbers == frozenset(every[::step]) and (step == 1 or is_starred):
            return _step(step)
    shown = (lambda number: _DAY_NAMES[number]) if name == "day_of_week" else str
    return ",".join(_ranges(sorted(numbers), shown))


def _ranges(numbers: list[int], name: Any) -> list[str]:
    """Return each number, or the first and the last of consecutive ones."""
    rows: list[list[int]] = []
    for number in numbers:
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    found: list[str] = []
    for row in rows:
        found += [f"{name(row[0])}-{name(row[-1])}"] if len(row) >= _RUN else map(name, row)
    return found


def _refusal(reason: str, path: str = "schedule") -> InvalidInput:
    return InvalidInput(SUBJECT, [Fault(path, reason)])
