"""`taskdb alarm …`: each command, its page, and what the doctor says of alarms."""

import json
import re

import pytest
from tests.cases import each
from tests.integration.cli_site import REPOSITORY, Site, cli
from tests.store.alarms import fail

from taskdb import TaskDB, default_taskdb, set_default
from taskdb.cli.app import build
from taskdb.errors import AlarmNotFound

__all__ = ["cli"]

PAGE = REPOSITORY / "docs" / "reference" / "command-line.md"
NAMES = ["list", "show", "ack", "snooze", "resolve", "test"]
SECRET = "hunter2-hunter2"


@each("words", [*([name] for name in NAMES), ["route", "add"]])
def test_the_page_of_the_command_line_names_every_option(cli: Site, words: list[str]) -> None:
    shown = set(re.findall(r"--[a-z][a-z-]+", cli("alarm", *words, "--help").out))
    assert {"--json", "--debug"} <= shown
    page = PAGE.read_text(encoding="utf-8").split(f"\n## taskdb alarm {words[0]}\n")[1]
    rows = [line for line in page.split("\n## ")[0].splitlines() if line.startswith("| `")]
    written = set(re.findall(r"`(--[a-z][a-z-]+)", "\n".join(rows)))
    assert written == shown - {"--help", "--json", "--debug"}


def test_there_is_no_other_command(cli: Site) -> None:
    groups = {one.name: one.typer_instance for one in build().registered_groups}
    group = groups["alarm"]
    assert group is not None
    assert [one.name for one in group.registered_commands] == NAMES
    assert [one.name for one in group.registered_groups] == ["route"]


def failed(cli: Site, **values: str) -> None:
    with cli.client() as taskdb:
        fail(taskdb.store, **values)


def test_an_alarm_from_its_first_failure_to_its_end(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no such alarm" in cli("alarm", "list").err
    failed(cli, message="the bank is away\x1b[31m")
    assert cli("doctor", "--fix").code == 1
    found = cli("alarm", "list", "--json").lines
    assert [(one["state"], one["is_routed"]) for one in found] == [("open", False)]
    assert found[0]["id"] in cli("alarm", "show", found[0]["id"][:8]).out
    assert "nobody: no route takes it" in cli("alarm", "list", "--unrouted").out
    doctor = {one["name"]: one for one in cli("doctor", "--json").document["drift"]}
    assert doctor["alarm_unrouted"]["examples"] == [found[0]["id"]]
    assert "no route, and no channel" in cli("alarm", "route", "list").err

    # A channel that nobody answers at: it is routed now, and undelivered.
    url = f"mailto://user:{SECRET}@127.0.0.1:9?from=t@example.com&to=a@example.com&mode=insecure"
    monkeypatch.setenv("TASKDB_ALARM_CHANNELS", json.dumps({"mail": url, "log": "log"}))
    added = cli("alarm", "route", "add", "mail", "--type", "su*", "--severity", "error", "--json")
    assert added.code == 0
    assert cli("alarm", "route", "add", "mial").code == 2
    assert "mail" in cli("alarm", "route", "list").out
    cli("doctor", "--fix")
    waiting = cli("alarm", "list", "--undelivered", "--json").lines
    assert "submitting email" in waiting[0]["undelivered"]
    assert SECRET not in cli("alarm", "list", "--undelivered").out
    doctor = {one["name"]: one for one in cli("doctor", "--json").document["drift"]}
    assert doctor["alarm_undelivered"]["count"] == 1
    assert "alarm_unrouted" not in doctor

    shown = cli("alarm", "show", found[0]["id"])
    assert "the bank is away" in shown.out
    assert "\x1b[31m" not in shown.out
    assert "1 opened" in shown.out
    assert "card.py" in shown.out
    assert cli("alarm", "show", found[0]["fingerprint"], "--json").document["deliveries"]
    alarm = found[0]["id"]
    assert "acknowledged" in cli("alarm", "ack", alarm, "--note", "on it").out
    assert "snoozed until" in cli("alarm", "snooze", alarm, "8h").out
    assert cli("alarm", "snooze", alarm, "soon").code == 2
    assert cli("alarm", "resolve", alarm, "--json").document["state"] == "resolved"
    assert cli("alarm", "list").out == ""
    assert [one["id"] for one in cli("alarm", "list", "--state", "resolved", "--json").lines] == [
        alarm
    ]
    assert cli("alarm", "show", alarm, "--tenant", "other").code == 3

    assert cli("alarm", "test", "log").code == 0
    refused = cli("alarm", "test", "mail")
    assert refused.code == 1
    assert SECRET not in refused.err
    assert cli("alarm", "test", "nowhere").code == 2
    assert cli("alarm", "route", "remove", added.document["id"]).code == 0
    assert "no such route" in cli("alarm", "route", "remove", added.document["id"]).err
    assert "every alarm goes to mail, log" in cli("alarm", "route", "list").err
    settings = cli("check", "--settings")
    assert SECRET not in settings.out + settings.err
    monkeypatch.setenv("TASKDB_ALARM_ROUTES", "nonsense")
    settings = cli("check", "--settings")
    assert SECRET not in settings.out + settings.err


def test_the_default_client_has_alarms_as_well(cli: Site) -> None:
    failed(cli)
    with TaskDB() as taskdb:
        set_default(taskdb)
        try:
            alarms = default_taskdb().alarms
            assert alarms.list() == []
            assert alarms.routes() == []
            assert not alarms.remove_route("x")
            with pytest.raises(AlarmNotFound):
                alarms.get("x")
        finally:
            set_default(None)
