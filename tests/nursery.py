"""Python processes that begin with everything imported.

An interpreter that imports Celery and this project takes a second of processor time, and the tests
start a thousand. So one process, the nursery, does it once for each test runner and forks: what it
forks is a process like any other, with its own session, environment, output and end, and it goes
on as `python -m` or `python -c` does. What differs: it begins with more modules imported than it
asked for, and its command line is the nursery's. A process whose beginning matters is started
anew (`fresh=True` of `Processes.python`).

Each process has a keeper between itself and the nursery, which waits for it and says how it ended.
When the test runner dies its end of their socket closes, the nursery ends, and the kernel ends the
keepers and the processes.

Run as a script this is the nursery: ``python nursery.py SOCKET_FD``.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
MARK = "TEST_PROCESS_OF_TASKDB"  # not TASKDB_…, which is a setting
_NO_MARK = "0" * 32
_WORD = struct.Struct("i")
READ_AT_IMPORT = ("REMAP_SIGTERM", "AUTOSCALE_KEEPALIVE")
"""What Celery reads of the environment at its import: a nursery has one value of each."""
_LONGEST_ORDER = 180_000  # what a socket's buffer takes at once, with room to spare

_MODULES = [
    "aiosmtpd",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "celery.concurrency.thread",
    "celery.concurrency.solo",
    "celery.events.state",
    "celery.worker.autoscale",
    "celery.worker.consumer",
    "celery.worker.pidbox",
    "kombu.transport.pyamqp",
    "kombu.transport.redis",
    "logging.config",
    "psycopg",
    "redis",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "sqlalchemy.orm",
    "taskdb",
    "taskdb.cli.app",
    "taskdb.celery.embedded.broker",
    "taskdb.celery.redis.transport",
    "taskdb_beat.command",
    "taskdb_worker.app",
    "taskdb_worker.command",
    "taskdb_worker.process.prefork",
]


class Born:
    """What stands for `subprocess.Popen`: a process that the nursery made."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self._status = status
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        with self._lock:
            if self._code is None:
                try:
                    word = os.read(self._status, _WORD.size)
                except BlockingIOError:
                    return None
                os.close(self._status)
                # Without a word the keeper was killed, and the process with it.
                self._code = _WORD.unpack(word)[0] if word else -signal.SIGKILL
            return self._code

    def wait(self, timeout: float) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        if self.poll() is None:
            end = select.poll()
            end.register(self._status, select.POLLIN)
            end.poll(timeout * 1_000)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return code

    def send_signal(self, sign: int) -> None:
        """Send a signal, unless it is over."""
        if self.poll() is None:
            try:
                os.kill(self.pid, sign)
            except ProcessLookupError:
                # Over, and its keeper is about to say so.
                return


class Nursery:
    """The test runner's side; any thread may use it."""

    def __init__(self, read_at_import: Mapping[str, str]) -> None:
        self._given = {**os.environ, **read_at_import}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env={**self._given, "PYTHONUNBUFFERED": "1", MARK: _NO_MARK},
                cwd=REPOSITORY,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def close(self) -> None:
        """End it, and with it everything that it made."""
        self._socket.close()
        self._process.wait()

    def bear(
        self, arguments: list[str], *, env: Mapping[str, str], cwd: Path, output: Path
    ) -> Born | None:
        """Start `python ARGUMENTS`; None for one that only a new interpreter can run."""
        if not self._is_fit(arguments, env):
            return None
        order = json.dumps(
            {"arguments": arguments, "env": dict(env), "cwd": str(cwd), "output": str(output)}
        ).encode()
        if len(order) > _LONGEST_ORDER:
            return None
        status, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._socket, [order], [theirs])
        finally:
            os.close(theirs)
        word = os.read(status, _WORD.size)
        if not word:
            raise RuntimeError("the nursery of test processes has ended; see its error above")
        os.set_blocking(status, False)
        return Born(_WORD.unpack(word)[0], status)

    def _is_fit(self, arguments: list[str], env: Mapping[str, str]) -> bool:
        """Tell whether nothing is asked of the interpreter itself, or of an import."""
        asked = {one for one in env if one.startswith("PYTHON")}
        asked -= {"PYTHONPATH", "PYTHONUNBUFFERED"}
        same = all(env.get(one) == self._given.get(one) for one in [*asked, *READ_AT_IMPORT])
        return same and len(arguments) > 1 and arguments[0] in {"-m", "-c"}


# --- the nursery ----------------------------------------------------------------------------------


def _serve(orders: socket.socket) -> Callable[[], object]:
    """Fork for each order; returns only in a process that was ordered, with what it has to do."""
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, _LONGEST_ORDER, 1)
        if not order:
            # The runner is over.
            os._exit(0)
        (status,) = descriptors
        if os.fork() == 0:
            # The keeper. The nursery does not wait for it: the kernel does.
            orders.close()
            if (run := _keep(json.loads(order), status)) is not None:
                return run
        os.close(status)


def _keep(order: dict[str, Any], status: int) -> Callable[[], object] | None:
    """In a keeper: make the process, wait for it, and end; in the process: its work."""
    nursery = os.getppid()
    _die_with_parent(nursery)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        _die_with_parent(keeper)
        os.close(status)
        return _begin(order)
    os.write(status, _WORD.pack(pid))
    _, ended = os.waitpid(pid, 0)
    os.write(status, _WORD.pack(os.waitstatus_to_exitcode(ended)))
    os._exit(0)


def _begin(order: dict[str, Any]) -> Callable[[], object]:
    """Become the process that was ordered, up to its first line."""
    os.setsid()
    env, cwd = order["env"], order["cwd"]
    os.chdir(cwd)
    output = os.open(order["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    _show_mark(env[MARK])
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    way, what, *rest = order["arguments"]
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    # As Python does: the folder, or for `-c` wherever it will be.
    sys.path[:1] = [cwd if way == "-m" else "", *paths]
    # A finder of a folder keeps what it saw there; files may have come since.
    importlib.invalidate_caches()
    sys.argv = [what if way == "-m" else "-c", *rest]
    if way == "-m":
        return partial(runpy.run_module, what, run_name="__main__", alter_sys=True)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    return partial(exec, compile(what, "<string>", "exec"), vars(main))


def _show_mark(mark: str) -> None:
    """Write the mark where /proc shows the environment that a process began with."""
    fields = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()
    first, last = int(fields[47]), int(fields[48])  # env_start and env_end of proc(5)
    place = ctypes.string_at(first, last - first).find(f"{MARK}={_NO_MARK}".encode())
    ctypes.memmove(first + place + len(MARK) + 1, mark.encode(), len(_NO_MARK))


def _die_with_parent(parent: int) -> None:
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _main() -> Callable[[], object]:
    # A test run that a shell put into the background ignores Ctrl-C, and would hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in _MODULES:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise RuntimeError(f"an import has started a thread: {threading.enumerate()}")
    # Keepers leave no zombies.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is here for good need not be looked at, and so not be copied, by any child.
    gc.collect()
    gc.freeze()
    with closing(socket.socket(fileno=int(sys.argv[1]))) as orders:
        return _serve(orders)


if __name__ == "__main__":
    # The last line, so that Python itself ends the process: its threads, its exit code.
    _main()()
