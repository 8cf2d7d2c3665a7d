"""How the command line reads durations and moments, and how it writes values."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from taskdb.cli.check.setting_list import masked
from taskdb.cli.time_option import before_now, duration_of, from_now, moment_of
from taskdb.cli.value_text import (
    clock_text,
    moment_text,
    payload_text,
    relative,
    setting_text,
)
from taskdb.errors import InvalidInput
from taskdb.model.duration import duration_text, parse_duration, rough_duration
from taskdb.redaction.printable import printable

NOW = datetime(2031, 5, 4, 10, 20, 30, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("1.5", 1.5), ("0", 0), ("500ms", 0.5), ("5m", 300), ("5min", 300),
        ("1h30m", 5_400), ("2d", 172_800), ("1w", 604_800), (" 1H 30M ", 5_400),
    ],
)  # fmt: skip
def test_a_duration_is_seconds_or_has_units(text: str, seconds: float) -> None:
    assert duration_of(text, "--x") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "-5", "5 parsecs", "1h 30", "nan", "inf", "1e400", "36501d"),
        pytest.param("9" * 5_000 + "w", id="very long"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_name_of_the_option(text: str) -> None:
    with pytest.raises(InvalidInput, match="--delay"):
        duration_of(text, "--delay")


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        assert duration_of(text, "--x") >= timedelta(0)


def test_a_moment_with_a_zone_is_that_moment_and_one_without_is_local() -> None:
    assert moment_of("2031-05-04T10:20:30.250Z", "--x") == NOW
    assert moment_of("2031-05-04T12:20:30.250+02:00", "--x") == NOW
    local = moment_of("2031-05-04T10:20", "--x")
    assert local == datetime(2031, 5, 4, 10, 20).astimezone()
    assert local.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *("", "tomorrow", "2031-13-01", "10:20"),
        *("9999-12-31", "0001-01-01T00:00+14:00", "1899-12-30"),
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    for read in (moment_of, from_now, before_now):
        with pytest.raises(InvalidInput, match="is not a moment"):
            read(text, "--x")


def test_a_duration_counts_from_now_on_or_back() -> None:
    hour = timedelta(hours=1)
    assert abs(from_now("1h", "--x") - datetime.now(UTC) - hour) < timedelta(seconds=5)
    assert abs(datetime.now(UTC) - before_now("1h", "--x") - hour) < timedelta(seconds=5)
    assert from_now("2031-05-04T10:20:30.250Z", "--x") == NOW


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.35, "350 ms"), (1, "1 s"), (119.9, "119 s"), (120, "2 min"),
        (7_199, "119 min"), (7_200, "2 h"), (48 * 3_600, "2 d"), (400 * 86_400, "400 d"),
    ],
)  # fmt: skip
def test_a_duration_is_written_in_its_largest_sensible_unit(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(0), "0s"), (timedelta(minutes=90), "1h30m"), (timedelta(days=14), "14d"),
        (timedelta(milliseconds=1_500), "1.5s"), (timedelta(seconds=-60), "-1m"),
        (timedelta(hours=25, seconds=1), "1d1h1s"), (timedelta(microseconds=1), "0.000001s"),
    ],
)  # fmt: skip
def test_a_duration_that_was_set_is_written_exactly(length: timedelta, text: str) -> None:
    assert duration_text(length) == text


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_500)))
def test_a_duration_is_read_as_it_is_written(length: timedelta) -> None:
    assert parse_duration(duration_text(length)) == length


def test_a_distance_says_whether_it_was_or_will_be() -> None:
    assert relative(NOW - timedelta(seconds=3), NOW) == "3 s ago"
    assert relative(NOW + timedelta(minutes=2), NOW) == "in 2 min"
    assert relative(NOW, NOW) == "now"


def test_a_moment_is_written_in_local_time() -> None:
    local = NOW.astimezone()
    assert moment_text(NOW, NOW) == f"{local:%Y-%m-%d %H:%M:%S} (now)"
    assert clock_text(NOW.astimezone(timezone(timedelta(hours=5)))) == f"{local:%H:%M:%S}.250"


def test_text_of_others_cannot_move_the_cursor_or_turn_the_writing() -> None:
    assert printable("a\x1b[31mb\x00\u202ec\nd\te\ud800") == "a�[31mb��c d e�"
    assert printable("Übung 佐藤 😀 عبد") == "Übung 佐藤 😀 عبد"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ((), "-"),
        (("a", "b"), "a, b"),
        (timedelta(minutes=5), "5m"),
        (0, "0"),
    ],
)
def test_a_value_is_one_line(value: object, text: str) -> None:
    assert setting_text(value) == text


def test_a_payload_is_pretty_and_shortened_unless_all_of_it_is_wanted() -> None:
    assert payload_text({"name": "Łukasz"}) == '{\n  "name": "Łukasz"\n}'
    long = payload_text(list(range(10_000)))
    assert len(long.splitlines()) == 41
    assert "--full" in long
    assert "9999" in payload_text(list(range(10_000)), whole=True)
    assert len(payload_text("x" * 10_000)) < 5_000


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("database_url", SecretStr("postgresql://u:x@h/db"), "postgresql://u:***@h/db"),
        ("database_url", SecretStr("postgresql://h/d?password=x"), "postgresql://h/d?password=***"),
        ("broker_url", SecretStr("redis://:pa/ss@h/0"), "redis://:***@h/0"),
        ("broker_url", SecretStr("sentinel://:x@a;sentinel://:x@b"), "sentinel://:***@a;sentinel://:***@b"),
        ("broker_url", SecretStr("redis://host/0"), "redis://host/0"),
        ("broker_url", SecretStr("no url"), "***"),
        ("broker_url", SecretStr(""), "-"),
        ("message_keys", (SecretStr("a://b"),), "***"),
        ("message_keys", SecretStr("a://b"), "***"),
        ("celery", {"broker_password": "x", "n": 1}, "{'broker_password': '[redacted]', 'n': 1}"),
        ("celery", {"a": [{"api_key": "x"}]}, "{'a': [{'api_key': '[redacted]'}]}"),
        ("celery", {"a": ["amqp://u:x@h//"]}, "{'a': ['amqp://u:[redacted]@h//']}"),
        ("schedules", ({"name": "a", "input": {"plain": "x"}},), "{'name': 'a', 'input': '***'}"),
        ("schedules", ("x",), "***"),
        ("task_modules", ("a", "b"), "a, b"),
    ],
)  # fmt: skip
def test_no_secret_of_a_setting_is_shown(name: str, value: object, shown: str) -> None:
    assert masked(name, value) == shown
