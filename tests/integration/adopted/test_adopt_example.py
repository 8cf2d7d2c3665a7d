"""The example of an adopted project, run as its page says: each line of it, in its folder."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.adopted.adopted_site import REPOSITORY, tracked_store
from tests.processes import Processes, RunningProcess
from tests.servers import PostgreSQL, Redis
from tests.waiting import wait_until

from taskdb import Settings, TaskDB
from taskdb.model.entity import TaskEntity
from taskdb.model.status import TaskStatus as S

pytestmark = pytest.mark.long

FOLDER = REPOSITORY / "examples" / "adopted"
PROGRAMS = {
    "taskdb": (sys.executable, "-m", "taskdb.cli"),
    "celery": (sys.executable, "-m", "celery"),
    "python": (sys.executable,),
}


class Shell:
    """Runs lines as a terminal does, with the variables of this test for those of the page."""

    def __init__(self, processes: Processes, environment: dict[str, str]) -> None:
        self._processes = processes
        self._environment = environment

    def start(self, line: str) -> RunningProcess:
        program, *words = shlex.split(line)
        return self._processes(*PROGRAMS[program], *words, env=self._environment, cwd=FOLDER)

    def run(self, line: str) -> str:
        process = self.start(line)
        assert process.wait(60) == 0, (line, process.output)
        return process.output


@pytest.fixture
def shell(
    postgresql_server: PostgreSQL, redis_server: Redis, processes: Processes
) -> Iterator[tuple[Shell, str]]:
    for number in (20, 21):
        redis_server.flush(number)
    with tracked_store(postgresql_server) as url:
        environment = {
            "BROKER_URL": redis_server.url_of(20),
            "RESULT_URL": redis_server.url_of(21),
            "TASKDB_DATABASE_URL": url,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        yield Shell(processes, environment), url
        for process in processes.started:
            if process.is_running:
                process.terminate()


def lines_of_page() -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    return [
        [one for one in block.splitlines() if not one.startswith("export ")] for block in blocks
    ]


def test_the_page_runs_as_written(shell: tuple[Shell, str], tmp_path: Path) -> None:
    terminal, url = shell
    (first, second), calls = lines_of_page()
    terminal.run(first)
    worker = terminal.start(second)
    worker.wait_for_output(" ready.")
    order, everything, failed, weighed, doctor = calls
    assert "is on its way" in terminal.run(order)
    with TaskDB(Settings.load({"TASKDB_DATABASE_URL": url})) as taskdb:

        def found(name: str, count: int) -> list[TaskEntity]:
            tasks = list(taskdb.list_tasks(type=name, order="oldest"))
            is_there = len(tasks) == count and all(task.status.is_terminal for task in tasks)
            return tasks if is_there else []

        (label,) = wait_until(lambda: found("warehouse.label", 1), 20)
        assert label.status == "COMPLETED"
        assert label.input == {"args": [1300], "kwargs": {"password": "[redacted]"}}
        assert label.queue == "printer"
        (reserved,) = wait_until(lambda: found("stock.reserve", 1))
        assert reserved.result == {"bolt": 2}
        for task in wait_until(lambda: found("warehouse.weigh", 3)):
            events = taskdb.task_history(task.id)
            # What the child of an earlier attempt told last is a line that moves nothing.
            moves = [one.to_status for one in events if one.from_status is not one.to_status]
            assert (task.attempt, moves.count(S.ERRORED), moves[-1]) == (3, 2, S.COMPLETED)
        (charge,) = wait_until(lambda: found("warehouse.charge", 1))
        assert "4111" not in str(charge.input)
    for line, words in (
        (everything, ("warehouse.ship", "stock.reserve", "warehouse.total")),
        (failed, ("warehouse.charge", "the card was refused")),
        (weighed, ("COMPLETED",)),
        (doctor, ("nothing has drifted",)),
    ):
        said = terminal.run(line)
        assert all(word in said for word in words), said
    assert "audit: warehouse.charge failed" in worker.output
    shown = terminal.run(f"taskdb show {charge.code} --history")
    assert "only watched" in shown
    assert "STARTED  FAILED" in shown
    refused = terminal.start(f"taskdb retry {charge.code}")
    assert refused.wait() == 6
    assert "app.send_task('warehouse.charge'" in refused.output
    assert worker.terminate() == 0
