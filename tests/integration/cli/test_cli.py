"""The program as a whole: help, errors without tracebacks, streams, and the missing extra."""

import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.cases import each
from tests.integration.cli_site import REPOSITORY, Site, cli
from tests.processes import Processes, RunningProcess

from taskdb import errors
from taskdb.cli import session
from taskdb.cli.app import build
from taskdb.cli.exit_code import ExitCode

__all__ = ["cli"]

NAMES = [
    "migrate", "dev", "worker", "beat", "create-task", "run-task", "list", "show", "wait",
    "cancel", "retry", "types", "check", "demo", "create-fan-out", "create-sequence",
    "resume-task", "why", "doctor", "prune", "pause", "resume", "grants",
    "status", "queues", "workers", "docs", "top",
]  # fmt: skip
PAGE = REPOSITORY / "docs" / "reference" / "command-line.md"


def test_help_lists_every_command_and_every_exit_code(cli: Site) -> None:
    ran = cli("--help")
    assert ran.code == 0
    words = " ".join(ran.out.split())
    assert [one.name for one in build().registered_commands if one.name not in NAMES] == []
    for name in NAMES:
        assert name in words
    for code in ExitCode:
        assert f"{code.value} " in words
    assert max(len(line) for line in ran.out.splitlines()) <= 80


@each("name", NAMES)
def test_every_command_explains_itself_and_takes_json_and_debug(cli: Site, name: str) -> None:
    ran = cli(name, "--help")
    assert ran.code == 0
    assert "--json" in ran.out
    assert "--debug" in ran.out or name == "worker"


@each("name", NAMES)
def test_the_page_of_the_command_line_names_every_option(cli: Site, name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    section = page.split(f"\n## taskdb {name}\n")[1].split("\n## ")[0]
    if name in {"cancel", "retry", "list"}:
        section += page.split("\n## Which tasks\n")[1].split("\n## ")[0]
    rows = "\n".join(line for line in section.splitlines() if line.startswith("| `"))
    written = set(re.findall(r"`(--[a-z][a-z-]+)", rows))
    shown = set(re.findall(r"--[a-z][a-z-]+", cli(name, "--help").out))
    assert written == shown - {"--help", "--json", "--debug"}


def test_the_page_states_every_exit_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for code in ExitCode:
        assert f"| {code.value} | {code.meaning}" in page


@pytest.mark.parametrize(
    "words", [["lst"], ["list", "--nope"], ["show"], ["list", "a"], ["--nope"]]
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli: Site, words: list[str]) -> None:
    ran = cli(*words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err
    described = cli(*words, "--json")
    assert (described.code, described.error["code"]) == (2, "USAGE")


def test_the_version_is_a_line(cli: Site) -> None:
    assert cli("--version").out == f"taskdb {version('celery-taskdb')}\n"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("taskdb create-", {"create-task", "create-fan-out", "create-sequence"}),
        ("taskdb limit ", {"set", "clear", "list"}),
        ("taskdb limit set --max", {"--max-running", "--max-starts"}),
    ],
)
def test_a_shell_completes_commands_and_options(cli: Site, line: str, found: set[str]) -> None:
    number = str(len(line.split(" ")) - 1)
    shell = {"_TASKDB_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": number}
    ran = cli.start(**shell)
    assert ran.wait() == 0
    assert set(ran.output.split()) == found


def test_a_command_that_does_not_exist_is_answered_with_a_guess(cli: Site) -> None:
    assert "Did you mean 'list'" in cli("lst").err


BROKEN: list[tuple[Callable[[], BaseException], int]] = [
    (lambda: errors.InvalidInput("it", [errors.Fault("a", "b")]), 2),
    (lambda: errors.PayloadTooLarge("it", 2, 1), 2),
    (lambda: errors.UnknownTaskType("a", ["b"]), 2),
    (lambda: errors.SequenceNotFound("a", ["b"]), 2),
    (lambda: errors.SequenceAlreadyCompleted("a"), 6),
    (lambda: errors.TaskNotFound("x"), 3),
    (lambda: errors.ScheduleNotFound("x"), 3),
    (lambda: errors.AlarmNotFound("x"), 3),
    (lambda: errors.ScheduleExists("x", "person"), 2),
    (lambda: errors.TaskAlreadyRegistered("a", "b", "c"), 2),
    (lambda: errors.IllegalMove("cancel", "FAILED", ["QUEUED"]), 6),
    (lambda: errors.TaskIsAdopted("cancel", "x", "a", "FAILED", "x"), 6),
    (lambda: errors.TaskIsPruned("retry", "x", "r", "FAILED"), 6),
    (lambda: errors.TaskNotSubmitted("x"), 2),
    (lambda: errors.ResultNotKept("x"), 3),
    (lambda: errors.Unroutable("x", "y", "name a queue"), 1),
    (lambda: errors.AlreadyTracked("app"), 1),
    (lambda: errors.WaitTimeout("x", "QUEUED", 1), 4),
    (lambda: errors.NotEncodable("it is not JSON"), 2),
    (lambda: errors.SettingsError("wrong"), 2),
    (lambda: errors.TaskModuleError("a", "b"), 2),
    (lambda: errors.DatabaseError("wrong"), 5),
    (lambda: errors.DatabaseUnreachable("away"), 5),
    (lambda: errors.DatabaseRefused("read-only"), 5),
    (lambda: errors.DatabaseCollision("again"), 5),
    (lambda: errors.ValueRefused("too long"), 2),
    (lambda: errors.DatabaseNotMigrated("old"), 5),
    (lambda: errors.DatabaseTooNew("new"), 5),
    (lambda: errors.TableNameTaken(["taskdb_task"], "public"), 5),
    (lambda: errors.DatabaseUnsuitable("ascii"), 5),
    (lambda: errors.GrantsRefused("no such role"), 2),
    (lambda: errors.BrokerUnreachable("away"), 5),
    (lambda: errors.PayloadMissing("x"), 1),
    (lambda: errors.DeliveryFailed("no"), 1),
    (lambda: errors.TargetRefused("no"), 2),
    (lambda: errors.SubscriptionNotFound("x"), 3),
    (lambda: errors.SubscriptionExists("x"), 2),
    (lambda: errors.WaitInterrupted("x"), 1),
    (lambda: errors.PayloadStoreUnreachable("away"), 5),
    (errors.CallbackRefused, 3),
    (lambda: PermissionError(13, "Permission denied", "file"), 5),
    (lambda: ZeroDivisionError("a bug"), 70),
]


@pytest.mark.parametrize(("make", "code"), BROKEN)
def test_no_error_shows_a_traceback_but_with_debug(
    cli: Site, monkeypatch: pytest.MonkeyPatch, make: Callable[[], BaseException], code: int
) -> None:
    def broken(_settings: object) -> None:
        raise make()

    monkeypatch.setattr(session, "TaskDB", broken)
    ran = cli("list")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err
    described = cli("list", "--json")
    assert (described.code, described.out) == (code, "")
    assert described.error["message"] in ran.err.replace("\n", " ")
    assert "Traceback" in cli("list", "--debug").err


def test_every_error_of_the_package_has_been_tried() -> None:
    tried = {type(make()) for make, _ in BROKEN}
    known = [one for one in vars(errors).values() if isinstance(one, type)]
    ours = {one for one in known if issubclass(one, errors.TaskDBError)}
    assert ours - tried == {errors.TaskDBError}


def on_terminal(
    processes: Processes, *words: str, env: dict[str, str], cwd: Path
) -> RunningProcess:
    """A command that has a terminal; its exit code is the one of the process."""
    command = [sys.executable, "-m", "taskdb.cli", *words]
    code = f"import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn({command!r})))"
    return processes.python("-c", code, env=env, cwd=cwd)


def test_a_pipe_that_is_closed_early_shows_no_traceback(cli: Site, processes: Processes) -> None:
    for _ in range(3):
        cli.submit("echo")
    command = f"{sys.executable} -m taskdb.cli list --json | head -c 1"
    piped = processes("/bin/sh", "-c", command, env=cli.environment, cwd=cli.folder)
    piped.wait()
    assert "Traceback" not in piped.output
    assert "Exception" not in piped.output


def test_without_the_extra_it_says_what_to_install(cli: Site, processes: Processes) -> None:
    code = "import sys; sys.modules['typer'] = None; from taskdb.cli import main; sys.exit(main())"
    started = processes.python("-c", code, "list", env=cli.environment, cwd=cli.folder, fresh=True)
    assert started.wait() == 2
    assert started.output == (
        'error: the command line needs an extra: pip install "celery-taskdb[cli]"\n'
    )


def test_the_installed_script_runs_the_same_program(cli: Site, processes: Processes) -> None:
    script = Path(sys.executable).with_name("taskdb")
    started = processes(script, "types", env=cli.environment, cwd=cli.folder)
    assert started.wait() == 0
    assert "orders.place" in started.output


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colours_unless_it_wants_none(
    cli: Site,
    processes: Processes,
    variables: dict[str, str],
    coloured: bool,  # noqa: FBT001
) -> None:
    task_id = cli.submit("echo", name="[bold]名前[/bold]")
    cli("run-task", task_id)
    environment = {**cli.environment, "TERM": "xterm-256color", **variables}
    shown = on_terminal(processes, "list", env=environment, cwd=cli.folder)
    assert shown.wait() == 0
    assert ("\x1b[32m" in shown.output) is coloured
    assert "[bold]名前[/bold]" in shown.output


def test_a_bar_shows_names_as_they_are(cli: Site, processes: Processes) -> None:
    task_id = cli.submit("echo", name="[/] [red]")
    cli("run-task", task_id)
    environment = {**cli.environment, "TERM": "xterm-256color"}
    waited = on_terminal(processes, "wait", task_id, env=environment, cwd=cli.folder)
    assert waited.wait() == 0
    assert "[/] [red]" in waited.output


def test_an_output_that_knows_few_letters_spoils_nothing(cli: Site) -> None:
    task_id = cli.submit("echo", name="名前")
    shown = cli.start("show", task_id, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert shown.wait() == 0
    assert "Traceback" not in shown.output


def test_logs_of_the_library_stay_off_standard_output(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_BROKER_URL", "redis://127.0.0.1:1/0")
    ran = cli("create-task", "echo", "--json", "--debug")
    assert ran.document["status"] == "CREATED"
    assert "publish.postponed" in ran.err
