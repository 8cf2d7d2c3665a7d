"""The ground of a lane: its servers, which outlive a cell, and what a cell gets of them.

Lanes run cells at the same time, and a cell may kill a server: so each lane has its own. Between
two cells the database is made anew from a template and the broker is emptied.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row
from tests.chaos.cell import REFUSALS, Broker, Cell, Victim
from tests.processes import Processes, RunningProcess
from tests.servers import PostgreSQL, RabbitMQ, Redis, TcpProxy
from tests.servers.server import Server, new_folder
from tests.waiting import wait_until

from taskdb.store.engine.migrations.migrate import migrate

REPOSITORY = Path(__file__).parents[2]
LEASE_SECONDS = 2.0
_TEMPLATE = "template_chaos"
# Alembic keeps what it works on in a global.
_MIGRATING = threading.Lock()
_names = count(1)
_worker_names = count(1)

_ALIVE_OR_KILLED = frozenset({None, -signal.SIGKILL})

_SETTINGS: Mapping[str, object] = {
    "task_modules": "tests.chaos.tasks",
    "worker_lease_seconds": LEASE_SECONDS,
    "heartbeat_seconds": 0.4,
    "rescue_interval_seconds": 0.3,
    "reconcile_interval_seconds": 0.4,
    "reconcile_after_seconds": 1.0,
    "relay_interval_seconds": 0.1,
    "relay_grace_seconds": 0.5,
    "relay_lease_seconds": 1.5,
    "publish_breaker_seconds": 1.0,
    "worker_max_tasks_per_child": 0,
    "log_format": "json",
}


class Lane:
    """The servers of one thread; use it as a context manager, in that thread only."""

    def __init__(self) -> None:
        self._ending = ExitStack()
        self._brokers: dict[Broker, Server] = {}
        self.folder = new_folder("chaos")
        self.postgresql = PostgreSQL()

    def __enter__(self) -> Self:
        self._ending.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._ending.enter_context(closing(self.postgresql))
        self.postgresql.start()
        url = self.postgresql.create_database(_TEMPLATE)
        with _MIGRATING:
            migrate(url)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def broker(self, kind: Broker) -> Server:
        """The broker of this lane, started when the first cell asks for it."""
        if kind not in self._brokers:
            server: Server = Redis(durable=True) if kind is Broker.REDIS else RabbitMQ()
            self._ending.enter_context(closing(server))
            server.start()
            self._brokers[kind] = server
        return self._brokers[kind]

    @contextmanager
    def ground(self, cell: Cell) -> Iterator[Ground]:
        """A fresh database and an empty broker for one cell; its processes end with it."""
        name = f"chaos_{next(_names)}"
        folder = self.folder / name
        folder.mkdir()
        broker = self.broker(cell.broker)
        url = self.postgresql.create_database(name, _TEMPLATE)
        with ExitStack() as ending:
            ending.callback(shutil.rmtree, folder, ignore_errors=True)
            ending.callback(self.postgresql.drop_database, name)
            if cell.fault in REFUSALS:
                for setting in ("default_transaction_read_only", "statement_timeout"):
                    ending.callback(self.postgresql.configure, setting, None)
            message_url = _fresh(broker, name, ending)
            lines = {}
            for victim, server in (
                (Victim.DATABASE_LINE, self.postgresql),
                (Victim.BROKER_LINE, broker),
            ):
                if cell.victim is victim:
                    lines[victim] = ending.enter_context(TcpProxy(server.port))
            ground = Ground(folder, self.postgresql, broker, lines, url, message_url)
            ending.callback(ground.close)
            yield ground


def _fresh(broker: Server, name: str, ending: ExitStack) -> str:
    """The URL of an empty place on a broker."""
    if isinstance(broker, RabbitMQ):
        ending.callback(broker.delete_vhost, name)
        return broker.create_vhost(name)
    assert isinstance(broker, Redis)
    broker.flush(0)
    return broker.url


class Ground:
    """One cell's folder, database, broker and processes."""

    def __init__(
        self,
        folder: Path,
        postgresql: PostgreSQL,
        broker: Server,
        lines: Mapping[Victim, TcpProxy],
        url: str,
        message_url: str,
    ) -> None:
        self.folder = folder
        self.postgresql = postgresql
        self.broker = broker
        self.lines = lines
        self.place = message_url.rsplit("/", 1)[-1]
        """Of this cell on the broker: its virtual host, or the number of its database."""
        self.processes = Processes(folder)
        self._supervised: list[tuple[RunningProcess, Callable[[], RunningProcess]]] = []
        self._direct = url.replace("+psycopg", "")
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        through = {victim: str(line.port) for victim, line in lines.items()}
        database_port = through.get(Victim.DATABASE_LINE, str(postgresql.port))
        broker_port = through.get(Victim.BROKER_LINE, str(broker.port))
        given = {
            **_SETTINGS,
            "data_dir": folder,
            "database_url": url.replace(f":{postgresql.port}/", f":{database_port}/"),
            "broker_url": message_url.replace(f":{broker.port}/", f":{broker_port}/"),
        }
        self.env = {f"TASKDB_{name.upper()}": str(value) for name, value in given.items()}
        self.env["CHAOS_FOLDER"] = str(folder)

    # --- processes ----------------------------------------------------------------------------

    def start(self, role: str, *words: str, **env: str) -> RunningProcess:
        """Start a process of the cell."""
        command = ("-m", "tests.chaos.role", role, *words)
        return self.processes.python(*command, env={**self.env, **env}, cwd=REPOSITORY)

    def start_worker(self, **env: str) -> RunningProcess:
        name = f"w{next(_worker_names)}@chaos"
        worker = self.start("worker", "-n", name, "-c", "2", "--loglevel", "INFO", **env)
        self._supervised.append((worker, self.start_worker))
        return worker

    def start_beat(self, **env: str) -> RunningProcess:
        beat = self.start("beat", **env)
        self._supervised.append((beat, self.start_beat))
        return beat

    def let_end(self, process: RunningProcess) -> None:
        """Expect the end of a process that is told to: a cell puts another one in its place."""
        self._supervised = [one for one in self._supervised if one[0] is not process]

    def start_again(self) -> int:
        """Start the workers and beats again that ended by themselves, as a supervisor does.

        Answers how many had; those that were killed are the cell's to replace.
        """
        ended = [one for one in self._supervised if one[0].exit_code not in _ALIVE_OR_KILLED]
        self._supervised = [one for one in self._supervised if one not in ended]
        for _, start in ended:
            start()
        return len(ended)

    # --- files that the processes wait for, and leave -----------------------------------------

    def touch(self, name: str) -> None:
        (self.folder / name).touch()

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def wait_for(self, name: str, seconds: float = 40) -> None:
        wait_until(lambda: self.has(name), seconds, lambda: f"{name}: {self.tails()}")

    def wait_for_one_of(self, *names: str, seconds: float = 40) -> None:
        wait_until(lambda: any(map(self.has, names)), seconds, lambda: f"{names}: {self.tails()}")

    # --- what is there ------------------------------------------------------------------------

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Plain SQL, over a line that no cell breaks; asks again for as long as nobody answers."""
        deadline = time.monotonic() + 30
        while True:
            try:
                if self._connection is None:
                    self._connection = psycopg.connect(
                        self._direct,
                        autocommit=True,
                        row_factory=dict_row,
                        connect_timeout=2,
                        # No cell's limit is for who looks on.
                        options="-c statement_timeout=0",
                    )
                return self._connection.execute(sql.encode()).fetchall()
            except psycopg.OperationalError:
                self._connection = None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def change(self, sql: str) -> None:
        """Plain SQL that answers nothing."""
        with psycopg.connect(self._direct, autocommit=True) as connection:
            connection.execute(sql.encode())

    @property
    def database(self) -> str:
        """The name of this cell's database."""
        return self._direct.rsplit("/", 1)[-1]

    def count(self, where: str) -> int:
        return int(self.query(f"SELECT count(*) AS n FROM taskdb_task WHERE {where}")[0]["n"])

    def tails(self, lines: int = 15) -> str:
        """The end of what every process wrote."""
        return "\n".join(f"--- {one}\n{one.tail(lines)}" for one in self.processes.started)

    def close(self) -> None:
        """End all processes at once, with their children."""
        for process in self.processes.started:
            process.kill_all()
        if self._connection is not None:
            self._connection.close()
