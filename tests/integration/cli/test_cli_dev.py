"""dev, worker, beat and demo: real processes, of which nothing may be left."""

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.integration.cli_site import Site, cli
from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

from taskdb.cli.demo.plan import demo_environment
from taskdb.cli.process.background import WorkerAndBeat
from taskdb.model.status import TaskStatus

pytestmark = pytest.mark.long

__all__ = ["cli"]

STOP_SECONDS = 40


def started(cli: Site, *words: str) -> RunningProcess:
    """A `dev` whose worker takes tasks and whose beat ticks."""
    dev = cli.start("dev", "-c", "1", *words)
    dev.wait_for_output("beat.started")
    task_id = cli.submit("echo", "ready")
    wait_until(lambda: cli.status(task_id) is TaskStatus.COMPLETED, timeout=30, describe=dev.tail)
    return dev


def running(cli: Site) -> str:
    """A task that a worker has just begun, and that takes a minute."""
    task_id = cli.submit("long")
    wait_until(lambda: cli.status(task_id) is TaskStatus.PROCESSING, timeout=30)
    return task_id


def child_of(dev: RunningProcess, word: str) -> psutil.Process:
    return next(
        one
        for one in psutil.Process(dev.pid).children()
        if one.cmdline()[-2:].count(word) or word in one.cmdline()
    )


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_dev_runs_both_until_a_signal_stops_them_in_order(
    cli: Site, sign: signal.Signals, code: int
) -> None:
    dev = started(cli)
    assert {"worker |", "beat   |"} <= {line[:8] for line in dev.output.splitlines()}
    dev.signal(sign)
    assert dev.wait(STOP_SECONDS) == code
    assert "Warm shutdown" in dev.output
    assert "beat.stopped" in dev.output
    assert dev.children == []


def test_a_second_ctrl_c_stops_at_once_and_the_task_is_run_again(cli: Site) -> None:
    dev = started(cli)
    task_id = running(cli)
    dev.signal(signal.SIGINT)
    dev.wait_for_output("Ctrl-C again")
    dev.signal(signal.SIGINT)
    assert dev.wait(10) == 130
    assert dev.children == []
    assert cli.status(task_id) is TaskStatus.PROCESSING


def test_a_killed_dev_leaves_nothing_running(cli: Site) -> None:
    dev = started(cli)
    dev.kill()
    wait_until(lambda: not dev.children, timeout=STOP_SECONDS, describe="its children to end")


@pytest.mark.slow
def test_a_killed_dev_leaves_not_even_a_task_that_would_take_longer(cli: Site) -> None:
    dev = started(cli)
    running(cli)
    dev.kill()
    wait_until(lambda: not dev.children, timeout=STOP_SECONDS, describe="its children to end")


@pytest.mark.parametrize("word", ["worker", "beat"])
def test_when_one_dies_the_other_is_stopped_and_the_exit_code_says_so(cli: Site, word: str) -> None:
    dev = started(cli)
    child_of(dev, word).kill()
    assert dev.wait(STOP_SECONDS) == 1
    assert f"{word} ended by itself (signal SIGKILL)" in dev.output
    assert dev.children == []


def test_a_worker_that_cannot_start_ends_dev(cli: Site) -> None:
    dev = cli.start("dev", TASKDB_TASK_MODULES="no_such_module")
    assert dev.wait(STOP_SECONDS) == 1
    assert "no_such_module" in dev.output
    assert "worker ended by itself (exit code" in dev.output


def test_logs_of_dev_are_json_where_programs_read_them(cli: Site) -> None:
    dev = started(cli, "--json")
    dev.signal(signal.SIGINT)
    assert dev.wait(STOP_SECONDS) == 130
    assert [line for line in dev.output.splitlines() if line.startswith('{"')]


def test_celery_gets_the_options_of_the_worker(cli: Site) -> None:
    worker = cli.start(
        "worker", "-c", "1", "-P", "solo", "-n", "smith@%h", "-Q", "orders", "-linfo"
    )
    worker.wait_for_output("concurrency: 1 (solo)")
    worker.wait_for_output("smith@")
    worker.wait_for_output("exchange=orders")
    worker.signal(signal.SIGTERM)
    assert worker.wait(STOP_SECONDS) == 0


def test_a_wrong_option_of_the_worker_is_wrong_usage(cli: Site) -> None:
    worker = cli.start("worker", "--no-such-option")
    assert worker.wait() == 2
    assert "Traceback" not in worker.output


def test_a_beat_stops_in_order(cli: Site) -> None:
    beat = cli.start("beat", "--json")
    beat.wait_for_output("beat.started")
    beat.signal(signal.SIGINT)
    assert beat.wait(STOP_SECONDS) == 0
    lines = [json.loads(line) for line in beat.output.splitlines()]
    assert [one["event"] for one in lines if one["event"].startswith("beat.")] == [
        "beat.started", "beat.stopped",
    ]  # fmt: skip


# --- demo -----------------------------------------------------------------------------------------


def test_the_demonstration_goes_as_it_should_and_leaves_nothing(cli: Site) -> None:
    demo = cli.start("demo", "--json", TASKDB_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert demo.wait(60) == 0, demo.tail()
    told = json.loads(demo.output)
    assert told["problems"] == []
    assert [task["status"] for task in told["tasks"]] == [
        "COMPLETED", "COMPLETED", "FAILED", "COMPLETED", "COMPLETED",
    ]  # fmt: skip
    assert (told["tree"]["counts"]["total"], told["tree"]["counts"]["succeeded"]) == (13, 13)
    assert told["tasks"][4]["result"]["rejected"] == 24
    errors = told["tasks"][0]["result"]["errors"]
    assert len(errors) == 24
    assert all(error["line"] > 1 and error["reason"] for error in errors)
    assert [one["to_status"] for one in told["history"]].count("STARTED") == 3
    assert demo.children == []
    assert list(cli.folder.glob(".taskdb")) == []


def test_people_see_the_tasks_move_and_what_became_of_them(cli: Site, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    demo = cli.start("demo", "--keep", str(kept))
    assert demo.wait(60) == 0, demo.tail()
    for words in (
        "PROCESSING  customers.import  ", "ERRORED  mail.welcome  451 try again",
        "rejected 24", "line 199: ", "MailServerBusy", "All as it should be",
        "13/13  13 succeeded", "on_join (handler) customers.report  COMPLETED",
    ):  # fmt: skip
        assert words in demo.output
    assert (kept / "data" / "tasks.sqlite3").exists()
    again = cli.start("demo", "--keep", str(kept))
    assert again.wait() == 2
    assert "not empty" in again.output


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demonstration_that_is_stopped_leaves_nothing(
    cli: Site, sign: signal.Signals, code: int
) -> None:
    demo = cli.start("demo", TMPDIR=str(cli.folder))
    demo.wait_for_output("PROCESSING")
    demo.signal(sign)
    assert demo.wait(STOP_SECONDS) == code
    assert demo.children == []
    assert list(cli.folder.glob("taskdb-demo-*")) == []
    assert "Traceback" not in demo.output


def test_worker_and_beat_name_what_was_not_in_order(tmp_path: Path) -> None:
    with WorkerAndBeat(demo_environment({"PATH": "/usr/bin"}, tmp_path)) as processes:
        assert not processes.has_lost_one
        beat = psutil.Process(processes.pids[1])
        beat.kill()
        wait_until(lambda: processes.has_lost_one)
        problems = processes.stop()
    assert problems[0] == "the beat ended by itself with exit code -9"
    for pid in processes.pids:
        with suppress(psutil.NoSuchProcess):
            assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


# --- as it is installed ---------------------------------------------------------------------------


def test_a_wheel_carries_what_the_demonstration_and_the_docs_need(
    tmp_path: Path, processes: Processes
) -> None:
    repository = Path(__file__).parents[3]
    building = processes(
        sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=repository
    )
    assert building.wait(60) == 0, building.tail()
    wheel = next(tmp_path.glob("*.whl"))
    listing = processes.python("-m", "zipfile", "-l", wheel)
    assert listing.wait() == 0
    for name in ("customers.csv", "customers.py", "customer_chunks.py", "trials.py"):
        assert f"taskdb/cli/demo/tasks/{name}" in listing.output
    for page in ("README.md", "how-to/problems.md", "reference/errors.md", "why/comparison.md"):
        assert f" taskdb/docs/{page}" in f" {listing.output}".replace("\n", " ")
