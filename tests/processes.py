"""Processes of a test: started, watched, and ended with all their children."""

import atexit
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from tests.nursery import MARK, READ_AT_IMPORT, Nursery
from tests.servers.leash import leashed
from tests.waiting import wait_until


class RunningProcess:
    """A process in a group of its own, its output in a file, its children known by a mark."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        self.command = list(command)
        self._output = output
        output.touch()
        self._mark = uuid.uuid4().hex
        whole = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {}), MARK: self._mark}
        born = None
        if nursery is not None:
            words = self.command[1:]
            born = nursery.bear(words, env=whole, cwd=cwd or Path.cwd(), output=output)
        self._process = born or self._start(whole, cwd)

    def _start(self, env: Mapping[str, str], cwd: Path | None) -> "subprocess.Popen[bytes]":
        with self._output.open("ab") as file:
            return subprocess.Popen(
                leashed(self.command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """What it and its children wrote so far, standard output and error together."""
        return self._output.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    @property
    def children(self) -> list[psutil.Process]:
        """Its living descendants, found even after it died and even if they left its group."""
        return [one for one in marked(self._mark) if one.pid != self.pid]

    def wait(self, timeout: float = 30.0) -> int:
        """Wait until it ends; its exit code."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {timeout:g} s: {self}\n{self.tail()}"
            ) from None

    def wait_for_output(self, text: str, timeout: float = 30.0) -> None:
        """Wait until it has written ``text``; fails at once if it ends without."""

        def written() -> bool:
            over = not self.is_running
            found = text in self.output
            assert found or not over, f"{self} ended without writing {text!r}:\n{self.tail()}"
            return found

        wait_until(written, timeout, lambda: f"{text!r} in the output of {self}:\n{self.tail()}")

    def signal(self, sign: signal.Signals) -> None:
        """Send a signal to the process itself, not to its children; none if it is over."""
        self._process.send_signal(sign)

    def terminate(self, timeout: float = 30.0) -> int:
        """SIGTERM to the process itself, and wait; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> int:
        """SIGKILL to the process itself, and wait; its children see to themselves."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def kill_all(self) -> None:
        """SIGKILL to the process and every descendant, as a power cut would."""
        self.kill()
        for child in self.children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        wait_until(lambda: not self.children, describe=f"the children of {self} to die")

    def tail(self, lines: int = 60) -> str:
        """The end of the output."""
        return "\n".join(self.output.splitlines()[-lines:])

    def __str__(self) -> str:
        return f"process {self.pid} ({' '.join(self.command)})"

    @property
    def mark(self) -> str:
        """What its environment and that of its descendants has under `MARK`."""
        return self._mark


def marked(*marks: str) -> list[psutil.Process]:
    """The living processes whose environment began with one of these marks."""
    sought = [f"{MARK}={mark}".encode() for mark in marks]
    found = []
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):
            # That of a zombie is empty.
            environment = _environment(pid)
            if any(one in environment for one in sought):
                found.append(psutil.Process(pid))
    return found


def _environment(pid: int) -> bytes:
    if sys.platform == "linux":
        # psutil takes five times as long, and this is read of each process after each test.
        return Path(f"/proc/{pid}/environ").read_bytes()
    return "\0".join(f"{n}={v}" for n, v in psutil.Process(pid).environ().items()).encode()


class Processes:
    """Starts processes; at the end of the test none of them is left."""

    grace_seconds = 5.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started: list[RunningProcess] = []

    def __call__(
        self,
        *command: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> RunningProcess:
        """Start a command; ``env`` is added to the environment of the tests."""
        return self._add(command, env, cwd, None)

    def _add(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None,
        cwd: Path | None,
        nursery: Nursery | None,
    ) -> RunningProcess:
        output = self._folder / f"process-{len(self.started) + 1}.log"
        words = [str(word) for word in command]
        process = RunningProcess(words, output=output, env=env, cwd=cwd, nursery=nursery)
        self.started.append(process)
        return process

    def python(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        fresh: bool = False,
    ) -> RunningProcess:
        """Start this interpreter, as in ``python("-m", "celery", …)``.

        It comes out of the nursery unless it must be ``fresh``: see there for what differs.
        """
        given = {**os.environ, **(env or {})}
        read = tuple((name, given[name]) for name in READ_AT_IMPORT if name in given)
        nursery = None if fresh or sys.platform != "linux" else _nursery(read)
        return self._add([sys.executable, *arguments], env, cwd, nursery)

    def close(self) -> list[str]:
        """End everything; returns a line for each child that outlived its parent.

        A process that still runs is asked by SIGTERM, and after ``grace_seconds`` killed with its
        children, which is no fault. A child of one that ended by itself is given as long.
        """
        running = [process for process in self.started if process.is_running]
        for process in running:
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(self.grace_seconds)
            except AssertionError:
                process.kill_all()
        with suppress(AssertionError):
            wait_until(lambda: not self.children, self.grace_seconds)
        survivors = []
        for process in self.started if self.children else []:
            survivors += [f"{child} outlived {process}" for child in process.children]
            process.kill_all()
        return survivors

    @property
    def children(self) -> list[psutil.Process]:
        """The living descendants of those that have ended, and what still runs itself."""
        return marked(*(process.mark for process in self.started)) if self.started else []


@cache
def _nursery(read_at_import: tuple[tuple[str, str], ...]) -> Nursery:
    nursery = Nursery(dict(read_at_import))
    atexit.register(nursery.close)
    return nursery
