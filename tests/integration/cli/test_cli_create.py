"""create-task: options made from the input model, and everything that a submit may say."""

import json
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each
from tests.integration.cli_site import REPOSITORY, Site, cli
from tests.servers import Blackhole
from tests.waiting import wait_until

__all__ = ["cli"]


DOCS, EXAMPLES = REPOSITORY / "docs", REPOSITORY / "examples"

NOT_LISTENING = "redis://:hunter2@127.0.0.1:1/0"


def input_of(cli: Site, *words: str) -> Any:
    ran = cli("create-task", "orders.place", "--number", "7", "--json", *words)
    assert ran.code == 0, ran.err
    given = dict(ran.document["input"])
    del given["number"]
    defaults = cli("create-task", "orders.place", "--number", "7", "--json").document["input"]
    return {name: value for name, value in given.items() if value != defaults[name]}


@each(
    "words, value",
    [
        (["--title", "Grüße"], {"title": "Grüße"}),
        (["--title", "5"], {"title": "5"}),
        (["--title", ""], {"title": ""}),
        (["--title=--title"], {"title": "--title"}),
        (["--ratio", "-1.25"], {"ratio": -1.25}),
        (["--price", "19.90"], {"price": "19.90"}),
        (["--at", "2031-05-04T10:00:00Z"], {"at": "2031-05-04T10:00:00Z"}),
        (["--day", "2031-05-04"], {"day": "2031-05-04"}),
        (["--patience", "PT90S"], {"patience": "PT1M30S"}),
        (["--reference", "01a1faa9000070008000000000000000"],
         {"reference": "01a1faa9-0000-7000-8000-000000000000"}),
        (["--file", "a/b.csv"], {"file": "a/b.csv"}),
        (["--color", "blue"], {"color": "blue"}),
        (["--size", "1"], {"size": 1}),
        (["--express"], {"express": True}),
        (["--no-express"], {}),
        (["--no-gift"], {"gift": False}),
        (["--labels", "a", "--labels", "[b"], {"labels": ["a", "[b"]}),
        (["--labels", '["a", "b"]'], {"labels": ["a", "b"]}),
        (["--counts", "3", "--counts", "3"], {"counts": [3]}),
        (["--stops", '{"street": "x"}', "--stops", '{"street": "y", "number": 2}'],
         {"stops": [{"street": "x", "number": 1}, {"street": "y", "number": 2}]}),
        (["--address", '{"street": "Straße"}'], {"address": {"street": "Straße", "number": 1}}),
        (["--extra", '{"a": 1}'], {"extra": {"a": 1}}),
        (["--either", "5"], {"either": "5"}),
        (["--name", "a field"], {"name": "a field"}),
        (["--field-input", "a field"], {"input": "a field"}),
        (["--class", "a field"], {"class_": "a field"}),
    ],
)  # fmt: skip
def test_a_field_of_every_kind_is_an_option(
    cli: Site, words: list[str], value: dict[str, Any]
) -> None:
    assert input_of(cli, *words) == value


def test_help_shows_each_field_with_type_default_and_meaning(cli: Site) -> None:
    ran = cli("create-task", "orders.place", "--help")
    assert ran.code == 0
    words = " ".join(ran.out.split())
    assert "Place an order." in words
    assert "--number INTEGER Its number. (required)" in words
    assert "--title TEXT What it is called. (default: untitled)" in words
    assert "--color red|blue" in words
    assert "--size s|1" in words
    assert "--express / --no-express" in words
    assert "--address JSON" in words
    assert "(may be repeated)" in words
    assert "--task-name TEXT Name of the task, for people" in words


def test_help_without_a_type_shows_what_every_submit_may_say(cli: Site) -> None:
    for words in ([], ["--help"]):
        ran = cli("create-task", *words)
        assert ran.code == 0
        assert "--unique-key TEXT" in ran.out
        assert "taskdb create-task TYPE --help" in ran.out


def test_flags_may_stand_before_the_type_and_nothing_else(cli: Site) -> None:
    assert cli("create-task", "--json", "echo").document["type"] == "echo"
    ran = cli("create-task", "--tenant", "acme", "echo")
    assert ran.code == 2
    assert "name the task type first" in ran.err


def test_every_fault_is_named_at_once_and_nothing_is_written(cli: Site) -> None:
    words = ["--number", "x", "--color", "green", "--address", "{}", "--stops", "no JSON"]
    ran = cli("create-task", "orders.place", *words, "--json")
    assert ran.code == 2
    assert {fault["path"] for fault in ran.error["faults"]} == {
        "number", "color", "address.street", "stops.0",
    }  # fmt: skip
    assert cli("list", "--json").out == ""


def test_a_field_that_is_missing_or_unknown_is_wrong_usage(cli: Site) -> None:
    assert "number" in cli("create-task", "orders.place").err
    ran = cli("create-task", "orders.place", "--numbr", "7")
    assert ran.code == 2
    assert "No such option: --numbr" in ran.err and "--number" in ran.err


def test_an_unknown_type_is_answered_with_a_guess(cli: Site) -> None:
    ran = cli("create-task", "order.place", "--number", "7")
    assert ran.code == 2
    assert "did you mean 'orders.place'" in ran.err
    assert cli("create-task", "order.place", "--json").error["code"] == "TASK_TYPE_NOT_FOUND"


def test_a_type_that_only_workers_know_may_be_allowed(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_ALLOW_UNKNOWN_TYPES", "true")
    ran = cli("create-task", "somewhere.else", "--input", '{"a": 1}', "--json")
    assert ran.code == 0
    assert ran.document["input"] == {"a": 1}


# --- --input --------------------------------------------------------------------------------------


def test_the_input_comes_as_json_from_a_file_or_from_standard_input(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"name": "Łukasz", "list": [1, None]}
    Path("value.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", StringIO(json.dumps(value)))
    for given in (json.dumps(value), "@value.json", "-"):
        assert cli("create-task", "echo", "--input", given, "--json").document["input"] == value


def test_a_single_field_wins_over_the_same_field_in_the_input(cli: Site) -> None:
    whole = '{"number": 1, "title": "kept"}'
    ran = cli("create-task", "orders.place", "--input", whole, "--number", "2", "--json")
    assert (ran.document["input"]["number"], ran.document["input"]["title"]) == (2, "kept")


@pytest.mark.parametrize("given", ["{nonsense", "@missing.json", "@."])
def test_an_input_that_cannot_be_read_is_wrong_usage(cli: Site, given: str) -> None:
    ran = cli("create-task", "echo", "--input", given)
    assert ran.code == 2
    assert "--input" in ran.err


def test_an_input_that_is_no_object_takes_no_single_fields(cli: Site) -> None:
    assert cli("create-task", "orders.place", "--input", "[1]", "--number", "2").code == 2


# --- what every submit may say --------------------------------------------------------------------


def test_the_options_of_a_submit_reach_the_row(cli: Site) -> None:
    task = cli(
        "create-task", "echo", "--json", "--tenant", "acme", "--name", "Prüfung",
        "--unique-key", "k", "--priority", "9", "--queue", "slow", "--tag", "a", "--tag", "b",
        "--deadline", "10m",
    ).document  # fmt: skip
    assert (task["tenant"], task["name"], task["unique_key"]) == ("acme", "Prüfung", "k")
    assert (task["priority"], task["queue"], task["tags"]) == (9, "slow", ["a", "b"])
    left = datetime.fromisoformat(task["deadline_at"]) - datetime.now(UTC)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)


def test_a_task_may_be_scheduled(cli: Site) -> None:
    delayed = cli("create-task", "echo", "--delay", "1h30m", "--json").document
    assert delayed["status"] == "SCHEDULED"
    due = datetime.fromisoformat(delayed["run_at"]) - datetime.fromisoformat(delayed["created_at"])
    assert due == timedelta(hours=1, minutes=30)
    timed = cli("create-task", "echo", "--run-at", "2031-05-04T10:00:00Z", "--json").document
    assert timed["run_at"] == "2031-05-04T10:00:00+00:00"


def test_the_same_unique_key_answers_the_same_task(cli: Site) -> None:
    first, second = (
        cli("create-task", "echo", "--unique-key", "k", "--json").document["id"] for _ in range(2)
    )
    assert first == second
    cli("cancel", first)
    words = ["create-task", "echo", "--unique-key", "k", "--on-conflict"]
    assert cli(*words, "keep", "--json").document["id"] == first
    assert cli(*words, "new", "--json").document["id"] != first


@each(
    "words",
    [
        ["--priority", "10"],
        ["--priority", "high"],
        ["--delay", "soon"],
        ["--delay", "-5"],
        ["--run-at", "tomorrow"],
        ["--run-at", "2031-05-04T10:00", "--delay", "5"],
        ["--on-conflict", "kep"],
    ],
)
def test_a_wrong_option_is_wrong_usage(cli: Site, words: list[str]) -> None:
    ran = cli("create-task", "echo", *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")


def test_people_get_id_code_and_status(cli: Site) -> None:
    ran = cli("create-task", "echo")
    task_id, line = ran.out.splitlines()
    with cli.client() as taskdb:
        code = taskdb.get_task(task_id).code
    assert line.split() == [code, "QUEUED", "echo"]


def test_waiting_ends_with_the_task(cli: Site) -> None:
    creating = cli.start("create-task", "fails", "--wait", "--json")
    task_id = wait_until(lambda: [one["id"] for one in cli("list", "--json").lines])[0]
    assert cli("run-task", task_id).code == 1
    assert creating.wait() == 1
    assert json.loads(creating.output)["status"] == "FAILED"


def test_waiting_may_have_an_end(cli: Site) -> None:
    ran = cli("create-task", "echo", "--wait", "--timeout", "50ms")
    assert ran.code == 4


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_broker_that_is_away_loses_nothing_and_is_told(
    cli: Site, monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    monkeypatch.setenv("TASKDB_BROKER_URL", NOT_LISTENING)
    ran = cli("create-task", "echo", *form)
    assert ran.code == 0
    assert "published later" in ran.err
    assert "hunter2" not in ran.err + ran.out
    assert cli("list", "--json").lines[0]["status"] == "CREATED"


def test_a_task_of_a_paused_type_says_who_holds_it_and_not_the_broker(cli: Site) -> None:
    assert cli("pause", "--type", "echo", "--reason", "no power").code == 0
    ran = cli("create-task", "echo")
    assert ran.code == 0
    assert "its type 'echo' was paused" in ran.err and "(no power)" in ran.err
    assert "next: taskdb resume --type echo" in ran.err
    assert "broker" not in ran.err


def test_the_wrong_submit_of_the_tutorial_is_refused_and_names_the_field(cli: Site) -> None:
    words = ("create-task", "customers.import")
    assert f"`taskdb {' '.join(words)}`" in (DOCS / "tutorials" / "first-task.md").read_text()
    path = f"{EXAMPLES / 'quickstart'}:{cli.environment['PYTHONPATH']}"
    ran = cli.start(*words, TASKDB_TASK_MODULES="customer_tasks", PYTHONPATH=path)
    assert ran.wait() == 2
    assert "names: Field required" in ran.output
    assert cli("list", "--json").out == ""


def test_a_broker_that_is_frozen_holds_nobody_up(
    cli: Site, monkeypatch: pytest.MonkeyPatch, blackhole: Blackhole
) -> None:
    monkeypatch.setenv("TASKDB_BROKER_URL", f"redis://127.0.0.1:{blackhole.port}/0")
    began = datetime.now(UTC)
    ran = cli("create-task", "echo")
    assert ran.code == 0
    assert "published later" in ran.err
    assert datetime.now(UTC) - began < timedelta(seconds=5)
