"""How each victim is broken, and mended."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from tests.chaos.cell import Cell, Fault, Victim
from tests.chaos.ground import LEASE_SECONDS, Ground
from tests.processes import RunningProcess
from tests.servers import RabbitMQ, Server, TcpProxy

STOP_SECONDS = LEASE_SECONDS + 1
"""Longer than the lease: who is stopped that long is taken for dead."""
_READ_ONLY, _TIMEOUT = "default_transaction_read_only", "300ms"
AWAY_SECONDS = 0.8
"""How long a killed server, or a cut line, stays away."""


@dataclass
class Cast:
    """The processes of a cell, as they stand at its moment."""

    submitter: RunningProcess
    worker: RunningProcess
    beat: RunningProcess
    child: int | None


class Breaking:
    """The fault of one cell: `begin`, and after a while `end`, which mends what can be mended."""

    def __init__(self, cell: Cell, ground: Ground, cast: Cast) -> None:
        self._cell = cell
        self._ground = ground
        self._cast = cast
        self._stopped: list[int] = []
        self._locks: psycopg.Connection[tuple[object, ...]] | None = None

    def begin(self) -> None:
        """Break it; holds on return."""
        {
            Fault.KILL: self._kill,
            Fault.WIPE: self._kill,
            Fault.TERM: self._terminate,
            Fault.STOP: self._stop,
            Fault.CUT: self._cut,
            Fault.FAILOVER: self._become_read_only,
            Fault.LOCK: self._lock,
            Fault.RESTORE: self._kill,
        }[self._cell.fault]()

    @property
    def seconds(self) -> float:
        """How long it stays broken."""
        if self._cell.fault is Fault.STOP:
            return STOP_SECONDS
        return AWAY_SECONDS if self._server or self._line else 0.0

    def end(self) -> None:
        """Mend it: servers come back with what they had, processes go on or are replaced."""
        if self._cell.fault is Fault.FAILOVER:
            self._promote()
            return
        if self._cell.fault is Fault.LOCK:
            self._unlock()
            return
        if self._line:
            self._line.thaw() if self._cell.fault is Fault.STOP else self._line.restore()
        elif self._server and self._cell.fault is Fault.STOP:
            self._server.thaw()
        elif self._server:
            if self._cell.fault is Fault.WIPE:
                self._forget_messages()
            if self._cell.fault is Fault.RESTORE:
                self._ground.postgresql.move_to_new_cluster()
            self._server.start()
            if self._cell.fault is Fault.WIPE and isinstance(self._server, RabbitMQ):
                # The definitions of a broker are its operator's to bring back, unlike the messages.
                self._server.create_vhost(self._ground.place)
        for pid in self._stopped:
            _signal(pid, signal.SIGCONT)

    def replace(self) -> None:
        """Start what a supervisor, or another machine, would put in the victim's place."""
        if self._cell.victim in {Victim.MAIN, Victim.WORKER}:
            self._ground.start_worker()
        elif self._cell.victim is Victim.BEAT:
            self._ground.start_beat()

    # --- how ----------------------------------------------------------------------------------

    def _kill(self) -> None:
        if self._server:
            self._server.kill()
        for pid in self._pids():
            _signal(pid, signal.SIGKILL)

    def _terminate(self) -> None:
        """As systemd and supervisor stop a service: its children hear it too."""
        self._ground.let_end(self._cast.worker)
        os.killpg(self._cast.worker.pid, signal.SIGTERM)

    def _stop(self) -> None:
        if self._line:
            self._line.freeze()
        elif self._server:
            self._server.freeze()
        else:
            self._stopped = self._pids()
            for pid in self._stopped:
                _signal(pid, signal.SIGSTOP)

    def _cut(self) -> None:
        assert self._line is not None
        self._line.refuse()
        self._line.cut()

    def _become_read_only(self) -> None:
        """What a failover does to connections that live through it."""
        self._ground.postgresql.configure(_READ_ONLY, "on")

    def _promote(self) -> None:
        """New connections reach a server that writes; those that there are stay where they are."""
        database = self._ground.database
        with self._ground.postgresql.unhindered(database) as connection:
            connection.execute(f"ALTER DATABASE {database} SET {_READ_ONLY} = off".encode())

    def _lock(self) -> None:
        """Someone changes every open task, for longer than the server lets a statement take."""
        self._ground.postgresql.configure("statement_timeout", _TIMEOUT)
        self._locks = self._ground.postgresql.unhindered(self._ground.database)
        self._locks.execute("BEGIN")
        self._locks.execute(
            "SELECT id FROM taskdb_task WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELED')"
            " ORDER BY id FOR UPDATE"
        )

    def _unlock(self) -> None:
        assert self._locks is not None
        self._locks.close()
        self._ground.postgresql.configure("statement_timeout", None)

    @property
    def _line(self) -> TcpProxy | None:
        return self._ground.lines.get(self._cell.victim)

    @property
    def _server(self) -> Server | None:
        servers = {Victim.BROKER: self._ground.broker, Victim.DATABASE: self._ground.postgresql}
        return servers.get(self._cell.victim)

    def _pids(self) -> list[int]:
        cast = self._cast
        match self._cell.victim:
            case Victim.SUBMITTER:
                return [cast.submitter.pid]
            case Victim.CHILD:
                assert cast.child is not None, "no child stands at this moment"
                return [cast.child]
            case Victim.MAIN:
                return [cast.worker.pid]
            case Victim.WORKER:
                return [cast.worker.pid, *(child.pid for child in cast.worker.children)]
            case Victim.BEAT:
                return [cast.beat.pid]
        return []

    def _forget_messages(self) -> None:
        """Take the disk of a broker that is down away from it."""
        broker = self._ground.broker
        names = ["data"] if isinstance(broker, RabbitMQ) else ["appendonly.aof", "dump.rdb"]
        for name in names:
            path = broker.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _signal(pid: int, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, sign)
