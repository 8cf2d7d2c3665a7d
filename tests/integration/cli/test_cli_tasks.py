"""list, show, wait, cancel, retry, run-task and types: results, exit codes, errors."""

import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import psutil
import pytest
from tests.cases import each
from tests.integration.cli_site import Site, cli
from tests.processes import RunningProcess
from tests.waiting import wait_until

from taskdb.model.status import TaskStatus

__all__ = ["cli"]

NO_TASK = "01a1faa9-0000-7000-8000-000000000000"


# --- list -----------------------------------------------------------------------------------------


def test_a_list_shows_code_status_and_type_of_each_task_within_80_columns(cli: Site) -> None:
    first = cli.submit("echo", 1, name="Überprüfung für 佐藤")
    second = cli.submit("echo", 2, tenant="acme", delay=3_600)
    ran = cli("list")
    assert ran.code == 0
    header, newest, oldest = ran.out.splitlines()
    assert header.split() == ["CODE", "STATUS", "RUN", "TYPE", "ABOUT", "WHEN"]
    assert "SCHEDULED" in newest and "[acme]" in newest and "in 59 min" in newest
    assert "QUEUED" in oldest and "Überprüfung für 佐藤" in oldest
    assert len(header) <= 80
    with cli.client() as taskdb:
        assert taskdb.get_task(first).code in oldest
        assert taskdb.get_task(second).code in newest


def test_a_list_for_programs_has_one_task_a_line_and_tells_the_next_cursor_aside(
    cli: Site,
) -> None:
    ids = [cli.submit("echo", number) for number in range(3)]
    ran = cli("list", "--json", "--oldest", "--limit", "2")
    assert [line["id"] for line in ran.lines] == ids[:2]
    cursor = json.loads(ran.err)["next_cursor"]
    rest = cli("list", "--json", "--oldest", "--cursor", cursor)
    assert [line["id"] for line in rest.lines] == ids[2:]
    assert rest.err == ""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--type", "fails"], ["b"]),
        (["--status", "scheduled"], ["c"]),
        (["--status", "SCHEDULED", "-s", "QUEUED"], ["a", "b", "c"]),
        (["--tenant", "acme"], ["c"]),
        (["--tag", "t1"], ["a"]),
        (["--unique-key", "k"], ["a"]),
        (["--queue", "slow"], ["b"]),
        (["--search", "NAME-"], ["c"]),
        (["--attribute", "level=3"], ["c"]),
        (["--attribute", "level=4"], []),
        (["--created-by", "eve"], ["b"]),
        (["--request-id", "r1"], ["b"]),
        (["--since", "1h"], ["a", "b", "c"]),
        (["--before", "1h"], []),
        (["--since", "2999-01-01T00:00"], []),
    ],
)
def test_a_list_holds_what_meets_all_criteria(
    cli: Site, words: list[str], found: list[str]
) -> None:
    ids = {
        "a": cli.submit("echo", 1, tags=["t1"], unique_key="k"),
        "b": cli.submit("fails", queue="slow", created_by="eve", request_id="r1"),
        "c": cli.submit("echo", tenant="acme", delay=60, name="name-c", attributes={"level": 3}),
    }
    ran = cli("list", "--json", "--oldest", *words)
    assert [line["id"] for line in ran.lines] == [ids[name] for name in found]


def test_an_empty_list_says_so_aside(cli: Site) -> None:
    ran = cli("list")
    assert (ran.code, ran.out) == (0, "")
    assert "no task" in ran.err


@each(
    "words",
    [
        ["--status", "DONE"],
        ["--limit", "0"],
        ["--limit", "x"],
        ["--cursor", "nonsense"],
        ["--attribute", "nonsense"],
        ["--since", "yesterday"],
        ["--nonsense"],
    ],
)
def test_a_wrong_criterion_is_wrong_usage(cli: Site, words: list[str]) -> None:
    ran = cli("list", *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")


def test_watching_tells_each_change_until_it_is_interrupted(cli: Site) -> None:
    task_id = cli.submit("echo", 1)
    watch = cli.start("list", "--watch", "--json")
    watch.wait_for_output('"status": "QUEUED"')
    assert cli("cancel", task_id).code == 0
    watch.wait_for_output('"status": "CANCELED"')
    watch.signal(signal.SIGINT)
    assert watch.wait() == 130
    assert "Traceback" not in watch.output


# --- show -----------------------------------------------------------------------------------------


def test_a_task_is_shown_with_error_traceback_attempts_and_history(cli: Site) -> None:
    task_id = cli.submit("fails", name="Zoë")
    assert cli("run-task", task_id).code == 1
    ran = cli("show", task_id, "--history")
    assert ran.code == 0
    for words in ("Zoë", "FAILED", "1 of 1", "ValueError: no [red]luck[/red]", "Traceback"):
        assert words in ran.out
    assert "\x1b" not in ran.out
    history = ran.out[ran.out.index("FROM") :]
    assert [line.split()[1] for line in history.splitlines()[2:]] == [
        "CREATED",
        "QUEUED",
        "STARTED",
    ]


def test_a_task_for_programs_carries_payloads_attempts_and_history(cli: Site) -> None:
    task_id = cli.submit("echo", {"name": "Łukasz"})
    cli("run-task", task_id)
    shown = cli("show", task_id, "--json", "--history").document
    assert shown["input"] == shown["result"] == {"name": "Łukasz"}
    assert [one["status"] for one in shown["attempts"]] == ["COMPLETED"]
    assert [one["to_status"] for one in shown["history"]][-1] == "COMPLETED"
    assert datetime.fromisoformat(shown["created_at"]) <= datetime.now(UTC)


def test_code_and_key_name_a_task_as_well_as_its_id(cli: Site) -> None:
    task_id = cli.submit("echo")
    shown = cli("show", task_id, "--json").document
    for spelling in ("code", "key"):
        assert cli("show", shown[spelling], "--json").document["id"] == task_id


@pytest.mark.parametrize("words", [("show",), ("why",), ("cancel",), ("run-task",), ("retry",)])
def test_the_beginning_of_an_id_or_a_code_names_a_task(cli: Site, words: tuple[str, ...]) -> None:
    task_id = cli.submit("echo")
    code = cli("show", task_id, "--json").document["code"]
    if words == ("retry",):
        cli("cancel", task_id)
    ran = cli(*words, task_id[:6], "--json")
    assert (ran.code, task_id in ran.out) == (0, True)
    assert cli("show", code[:8].lower(), "--json").document["id"] == task_id
    assert cli("list", "--parent", task_id[:8]).err == "no task meets this\n"


def test_the_beginning_of_several_ids_lists_up_to_five_and_does_nothing(cli: Site) -> None:
    ids = [cli.submit("echo") for _ in range(6)]
    ran = cli("cancel", ids[0][:6])
    assert (ran.code, ran.out) == (2, "")
    assert f"several ids begin with '{ids[0][:6]}'" in ran.err
    assert [one in ran.err for one in ids] == [True] * 5 + [False]
    assert {cli.status(one) for one in ids} == {TaskStatus.QUEUED}
    assert cli("show", ids[3][:30], "--json").document["id"] == ids[3]
    assert cli("show", "ffffff").code == 3


def test_the_beginning_of_an_id_is_one_of_the_tenant_alone(cli: Site) -> None:
    own, other = cli.submit("echo", tenant="acme"), cli.submit("echo", tenant="globex")
    assert cli("show", own[:6]).code == 2
    ran = cli("show", own[:6], "--tenant", "acme", "--json")
    assert ran.document["id"] == own
    assert cli("show", other[:30], "--tenant", "acme").code == 3


def test_a_large_result_is_shortened_unless_all_of_it_is_wanted(cli: Site) -> None:
    task_id = cli.submit("big", {"size": 5_000})
    cli("run-task", task_id)
    assert "4999" not in cli("show", task_id).out
    assert "--full" in cli("show", task_id).out
    assert "4999" in cli("show", task_id, "--full").out


def test_a_lost_payload_spoils_no_command(
    cli: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TASKDB_PAYLOAD_INLINE_BYTES", "10")
    task_id = cli.submit("echo", "x" * 100)
    for file in (tmp_path / ".taskdb" / "payloads").rglob("*.json"):
        file.unlink()
    assert "payload" in cli("show", task_id).out
    shown = cli("show", task_id, "--json")
    assert shown.code == 0
    assert shown.document["payload_missing"].endswith("-input.json")


@pytest.mark.parametrize("words", [["show"], ["wait"], ["cancel"], ["retry"], ["run-task"]])
def test_no_such_task_is_exit_code_3(cli: Site, words: list[str]) -> None:
    for reference in (NO_TASK, "nonsense"):
        ran = cli(*words, reference)
        assert ran.code == 3
        assert ran.err.startswith("error: no task")
        described = cli(*words, reference, "--json")
        assert (described.code, described.out) == (3, "")
        assert described.error["code"] == "TASK_NOT_FOUND"


def test_a_task_of_another_tenant_is_not_found(cli: Site) -> None:
    task_id = cli.submit("echo", tenant="acme")
    assert cli("show", task_id, "--tenant", "acme").code == 0
    for verb in ("show", "cancel", "retry", "run-task"):
        assert cli(verb, task_id, "--tenant", "other").code == 3
    assert cli.status(task_id) is TaskStatus.QUEUED


# --- wait -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_name", "status", "code"),
    [
        ("echo", "COMPLETED", 0),
        ("fails", "FAILED", 1),
        ("gives.up", "FAILED", 1),
        ("halts", "HALTED", 1),
    ],
)
def test_waiting_ends_with_the_task_and_its_code_tells_how(
    cli: Site, type_name: str, status: str, code: int
) -> None:
    task_id = cli.submit(type_name)
    waiting = cli.start("wait", task_id, "--json")
    assert cli("run-task", task_id).code == code
    assert waiting.wait() == code
    assert json.loads(waiting.output)["status"] == status


def test_waiting_for_a_canceled_task_is_exit_code_1(cli: Site) -> None:
    task_id = cli.submit("echo")
    cli("cancel", task_id)
    assert cli("wait", task_id).code == 1


def test_waiting_too_long_is_exit_code_4(cli: Site) -> None:
    task_id = cli.submit("echo")
    ran = cli("wait", task_id, "--timeout", "100ms")
    assert ran.code == 4
    assert "is still QUEUED" in ran.err
    assert cli("wait", task_id, "--timeout", "0", "--json").error["code"] == "WAIT_TIMEOUT"


def test_waiting_can_be_interrupted(cli: Site) -> None:
    task_id = cli.submit("echo")
    # With --debug the pool of connections may log that closing one was interrupted.
    waiting = cli.start("wait", task_id)
    wait_until(lambda: waiting.is_running and _has_opened(waiting, cli.folder))
    waiting.signal(signal.SIGINT)
    assert waiting.wait() == 130
    assert "Traceback" not in waiting.output


# --- cancel and retry -----------------------------------------------------------------------------


def test_tasks_are_canceled_and_retried_by_name(cli: Site) -> None:
    ids = [cli.submit("echo"), cli.submit("echo")]
    ran = cli("cancel", *ids, "--json")
    assert ran.code == 0
    assert [(line["id"], line["status"]) for line in ran.lines] == [
        (one, "CANCELED") for one in ids
    ]
    assert cli("retry", *ids).code == 0
    assert {cli.status(one) for one in ids} == {TaskStatus.QUEUED}


def test_a_move_that_the_status_forbids_is_exit_code_6_and_the_others_go_on(cli: Site) -> None:
    done, waiting = cli.submit("echo"), cli.submit("echo")
    cli("run-task", done)
    ran = cli("cancel", done, waiting)
    assert ran.code == 6
    assert "error: cannot cancel" in ran.err
    assert cli.status(waiting) is TaskStatus.CANCELED
    assert cli("retry", cli.submit("echo"), "--json").error["code"] == "ILLEGAL_MOVE"
    assert cli("run-task", done).code == 6


def test_a_bulk_move_takes_what_meets_the_criteria(cli: Site) -> None:
    echoes = [cli.submit("echo") for _ in range(3)]
    other = cli.submit("fails")
    ran = cli("cancel", "--type", "echo", "--status", "QUEUED", "--yes", "--json")
    assert (ran.code, ran.document) == (0, {"canceled": 3})
    assert cli.status(other) is TaskStatus.QUEUED
    assert "retried 3 tasks" in cli("retry", "--status", "CANCELED", "--yes").out
    assert {cli.status(one) for one in echoes} == {TaskStatus.QUEUED}


def test_a_bulk_retry_leaves_what_completed_unless_it_is_forced(cli: Site) -> None:
    done, failed = cli.submit("echo"), cli.submit("fails")
    cli("run-task", done)
    cli("run-task", failed)
    assert "retried 1 task" in cli("retry", "--type", "fails", "--yes").out
    assert "retried 0 tasks" in cli("retry", "--type", "echo", "--yes").out
    assert cli.status(done) is TaskStatus.COMPLETED
    refused = cli("retry", "--status", "COMPLETED", "--yes")
    assert refused.code == 2 and "--force" in refused.err
    assert "retried 1 task" in cli("retry", "--type", "echo", "--force", "--yes").out
    assert cli.status(done) is TaskStatus.QUEUED


def test_a_bulk_move_keeps_to_its_tenant(cli: Site) -> None:
    own, other = cli.submit("echo", tenant="acme"), cli.submit("echo", tenant="other")
    assert cli("cancel", "--type", "echo", "--tenant", "acme", "--yes").code == 0
    assert cli.status(own) is TaskStatus.CANCELED
    assert cli.status(other) is TaskStatus.QUEUED


def test_a_bulk_move_without_a_yes_counts_and_changes_nothing(cli: Site) -> None:
    task_id = cli.submit("echo")
    cli.submit("echo", delay=60)
    asked = cli.start("cancel", "--type", "echo")
    assert asked.wait() == 2
    assert "this would cancel 2 tasks" in asked.output
    assert cli.status(task_id) is TaskStatus.QUEUED


class Terminal(StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "code", "status"),
    [
        ("y\n", 0, TaskStatus.CANCELED),
        ("yes\n", 0, TaskStatus.CANCELED),
        ("n\n", 1, TaskStatus.QUEUED),
        ("\n", 1, TaskStatus.QUEUED),
        ("", 1, TaskStatus.QUEUED),
    ],
)
def test_a_person_is_asked_before_a_bulk_move(
    cli: Site, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, status: TaskStatus
) -> None:
    task_id = cli.submit("echo")
    cli("cancel", cli.submit("echo"))
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    ran = cli("cancel", "--type", "echo")
    assert ran.code == code
    assert "cancel 1 task? [y/N]" in ran.err
    assert cli.status(task_id) is status


@pytest.mark.parametrize("words", [[], [NO_TASK, "--type", "echo"]])
def test_a_move_needs_either_tasks_or_criteria(cli: Site, words: list[str]) -> None:
    for verb in ("cancel", "retry"):
        assert cli(verb, *words).code == 2


# --- run-task and types ---------------------------------------------------------------------------


def test_a_body_is_run_in_this_process(cli: Site) -> None:
    task_id = cli.submit("orders.place", {"number": 7})
    ran = cli("run-task", task_id, "--json")
    assert ran.code == 0
    assert ran.document["status"] == "COMPLETED"
    assert ran.document["result"] == {"number": 7}
    assert ran.document["attempt"] == 1


def test_types_are_listed_with_what_was_decided_about_them(cli: Site) -> None:
    ran = cli("types")
    assert ran.code == 0
    line = next(line for line in ran.out.splitlines() if line.startswith("orders.place"))
    assert "number [title]" in line
    assert line.split()[-4:] == ["3", "1m30s", "orders", "tests.integration.cli_tasks"]
    described = {one["name"]: one for one in cli("types", "--json").lines}["orders.place"]
    assert described["timeout_seconds"] == timedelta(seconds=90).total_seconds()
    assert (described["queue"], described["max_attempts"]) == ("orders", 3)
    assert described["input"]["required"] == ["number"]


def test_one_type_is_shown_with_its_input(cli: Site) -> None:
    ran = cli("types", "orders.place")
    assert "Place an order." in ran.out
    assert "Its number." in ran.out
    assert "red|blue" in ran.out


def test_an_unknown_type_is_wrong_usage_with_a_guess(cli: Site) -> None:
    ran = cli("types", "orders.plaice")
    assert ran.code == 2
    assert "did you mean 'orders.place'" in ran.err


def _has_opened(process: RunningProcess, folder: Path) -> bool:
    opened = psutil.Process(process.pid).open_files()
    return any(file.path == str(folder / ".taskdb" / "tasks.sqlite3") for file in opened)
