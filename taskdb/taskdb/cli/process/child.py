"""A `taskdb` command as a child process: reads its lines, and notices its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

Hear = Callable[[str, str], None]
"""Called with the name of the child and a line that it wrote; by a thread of its own."""
Ended = Callable[[str], None]

_LAST_LINES_SECONDS = 2.0


class Child:
    """A running command, in a session of its own, that ends when this process does."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        hear: Hear,
        ended: Ended,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "taskdb.cli.process.leashed", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**(os.environ if environment is None else environment), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(hear,), daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, args=(ended,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    @property
    def is_left(self) -> bool:
        """It, or a process that it started, still runs."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def terminate(self) -> None:
        """Ask it to end in order; it ends its running tasks first."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and the processes that it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _watch(self, ended: Ended) -> None:
        self._process.wait()
        # Pool processes of a worker that was killed would wait for ever.
        self.kill()
        self._reader.join(_LAST_LINES_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()
        ended(self.name)

    def _read(self, hear: Hear) -> None:
        lines = self._process.stdout
        if lines is None:
            return
        with lines:
            for line in lines:
                hear(self.name, line.decode(errors="replace").rstrip("\r\n"))
