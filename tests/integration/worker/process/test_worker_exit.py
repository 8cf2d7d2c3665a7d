"""The end of a worker's process: bounded once all is done, and never before."""

import signal
import threading
from pathlib import Path

import pytest
from tests.integration.worker_site import MODULE, Site, embedded
from tests.processes import Processes
from tests.waiting import wait_until

HANGS = {"TASKDB_TASK_MODULES": f"{MODULE},tests.integration.worker.process.worker_exits"}
FORCED = "exit.forced"


def test_a_worker_that_hangs_at_its_exit_is_ended(sqlite_template: Path, tmp_path: Path) -> None:
    with embedded(sqlite_template, tmp_path) as site:
        worker = site.start_worker("-c", "1", env={**HANGS, "TASKDB_WORKER_EXIT_SECONDS": "1"})
        worker.signal(signal.SIGTERM)

        assert worker.wait() == 0
        assert worker.output.count(FORCED) == 1, worker.tail()
        wait_until(lambda: not worker.children)
        assert stopped(site, worker.pid)


def test_a_worker_that_hangs_takes_as_long_as_it_may(sqlite_template: Path, tmp_path: Path) -> None:
    """Without a limit in sight it does hang: the other tests are about something."""
    with embedded(sqlite_template, tmp_path) as site:
        worker = site.start_worker("-c", "1", env={**HANGS, "TASKDB_WORKER_EXIT_SECONDS": "600"})
        worker.signal(signal.SIGTERM)
        wait_until(lambda: stopped(site, worker.pid))

        with pytest.raises(AssertionError, match="still running"):
            worker.wait(2)
        assert FORCED not in worker.output
        worker.kill_all()


def test_a_body_that_takes_longer_than_the_limit_ends_by_itself(
    sqlite_template: Path, tmp_path: Path
) -> None:
    with embedded(sqlite_template, tmp_path) as site:
        site.start_beat()
        worker = site.start_worker("-c", "1", env={**HANGS, "TASKDB_WORKER_EXIT_SECONDS": "0.1"})
        task_id = site.submit("ends.waits").id
        site.wait_for_run(task_id)
        worker.signal(signal.SIGTERM)
        worker.wait_for_output("Warm shutdown")
        threading.Timer(1.0, site.let_go, (task_id,)).start()

        assert worker.wait() == 0
        assert site.moves(task_id) == ["CREATED", "STARTED", "COMPLETED"]
        assert stopped(site, worker.pid)


def test_a_worker_that_an_error_ended_says_so(sqlite_template: Path, tmp_path: Path) -> None:
    gives_up = '{"broker_connection_retry_on_startup": false, "broker_connection_retry": false}'
    away = {"TASKDB_BROKER_URL": "redis://127.0.0.1:1/0", "TASKDB_CELERY": gives_up}
    with embedded(sqlite_template, tmp_path) as site:
        worker = site.start_worker("-c", "1", env=away, ready=False)

        assert worker.wait() == 1, worker.tail()
        assert "Shutting down" in worker.output


def stopped(site: Site, pid: int) -> bool:
    [row] = site.query("SELECT stopped_at FROM taskdb_worker WHERE pid = :pid", pid=pid)
    return row["stopped_at"] is not None


ENDS = """
import atexit, threading
from taskdb_worker.process.exit_limit import limit_exit
from tests.waiting import wait_until

over = threading.Event()
limit_exit(0.2, 7)
threading.Timer(0.8, over.set).start()
{rest}
"""
GOES_ON = "over.wait(); print('went on')"
HANGS_AT_EXIT = "atexit.register(threading.Event().wait)"
LEAVES_A_THREAD = "threading.Thread(target=threading.Event().wait).start()"
LEAVES_A_CHILD = """
from billiard import Process
child = Process(target=threading.Event().wait)
child.start()
print('child', child.pid)
"""


@pytest.mark.parametrize(
    ("rest", "exit_code"),
    [(GOES_ON, 0), (HANGS_AT_EXIT, 7), (LEAVES_A_THREAD, 7), (LEAVES_A_CHILD, 7)],
    ids=["goes on", "hangs", "thread", "child"],
)
def test_only_a_process_whose_main_thread_is_over_is_ended(
    processes: Processes, rest: str, exit_code: int
) -> None:
    process = processes.python("-c", ENDS.format(rest=rest))

    assert process.wait() == exit_code, process.tail()
    assert ("went on" in process.output) == (rest == GOES_ON)
    wait_until(lambda: not process.children)
