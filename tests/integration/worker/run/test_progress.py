"""Progress is written beside the body, which never waits for it."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.waiting import wait_until

from taskdb import Settings, TaskContext, TaskDB, TaskStatus, task
from taskdb.errors import DatabaseUnreachable
from taskdb.model.entity import TaskEntity
from taskdb.types.registry import Registry
from taskdb_worker.run.execution import Execution

FAST_SECONDS = 1.0
"""A report takes microseconds; the database of the test would make it wait for 5 seconds."""


class Site:
    """A client on a SQLite file, and an execution in this process."""

    def __init__(self, taskdb: TaskDB, file: Path) -> None:
        self.taskdb = taskdb
        self.file = file

    def run(self, body: Callable[[TaskContext], Any]) -> TaskEntity:
        registry = self.taskdb.types.registry
        task("a", registry=registry)(body)
        entity = self.taskdb.submit_task("a")
        execution, task_type, token = Execution(self.taskdb, "w-1"), registry.get("a"), uuid4().hex
        claim = execution.claim(entity.id, task_type, token)
        execution.run(entity.id, task_type, claim, token)
        return entity.refresh()


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    settings = Settings.load(database_url=f"{sqlite_url}?timeout=5", data_dir=tmp_path)
    with TaskDB(settings, registry=Registry()) as taskdb:
        yield Site(taskdb, Path(sqlite_url.removeprefix("sqlite:///")))


def test_a_body_with_an_open_transaction_on_the_same_file_does_not_wait(site: Site) -> None:
    waited = []

    def body(ctx: TaskContext) -> None:
        with closing(sqlite3.connect(site.file, isolation_level=None)) as own:
            own.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            for number in range(3):
                ctx.progress(number, 3, "written soon")
            waited.append(time.monotonic() - began)
            own.execute("COMMIT")

    done = site.run(body)
    assert done.status is TaskStatus.COMPLETED
    assert done.progress is not None and done.progress.current == 2
    assert waited[0] < FAST_SECONDS


def test_the_newest_report_reaches_the_row_while_the_body_runs(site: Site) -> None:
    seen = []

    def body(ctx: TaskContext) -> None:
        for number in range(100):
            ctx.progress(number, 100)

        def reported() -> bool:
            found = site.taskdb.get_task(ctx.task_id)
            seen.append((found.status, found.progress and found.progress.current))
            return seen[-1] == (TaskStatus.PROCESSING, 99)

        wait_until(reported)

    assert site.run(body).status is TaskStatus.COMPLETED


def test_a_locked_file_names_the_session_of_the_caller(tmp_path: Path, site: Site) -> None:
    url = f"sqlite:///{site.file}?timeout=0.05"
    settings = Settings.load(database_url=url, data_dir=tmp_path)
    task("b", registry=(registry := Registry()))(lambda: None)
    with (
        TaskDB(settings, registry=registry) as other,
        closing(sqlite3.connect(site.file, isolation_level=None)) as own,
    ):
        own.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnreachable, match="a session of your own code in this process"):
            other.submit_task("b")
