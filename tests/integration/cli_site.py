"""Runs of the command line in a folder of their own: in this process, or as processes."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.processes import Processes, RunningProcess

from taskdb.cli import main
from taskdb.client.taskdb import TaskDB
from taskdb.model.status import TaskStatus
from taskdb.settings.settings import Settings

REPOSITORY = Path(__file__).parents[2]
MODULE = "tests.integration.cli_tasks"


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.err)["error"]
        return error


class Site:
    """A folder, its settings, and the ways to run a command there."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], processes: Processes
    ) -> None:
        self.folder = folder
        self._capsys = capsys
        self._processes = processes
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        self.environment = {"TASKDB_TASK_MODULES": MODULE, "PYTHONPATH": path}

    def __call__(self, *words: str) -> Ran:
        """Run it in this process."""
        self._capsys.readouterr()
        with _process_as_before():
            code = main(list(words))
        written = self._capsys.readouterr()
        return Ran(code, written.out, written.err)

    def start(self, *words: str, **environment: str) -> RunningProcess:
        """Start it as a process."""
        given = {**self.environment, **environment}
        return self._processes.python("-m", "taskdb.cli", *words, env=given, cwd=self.folder)

    def submit(self, type_name: str, value: Any = None, **options: Any) -> str:
        """Create a task without the command line; answers its id."""
        with self.client() as taskdb:
            return taskdb.submit_task(type_name, value, **options).id

    def status(self, task_id: str) -> TaskStatus:
        with self.client() as taskdb:
            return taskdb.get_task(task_id).status

    @contextmanager
    def client(self) -> Iterator[TaskDB]:
        with TaskDB(Settings.load(data_dir=self.folder / ".taskdb")) as taskdb:
            yield taskdb


@pytest.fixture
def cli(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    processes: Processes,
) -> Site:
    """A site on the embedded default."""
    for name in [name for name in os.environ if name.startswith("TASKDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TASKDB_TASK_MODULES", MODULE)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return Site(tmp_path, capsys, processes)


@contextmanager
def _process_as_before() -> Iterator[None]:
    """The command line owns its process; give this one back to the tests."""
    root = logging.getLogger()
    handlers, level, path = root.handlers[:], root.level, sys.path[:]
    try:
        yield
    finally:
        root.handlers[:], sys.path[:] = handlers, path
        root.setLevel(level)
        structlog.reset_defaults()
