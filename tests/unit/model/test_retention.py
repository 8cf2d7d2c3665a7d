"""Rules of retention: which one speaks, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb.errors import SettingsError
from taskdb.model.retention import Retention
from taskdb.model.status import TaskStatus as S
from taskdb.settings.settings import Settings

DAY = timedelta(days=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def keep(rules: list[dict[str, str]], status: S, type: str = "sum", tenant: str = "") -> Any:
    return Retention.parse(rules).keep(status, type, tenant)


def test_the_defaults_keep_what_failed_longer() -> None:
    kept = {status: keep([], status) for status in S}
    assert {status: time for status, time in kept.items() if time is not None} == {
        S.COMPLETED: 30 * DAY,
        S.CANCELED: 30 * DAY,
        S.FAILED: 90 * DAY,
    }


def test_the_first_rule_that_fits_decides_and_the_defaults_stand_behind() -> None:
    rules = [
        {"type": "mail.send", "status": "failed", "keep": "never"},
        {"type": "mail.*", "keep": "12h"},
        {"tenant": "acme", "keep": "2w"},
    ]
    assert keep(rules, S.FAILED, "mail.send", "acme") is None
    assert keep(rules, S.COMPLETED, "mail.send", "acme") == timedelta(hours=12)
    assert keep(rules, S.COMPLETED, "mail", "acme") == 14 * DAY
    assert keep(rules, S.COMPLETED, "mail") == 30 * DAY


def test_no_rule_speaks_of_what_is_not_over() -> None:
    assert all(keep([{"keep": "1m"}], status) is None for status in S if not status.is_terminal)


def test_a_tenant_without_a_name_can_be_meant() -> None:
    rules = [{"tenant": "", "keep": "1d"}]
    assert (keep(rules, S.COMPLETED), keep(rules, S.COMPLETED, tenant="a")) == (DAY, 30 * DAY)


def test_a_task_is_due_when_its_time_is_up_and_not_before() -> None:
    retention = Retention.parse([{"keep": "1d"}])
    second = timedelta(seconds=1)
    for age, due in ((DAY - second, False), (DAY, True), (-DAY, False)):
        given = {"ended_at": NOW - age, "now": NOW}
        assert retention.is_due(S.COMPLETED, "sum", "", **given) is due


def test_the_shortest_and_the_longest_are_those_of_all_rules() -> None:
    retention = Retention.parse([{"keep": "1m"}, {"keep": "never"}, {"keep": "365d"}])
    assert (retention.shortest, retention.longest) == (timedelta(minutes=1), 365 * DAY)
    assert (Retention(()).shortest, Retention(()).longest) == (None, None)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"keep": "1d"}, "a list of rules"),
        (["1d"], "rule 1 is not an object"),
        ([{"keep": "1d"}, {"staus": "FAILED", "keep": "1d"}], "rule 2 .*did you mean 'status'"),
        ([{"status": "FAILED"}], 'has no "keep"'),
        ([{"status": "HALTED", "keep": "1d"}], "'HALTED' is none of CANCELED, COMPLETED, FAILED"),
        ([{"status": "COMPLETE", "keep": "1d"}], "did you mean 'COMPLETED'"),
        ([{"keep": 30}], "keep must be text"),
        ([{"keep": "30"}], "neither a time"),
        ([{"keep": "0d"}], "neither a time"),
        ([{"keep": "36501d"}], "neither a time"),
        ([{"keep": f"{'9' * 5_000}d"}], "neither a time"),
        ([{"type": "a.*.b", "keep": "1d"}], "at its end"),
        ([{"type": "", "keep": "1d"}], "at its end"),
    ],
)
def test_what_is_no_rule_is_refused_with_its_number(rules: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Retention.parse(rules)
    with pytest.raises(SettingsError, match=f"TASKDB_RETENTION: .*{said}"):
        Settings.load({}, retention=rules)


@given(st.text(max_size=10))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        found = keep([{"keep": text}], S.COMPLETED)
    except ValueError:
        return
    assert found is None or timedelta(0) < found <= 36_500 * DAY


def test_the_setting_is_json() -> None:
    settings = Settings.load({"TASKDB_RETENTION": '[{"keep": "never"}]'})
    assert settings.retention_rules.keep(S.FAILED, "sum", "") is None
    assert Settings().retention_rules == Retention()
    with pytest.raises(SettingsError, match="TASKDB_RETENTION: not JSON"):
        Settings.load({"TASKDB_RETENTION": "30d"})
