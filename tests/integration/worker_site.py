"""A site of the tests: one database, one broker, and the real processes that work on them."""

import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery import Celery
from sqlalchemy import text
from tests.integration import worker_tasks
from tests.processes import Processes, RunningProcess
from tests.servers import PostgreSQL, Redis
from tests.waiting import wait_until

from taskdb.celery.configuration import create_celery
from taskdb.client.taskdb import TaskDB
from taskdb.model.entity import TaskEntity
from taskdb.model.status import TaskStatus, allowed_pairs
from taskdb.settings.settings import Settings

REPOSITORY = Path(__file__).parents[2]
MODULE = "tests.integration.worker_tasks"
RUN_WORKER = (
    "import sys; from taskdb.settings.settings import Settings;"
    "from taskdb_worker.command import run_worker;"
    "sys.exit(run_worker(Settings.load(), sys.argv[1:]))"
)
RUN_BEAT = (
    "import sys; from taskdb.settings.settings import Settings;"
    "from taskdb_beat.command import run_beat; sys.exit(run_beat(Settings.load()))"
)
QUICK = {
    "relay_interval_seconds": 0.1,
    "relay_grace_seconds": 1.0,
    "relay_lease_seconds": 3.0,
    "heartbeat_seconds": 0.3,
    "worker_lease_seconds": 5.0,
    "rescue_interval_seconds": 0.3,
    "cancel_grace_seconds": 1.0,
    "unregistered_limit": 3,
    "unregistered_delay_seconds": 0.3,
    "payload_inline_bytes": 2_000,
    "payload_limit_bytes": 200_000,
}
COMBINATIONS = ["postgresql+redis", "embedded"]

_names = count(1)


class Run(NamedTuple):
    """One line that a body left."""

    task_id: str
    attempt: int
    pid: int
    parent_pid: int


class Site:
    """Settings, a client, and processes that share them."""

    def __init__(
        self, folder: Path, *, database_url: str, broker_url: str = "", **settings: Any
    ) -> None:
        self.folder = folder
        self.processes = Processes(folder)
        self.workers: list[RunningProcess] = []
        given = {
            "data_dir": folder,
            "database_url": database_url,
            "broker_url": broker_url,
            "task_modules": MODULE,
            **QUICK,
            **settings,
        }
        names = {f"TASKDB_{name.upper()}": str(value) for name, value in given.items()}
        self.settings = Settings.load(names)
        self.env = {**names, worker_tasks.FOLDER: str(folder)}
        self.client = TaskDB(self.settings)
        self._celery: Celery | None = None

    @property
    def is_embedded(self) -> bool:
        return not self.settings.broker_url

    @property
    def celery(self) -> Celery:
        """An app of a program that only looks: it has no task of its own."""
        if self._celery is None:
            self._celery = create_celery(self.settings)
            self._celery.taskdb_reader = self.client
        return self._celery

    # --- processes ----------------------------------------------------------------------------

    def start_worker(
        self, *words: str, via: str = "", env: Mapping[str, str] | None = None, ready: bool = True
    ) -> RunningProcess:
        """Start a worker, through Celery's command line or through ours."""
        via = via or ("run_worker" if self.is_embedded else "celery")
        name = f"w{next(_names)}@site"
        options = ("-n", name, "--loglevel", "INFO", *(words or ("-c", "2")))
        quiet = ("--without-mingle", "--without-gossip", "-O", "fair")
        command = {
            "celery": ("-m", "celery", "-A", "taskdb_worker.app", "worker", *quiet, *options),
            "run_worker": ("-c", RUN_WORKER, *options),
        }[via]
        worker = self.processes.python(*command, env={**self.env, **(env or {})}, cwd=REPOSITORY)
        self.workers.append(worker)
        if ready:
            worker.wait_for_output(f"{name} ready.")
        return worker

    def start_beat(self, *, ready: bool = True, **settings: str) -> RunningProcess:
        beat = self.processes.python("-c", RUN_BEAT, env={**self.env, **settings}, cwd=REPOSITORY)
        if ready:
            beat.wait_for_output("beat.started")
        return beat

    def close(self) -> None:
        """Stop everything in order; fails for what stays behind."""
        running = [one for one in self.processes.started if one.is_running]
        for process in running:
            process.signal(signal.SIGTERM)
        for process in running:
            process.wait()
        wait_until(
            lambda: not self.processes.children,
            describe=lambda: f"no process left: {self.processes.children}",
        )
        if self._celery is not None:
            self._celery.close()
        ordered = [worker.pid for worker in self.workers if worker in running]
        unstopped = self.query(
            "SELECT id, pid FROM taskdb_worker WHERE stopped_at IS NULL ORDER BY started_at"
        )
        self.client.close()
        assert not [row for row in unstopped if row["pid"] in ordered], unstopped

    # --- what happened ------------------------------------------------------------------------

    def submit(self, type: str, input: Any = None, **options: Any) -> TaskEntity:
        return self.client.submit_task(type, input, **options)

    def settled(self, task_id: str, timeout: float = 30) -> TaskEntity:
        """The task once it has settled; most tests wait here, so it looks oftener than a client."""
        wait_until(
            lambda: self.client.get_task(task_id).status.is_settled,
            timeout,
            lambda: f"the end of {self.client.get_task(task_id)}: {self.moves(task_id)}",
        )
        return self.client.get_task(task_id)

    def wait_for(self, task_id: str, *statuses: str, timeout: float = 20) -> TaskEntity:
        wait_until(
            lambda: self.client.get_task(task_id).status in statuses,
            timeout,
            lambda: f"{statuses} of {self.client.get_task(task_id)}: {self.moves(task_id)}",
        )
        return self.client.get_task(task_id)

    def moves(self, task_id: str) -> list[str]:
        """Every status the task had, in order, but for QUEUED: who marks it may lose the race.

        Remarks, which move nothing, are left out. Fails for a history that is not legal.
        """
        history = self.client.task_history(task_id)
        for before, after in pairwise(history):
            assert after.from_status is before.to_status, (before, after)
        moved = [event for event in history if event.from_status is not event.to_status]
        for event in moved[1:]:
            assert (event.from_status, event.to_status) in allowed_pairs(), event
        return [str(event.to_status) for event in moved if event.to_status != "QUEUED"]

    def alarms(self, task_id: str) -> int:
        """Events that someone must hear of."""
        bad = {TaskStatus.FAILED, TaskStatus.HALTED}
        return sum(
            event.to_status in bad and event.from_status is not event.to_status
            for event in self.client.task_history(task_id)
        )

    def runs(self, task_id: str | None = None) -> list[Run]:
        """What bodies noted, of one task or of all."""
        path = self.folder / "runs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        runs = [
            Run(one, int(attempt), int(pid), int(parent))
            for one, attempt, pid, parent in map(str.split, lines)
        ]
        return [run for run in runs if task_id in {None, run.task_id}]

    def wait_for_run(self, task_id: str, attempt: int = 1, timeout: float = 20) -> Run:
        """The run of this number, once its body has begun."""

        def found() -> list[Run]:
            return [run for run in self.runs(task_id) if run.attempt == attempt]

        describe = f"attempt {attempt} of {task_id}"
        return wait_until(found, timeout, lambda: f"{describe}: {self.moves(task_id)}")[0]

    def let_go(self, task_id: str) -> None:
        (self.folder / f"go-{task_id}").touch()

    def query(self, sql: str, **parameters: Any) -> list[Mapping[str, Any]]:
        """Plain SQL, as an operator would write it."""
        with self.client.store.database.transaction() as connection:
            result = connection.execute(text(sql), parameters)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []

    def insert(self, type: str, input_json: str = "null") -> str:
        """A row made by plain SQL, for the relay to find; answers its id."""
        rows = self.query(
            "INSERT INTO taskdb_task (type, queue, input) VALUES (:type, :queue, :input)"
            " RETURNING id",
            type=type,
            queue=self.settings.default_queue,
            input=input_json,
        )
        return str(rows[0]["id"])

    def publish(self, type: str, task_id: str, **options: Any) -> None:
        """A message as the relay sends it, with or without a row."""
        kept = {"queue": self.settings.default_queue, "retry": False, **options}
        # Celery's own verb: that of our app refuses what was not submitted.
        Celery.send_task(self.celery, type, task_id=task_id, ignore_result=True, **kept)

    def statuses(self) -> Counter[str]:
        rows = self.query("SELECT status, count(*) AS n FROM taskdb_task GROUP BY status")
        return Counter({str(row["status"]): int(row["n"]) for row in rows})


@contextmanager
def postgresql_and_redis(
    postgresql: PostgreSQL, redis: Redis, folder: Path, **settings: Any
) -> Iterator[Site]:
    """A site on the servers of the run, with a database of its own in each."""
    name = f"site_{os.getpid()}_{next(_names)}"
    number = redis.databases - 1 - next(_names) % 20
    redis.flush(number)
    url = postgresql.create_database(name, "template_taskdb")
    site = Site(folder, database_url=url, broker_url=redis.url_of(number), **settings)
    try:
        yield site
        site.close()
        wait_until(
            lambda: not postgresql.connections_to(name),
            describe=lambda: f"nobody connected: {postgresql.connections_to(name)}",
        )
    finally:
        site.processes.close()
        site.client.close()
        postgresql.drop_database(name)
        redis.flush(number)


@contextmanager
def embedded(template: Path, folder: Path, **settings: Any) -> Iterator[Site]:
    """A site without any server."""
    path = folder / "tasks.sqlite3"
    with closing(sqlite3.connect(template)) as source, closing(sqlite3.connect(path)) as to:
        source.backup(to)
    site = Site(folder, database_url=f"sqlite:///{path}", **settings)
    try:
        yield site
        site.close()
    finally:
        site.processes.close()
        site.client.close()


@contextmanager
def site_of(
    combination: str,
    request: pytest.FixtureRequest,
    factory: pytest.TempPathFactory,
    **settings: Any,
) -> Iterator[Site]:
    """A site on one of the combinations."""
    folder = factory.mktemp("site")
    if combination == "embedded":
        template: Path = request.getfixturevalue("sqlite_template")
        with embedded(template, folder, **settings) as site:
            yield site
        return
    postgresql: PostgreSQL = request.getfixturevalue("postgresql_server")
    redis: Redis = request.getfixturevalue("redis_server")
    with postgresql_and_redis(postgresql, redis, folder, **settings) as site:
        yield site
