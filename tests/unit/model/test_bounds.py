"""The bounds of what is stored: texts in bytes, moments, durations, depth."""

import math
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from taskdb import Alarm, FanOut, InvalidInput, Limit, Registry, Retry, Schedule, Sequence, task
from taskdb.cli.task.item_option import _ndjson
from taskdb.cli.task.json_option import read_json
from taskdb.errors import NotEncodable, SettingsError
from taskdb.model.bounds import (
    DEEPEST,
    LATEST,
    as_duration,
    check_texts,
    clipped,
    shown,
    wrong_text,
)
from taskdb.model.clock import FixedClock, require_aware
from taskdb.model.json_text import decode, encode
from taskdb.settings.settings import Settings
from taskdb.store.engine.types import as_moment
from taskdb_worker.adopt import track
from taskdb_worker.adopted.message import moment_of


@given(st.text(), st.integers(0, 40))
def test_a_text_is_right_exactly_when_its_bytes_fit_and_can_be_stored(text: str, most: int) -> None:
    is_storable = "\x00" not in text and not any("\ud800" <= one <= "\udfff" for one in text)
    fits = is_storable and len(text.encode()) <= most
    assert (wrong_text(text, most) is None) == fits


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 20))
def test_a_clipped_text_is_the_longest_beginning_that_fits(text: str, most: int) -> None:
    kept = clipped(text, most)
    assert text.startswith(kept) and len(kept.encode()) <= most
    assert kept == text or len(text[: len(kept) + 1].encode()) > most


def test_every_wrong_text_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"the rule is not valid: by: .*; reason: 5 is not text"):
        check_texts("the rule", by="\ud800", reason=5, other=None, fine="x")


@pytest.mark.parametrize(
    "moment",
    [
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=ZoneInfo("America/New_York")),
        datetime(3000, 1, 2, tzinfo=UTC),
        datetime(1899, 12, 31, tzinfo=UTC),
    ],
)
def test_a_moment_out_of_bounds_is_refused_in_words(moment: datetime) -> None:
    with pytest.raises(ValueError, match=r"deadline is out of bounds.*1900-01-01 to 3000-01-01"):
        require_aware(moment, "deadline")


def test_a_zone_that_is_none_is_refused_as_a_value() -> None:
    class Odd(tzinfo):
        def utcoffset(self, _: datetime | None) -> timedelta:
            return timedelta(hours=25)

    with pytest.raises(ValueError, match="offset"):
        require_aware(datetime(2026, 1, 1, tzinfo=Odd()), "deadline")


@pytest.mark.parametrize(
    "given",
    [
        *(math.nan, math.inf, -math.inf, 1e300, -1, 10**400, 10**5_000),
        *(timedelta.max, timedelta.min, timedelta(days=999_999), timedelta(days=36_501)),
    ],
    ids=range(11),
)
def test_a_duration_out_of_bounds_is_a_value_error(given: Any) -> None:
    with pytest.raises(ValueError, match=r"per=.*is not between 0 and 36,500 days"):
        as_duration(given, "per")


@pytest.mark.parametrize("given", ["soon", True, None, datetime(2026, 1, 1, tzinfo=UTC), 1j, []])
def test_what_is_no_duration_is_a_type_error(given: Any) -> None:
    with pytest.raises(TypeError, match="pass a timedelta, or seconds"):
        as_duration(given, "per")


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value", ["\ud800", 10**5_000, Unshowable(), "x" * 10_000, "\x1b[31m"], ids=range(5)
)
def test_any_value_can_be_shown_in_a_message(value: Any) -> None:
    text = shown(value)
    assert len(text.encode()) < 1_000 and text.isprintable()


def one_item(text: str) -> Any:
    return next(_ndjson(StringIO(text)))


# --- depth ----------------------------------------------------------------------------------------

WORDS = ["", "[", "{", '"', "\\", '\\"', '"[{', "]}", "\n[", 'x\\"]\\\\"[', "é", 1, None]


def nested(depth: int, core: Any = 1, *, by: str = "list") -> Any:
    value = core
    for _ in range(depth):
        value = [value] if by == "list" else {"a": value}
    return value


def depth_of(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value
    is_whole = not isinstance(value, dict | list)
    return 0 if is_whole else 1 + max(map(depth_of, parts), default=0)


@pytest.mark.parametrize("by", ["list", "object"])
def test_a_value_may_be_as_deep_as_the_bound_and_no_deeper(by: str) -> None:
    fits = nested(DEEPEST, by=by)
    assert decode(encode(fits, "it")) == fits
    for depth in (DEEPEST + 1, 980, 100_000):
        with pytest.raises(NotEncodable, match="nested too deeply"):
            encode(nested(depth, by=by), "it")


@given(
    st.recursive(
        st.sampled_from(WORDS),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([w for w in WORDS if isinstance(w, str)]), inner)
        ),
        max_leaves=20,
    ),
    st.integers(0, 5),
)
def test_depth_is_counted_whatever_the_texts_look_like(value: Any, deepest: int) -> None:
    try:
        encode(value, "it", deepest=deepest)
    except NotEncodable:
        assert depth_of(value) > deepest
    else:
        assert depth_of(value) <= deepest


# --- numbers --------------------------------------------------------------------------------------


@given(
    st.recursive(
        st.floats(allow_nan=False, allow_infinity=False)
        | st.integers()
        | st.sampled_from([-0.0, 1e16, "1e+16", "-0.0", '"-0.0', "\\1e+16"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('e+16-0."\\'), inner),
        max_leaves=10,
    )
)
def test_a_number_comes_back_as_the_same_one_of_the_same_kind(value: Any) -> None:
    assert repr(decode(encode(value, "it"))) == repr(value)


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["infinity", "10000-01-01 00:00:00+00", "some day", 10**30])
def test_what_is_no_moment_that_was_is_read_as_the_latest(stored: Any) -> None:
    assert as_moment(stored) == LATEST


@pytest.mark.parametrize("stored", ["-infinity", "0044-03-15 00:00:00+00 BC", -(10**30)])
def test_what_was_too_long_ago_is_read_as_the_earliest(stored: Any) -> None:
    assert as_moment(stored) == datetime(1900, 1, 1, tzinfo=UTC)


def test_a_moment_without_a_zone_is_read_in_utc() -> None:
    assert as_moment("2031-05-04 10:00:00") == datetime(2031, 5, 4, 10, tzinfo=UTC)


# --- declarations ---------------------------------------------------------------------------------

LONG = [timedelta.max, timedelta(days=999_999), math.inf, math.nan, 1e300, 10**400]


@each("long", LONG, ids=range(6))
@each(
    "declare",
    [
        lambda long: Limit.of(None, 1, long),
        lambda long: Limit(max_starts=1, per=long),
        lambda long: Alarm(backlog=long),
        lambda long: Schedule(every=long),
        lambda long: Schedule("* * * * *", misfire_grace=long),
        lambda long: Schedule("* * * * *", jitter=long),
        lambda long: task("t", registry=Registry(), timeout=long),
        lambda long: task("t", registry=Registry(), soft_timeout=long),
        lambda long: task("t", registry=Registry(), max_starts=1, per=long),
        lambda long: Retry(max_backoff=long),
    ],
    ids=range(10),
)
def test_a_declaration_refuses_a_duration_out_of_bounds_as_a_value(declare: Any, long: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"duration|days|day"):
        declare(long)


@pytest.mark.parametrize("long", LONG, ids=range(6))
def test_a_fan_out_names_a_timeout_out_of_bounds(long: Any) -> None:
    assert [fault.path for fault in FanOut(timeout=long).faults()] == ["timeout"]


@pytest.mark.parametrize(
    "moment", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]
)
@pytest.mark.parametrize("option", ["starts_at", "ends_at"])
def test_a_schedule_refuses_moments_out_of_bounds(option: str, moment: datetime) -> None:
    with pytest.raises(InvalidInput, match=f"{option}: {option} is out of bounds"):
        Schedule("* * * * *", **{option: moment})


@pytest.mark.parametrize("name", ["\x00", "\ud800", "語" * 200, 5, None])
def test_a_name_that_no_index_takes_names_nothing(name: Any) -> None:
    with pytest.raises(ValueError, match="cannot name a task type"):
        task(name, registry=Registry())
    with pytest.raises(ValueError, match="cannot name a sequence"):
        Sequence(name, ["a"], registry=Registry())
    with pytest.raises((ValueError, TypeError), match=r"cannot name a queue|names channels|text"):
        Alarm(to=[name])


# --- what others say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled",
    [
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
        "9999-12-31T23:59:59.999999-14:00",
        "9999-12-31T23:59:59",
    ],
)
def test_an_adopted_task_that_never_begins_has_the_latest_moment(spelled: Any) -> None:
    assert moment_of(spelled) == LATEST


def test_a_client_tracks_for_no_tenant_that_a_row_cannot_have() -> None:
    with pytest.raises(InvalidInput, match="tenant: 600 bytes"):
        track(Celery("app"), tenant="語" * 200)


@pytest.mark.parametrize("text", ["a\\u0000b", "a\\ud800b", "x" * 501], ids=range(3))
def test_a_rule_of_the_settings_names_nothing_that_a_database_refuses(text: str) -> None:
    for variable, value in (
        ("RETENTION", f'[{{"type": "{text}", "keep": "1d"}}]'),
        ("RETENTION", f'[{{"tenant": "{text}", "keep": "1d"}}]'),
        ("ALARM_BACKLOG_SECONDS", f'{{"queue:{text}": 5}}'),
        ("ALARM_ROUTES", f'[{{"to": "log", "type": "{text}"}}]'),
    ):
        given = {"TASKDB_ALARM_CHANNELS": '{"log": "log"}', f"TASKDB_{variable}": value}
        with pytest.raises(SettingsError, match=variable):
            Settings.load(given)


@pytest.mark.parametrize("by", [timedelta.max, timedelta.min, timedelta(days=999_999)])
def test_a_fixed_clock_is_not_moved_out_of_bounds(by: timedelta) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="out of bounds"):
        clock.advance(by)
    assert clock.at == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("read", [lambda text: read_json(text, "--input"), one_item])
def test_a_command_names_what_is_nested_without_end(read: Any) -> None:
    with pytest.raises(InvalidInput, match="is not JSON"):
        read("[" * 100_000)
