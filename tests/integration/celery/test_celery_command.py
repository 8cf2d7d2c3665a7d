"""Celery's own command as a console script, in the folder of a task module, without a server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

from taskdb.client.taskdb import TaskDB
from taskdb.model.status import TaskStatus
from taskdb.settings.settings import Settings

CELERY = Path(sys.executable).with_name("celery")
TASKS = """
from taskdb import task

@task("folder.echo")
def echo(ctx, input):
    import folder_words
    return [input, folder_words.WORD]
"""


class Folder:
    """A folder with a task module, and Celery's command in it."""

    def __init__(self, path: Path, processes: Processes) -> None:
        self.path = path
        (path / "folder_tasks.py").write_text(TASKS)
        # A body imports it late, when Celery has long imported the app.
        (path / "folder_words.py").write_text("WORD = 'late'")
        given = {"TASKDB_TASK_MODULES": "folder_tasks", "TASKDB_DATA_DIR": str(path / ".taskdb")}
        kept = {name: value for name, value in os.environ.items() if name[:7] != "TASKDB_"}
        self.env = {**kept, **given}
        self.client = TaskDB(Settings.load(data_dir=path / ".taskdb"))
        self._processes = processes
        self.taskdb("migrate")

    def start(self, *words: str) -> RunningProcess:
        return self._processes(
            CELERY, "-A", "taskdb_worker.app", *words, env=self.env, cwd=self.path
        )

    def celery(self, *words: str) -> str:
        return self._run([CELERY, "-A", "taskdb_worker.app", *words])

    def taskdb(self, *words: str) -> str:
        return self._run([CELERY.with_name("taskdb"), *words])

    def _run(self, command: list[str | Path]) -> str:
        done = subprocess.run(
            command,
            env=self.env, cwd=self.path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.stdout + done.stderr

    def close(self) -> None:
        self.client.close()


@pytest.fixture
def folder(tmp_path: Path, processes: Processes) -> Iterator[Folder]:
    with closing(Folder(tmp_path, processes)) as folder:
        yield folder


def test_a_worker_runs_the_task_module_and_obeys_remote_control(folder: Folder) -> None:
    worker = folder.start("worker", "-l", "INFO", "-c", "1", "-n", "w1@folder")
    worker.wait_for_output("w1@folder ready.")
    folder.taskdb("create-task", "folder.echo", "--input", "1")
    (task,) = folder.client.list_tasks()
    ended = folder.client.wait_task(task.id, timeout=20)
    assert (ended.status, ended.result) == (TaskStatus.COMPLETED, [1, "late"])
    assert "pong" in folder.celery("inspect", "ping")
    folder.celery("control", "shutdown")
    assert worker.wait() == 0


def test_beat_knows_the_task_module(folder: Folder) -> None:
    folder.taskdb("schedule", "add", "each second", "folder.echo", "--every", "1s")
    beat = folder.start("beat", "-S", "taskdb_beat:DatabaseScheduler")
    wait_until(lambda: [*folder.client.list_tasks(type="folder.echo")], 20, beat.tail)
    assert beat.terminate() == 0
