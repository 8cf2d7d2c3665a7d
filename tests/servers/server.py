"""What every server of the tests can do, whatever it serves."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil

from tests.servers.leash import KEEP_USER, leashed
from tests.waiting import wait_until

HOST = "127.0.0.1"

_FOLDER_PREFIX = "taskdb-tests-"
# Below every system's ephemeral range: while a server is down, no outgoing connection may be given
# its port, or a client that tries again would end up talking to itself.
_PORTS = range(15_000, 32_000)


class ServerMissingError(Exception):
    """The program is not installed; the message says how to install it."""


class Server(ABC):
    """A server on a loopback port, owned by the process that starts it and ended with it.

    The port and the data stay the same over any number of stops, kills and starts. Every method
    returns when the change has happened: after ``start`` the server answers.
    """

    name: ClassVar[str]
    patience_seconds: ClassVar[float] = 30.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = new_folder(self.name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @abstractmethod
    def start(self) -> None:
        """Start the server on its data and wait until it answers."""

    def stop(self) -> None:
        """End it in order, as an operator would."""
        self.thaw()
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it at once, as a power cut would: SIGKILL to it and all its children."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it with its lines open: it accepts, through the kernel, and answers nothing."""
        self._signal_family(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on; no effect on one that runs."""
        self._signal_family(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its data. Safe to call at any time, more than once."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_started(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process is not None

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _launch(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        uid: int = KEEP_USER,
    ) -> None:
        """Start the command on a leash; its output goes to the log, its group is its own."""
        assert self._process is None, f"{self.name} runs already"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                leashed(command, death=self.death_signal, uid=uid),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd=self.folder,
                start_new_session=True,
            )

    def _wait_until_it_answers(self) -> None:
        wait_until(self._answers_or_is_over, self.patience_seconds, self._why_not)

    def _answers_or_is_over(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} ended by itself: {self._why_not()}")
        return self._answers()

    @abstractmethod
    def _answers(self) -> bool: ...

    def _why_not(self) -> str:
        return f"{self.name} on port {self.port} to answer; the end of its log:\n{self.log[-3000:]}"

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(sign)
        try:
            process.wait(self.patience_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.name} did not obey {sign.name}") from None

    def _family(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def _signal_family(self, sign: signal.Signals) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(sign)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise AssertionError("no free port found on the loopback address")


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def new_folder(name: str) -> Path:
    """A new folder that any user may enter, named so that a later run can remove it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-{name}-"))
    folder.chmod(0o755)
    return folder


def remove_folders_of_dead_runs() -> None:
    """Remove what killed runs left behind; their servers died with them, by their leash."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
