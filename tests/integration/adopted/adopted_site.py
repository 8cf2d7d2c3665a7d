"""A Celery project from before on real servers: workers, and clients that try everything."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.processes import Processes, RunningProcess
from tests.servers import PostgreSQL, Redis
from tests.waiting import wait_until

from taskdb.client.taskdb import TaskDB
from taskdb.model.entity import TaskEntity
from taskdb.settings.settings import Settings

REPOSITORY = Path(__file__).parents[3]
APP = "tests.integration.adopted.adopted_app"
CLIENT = f"from {APP} import main; main()"
QUEUES = "celery,other,third"

_names = count(1)


class Adopted:
    """One project: a broker, a result backend, and where `track` is asked for, a store."""

    def __init__(self, folder: Path, redis: Redis, *, broker: str = "", store: str = "") -> None:
        self.folder = folder
        self.processes = Processes(folder)
        number = 22 + next(_names) % 20
        redis.flush(number)
        url = redis.url_of(number)
        self.env = {
            "ADOPTED_BROKER": broker or url,
            "ADOPTED_BACKEND": url,
            "ADOPTED_NOTES": url,
            # Celery refuses pickle to root otherwise; the project takes it as many do.
            "C_FORCE_ROOT": "1",
        }
        self.client: TaskDB | None = None
        if store:
            given = {
                "TASKDB_DATABASE_URL": store,
                "TASKDB_HEARTBEAT_SECONDS": "0.3",
                "TASKDB_WORKER_LEASE_SECONDS": "2",
            }
            self.env |= {"ADOPTED_TRACK": "1", **given}
            self.client = TaskDB(Settings.load(given))

    @property
    def taskdb(self) -> TaskDB:
        assert self.client is not None
        return self.client

    def start_worker(
        self, *words: str, queues: str = QUEUES, ready: bool = True, **environment: str
    ) -> RunningProcess:
        name = f"a{next(_names)}@before"
        quiet = ("--without-mingle", "--without-gossip", "--loglevel", "INFO")
        options = ("-n", name, "-Q", queues, *quiet, *(words or ("-c", "3")))
        worker = self.processes.python(
            *("-m", "celery", "-A", APP, "worker", *options),
            env={**self.env, **environment},
            cwd=REPOSITORY,
        )
        if ready:
            worker.wait_for_output(f"{name} ready.")
        return worker

    def start_client(self, names: Sequence[str] = ()) -> RunningProcess:
        return self.processes.python("-c", CLIENT, *names, env=self.env, cwd=REPOSITORY)

    def run(self, code: str, **environment: str) -> RunningProcess:
        """A program that has the app at hand."""
        program = f"from {APP} import *\n{code}"
        return self.processes.python("-c", program, env={**self.env, **environment}, cwd=REPOSITORY)

    def tasks(self, **criteria: Any) -> list[TaskEntity]:
        return list(self.taskdb.list_tasks(limit=1_000, order="oldest", **criteria))

    def task(self, type_name: str, *statuses: str, timeout: float = 15) -> TaskEntity:
        """The only task of a type, once it has one of these statuses."""

        def found() -> list[TaskEntity]:
            tasks = self.tasks(type=f"adopted.{type_name}")
            return [task for task in tasks if not statuses or task.status in statuses]

        def described() -> str:
            known = ", ".join(f"{task.type} {task.status}" for task in self.tasks())
            return f"{type_name} to be {statuses}: {known}"

        return wait_until(found, timeout, described)[0]

    def history(self, task: TaskEntity) -> list[str]:
        return [str(event.to_status) for event in self.taskdb.task_history(task.id)]

    def close(self) -> None:
        for process in self.processes.started:
            if process.is_running:
                process.terminate()
        for process in self.processes.started:
            wait_until(lambda p=process: not p.children, describe=f"no child of {process} left")
        if self.client is not None:
            self.client.close()


def outcomes(clients: Sequence[RunningProcess], timeout: float = 60) -> dict[str, Any]:
    """What the clients say of everything they tried."""
    found: dict[str, Any] = {}
    for client in clients:
        assert client.wait(timeout) == 0, client.output
        lines = [line for line in client.output.splitlines() if line.startswith('["')]
        # The number of a job tells only how many its pool has had.
        found |= dict(json.loads(re.sub(r"Job: \d+", "Job: n", line)) for line in lines)
    return found


@contextmanager
def tracked_store(postgresql: PostgreSQL) -> Iterator[str]:
    """A migrated database for one project; fails where somebody stays connected."""
    name = f"adopted_{os.getpid()}_{next(_names)}"
    url = postgresql.create_database(name, "template_taskdb")
    try:
        yield url
        wait_until(
            lambda: not postgresql.connections_to(name),
            describe=lambda: f"nobody connected: {postgresql.connections_to(name)}",
        )
    finally:
        postgresql.drop_database(name)


@contextmanager
def project(folder: Path, redis: Redis, *, broker: str = "", store: str = "") -> Iterator[Adopted]:
    """A project whose processes are ended with it."""
    adopted = Adopted(folder, redis, broker=broker, store=store)
    try:
        yield adopted
        adopted.close()
    finally:
        adopted.processes.close()
        if adopted.client is not None:
            adopted.client.close()
