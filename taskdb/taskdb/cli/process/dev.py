"""`taskdb dev`: a worker and a beat in one terminal, which end together."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Annotated, Any

import typer
from rich.text import Text

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.given_client import given_client
from taskdb.cli.output import Output
from taskdb.cli.process.child import Child
from taskdb.cli.session import Session, with_session
from taskdb.cli.usage import wrong_usage
from taskdb.redaction.printable import printable

_STYLES = {"worker": "cyan", "beat": "magenta"}

Event = tuple[str, Any]
"""("signal", its number) or ("ended", the name of a child)."""


@with_session
def dev(
    session: Session,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", help="Processes of the worker.")
    ] = None,
) -> int:
    """Run a worker and a beat here, without any server unless the settings name one.

    Ctrl-C stops both when their running tasks have ended; a second Ctrl-C at once.
    """
    if given_client() is not None:
        advice = "run `flask taskdb worker` and `flask taskdb beat` in a terminal each"
        raise wrong_usage("dev", advice)
    words = ["--json"] if session.is_json else []
    words += ["--debug"] if session.debug else []
    pool = [] if concurrency is None else ["-c", str(concurrency)]
    if session.settings.is_embedded_store:
        # Its children find it migrated; a command that names a server does without Alembic.
        from taskdb.store.engine.migrations.migrate import migrate  # noqa: PLC0415

        migrate(session.settings.store_url)
    commands = {"worker": ["worker", *pool, *words], "beat": ["beat", *words]}
    return Supervisor(session.output).run(commands)


class Supervisor:
    """Runs children until a signal or the end of one of them, which ends all; restarts none."""

    def __init__(self, output: Output, environment: Mapping[str, str] | None = None) -> None:
        self._output = output
        self._environment = environment
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._writing = threading.Lock()
        self._children: dict[str, Child] = {}

    def run(self, commands: Mapping[str, Sequence[str]]) -> int:
        """Returns 130 after Ctrl-C, 0 after SIGTERM, 1 when a child ended by itself."""
        with _signals(self._events):
            try:
                self._start(commands)
                return self._watch()
            finally:
                for child in self._children.values():
                    child.kill()

    def _start(self, commands: Mapping[str, Sequence[str]]) -> None:
        for name, words in commands.items():
            self._children[name] = Child(
                name,
                words,
                hear=self._hear,
                ended=lambda ended: self._events.put(("ended", ended)),
                environment=self._environment,
            )

    def _watch(self) -> int:
        code: int | None = None
        running = set(self._children)
        while running:
            kind, what = self._events.get()
            if kind == "ended":
                running.discard(what)
            code = self._next(code, kind, what)
        return ExitCode.FAILED if code is None else code

    def _next(self, code: int | None, kind: str, what: Any) -> int:
        """Act on an event. Returns the exit code that counts from now on."""
        if kind == "ended" and code is not None:
            return code
        if kind == "ended":
            self._output.note(
                f"{what} ended by itself ({_how(self._children[what])}); stopping the rest",
                style="red",
            )
            self._terminate()
            return ExitCode.FAILED
        if code is not None:
            self._output.note("stopping at once")
            self._kill()
            return code
        self._output.note("stopping when the running tasks have ended; Ctrl-C again: at once")
        self._terminate()
        return ExitCode.INTERRUPTED if what == signal.SIGINT else ExitCode.OK

    def _terminate(self) -> None:
        for child in self._children.values():
            child.terminate()

    def _kill(self) -> None:
        for child in self._children.values():
            child.kill()

    def _hear(self, name: str, line: str) -> None:
        with self._writing:
            if self._output.is_json:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
            else:
                prefix = (f"{name:<6} | ", _STYLES.get(name, ""))
                text = Text.from_ansi(line) if self._output.is_live else Text(printable(line))
                self._output.line(Text.assemble(prefix, text))


@contextmanager
def _signals(events: SimpleQueue[Event]) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into events; the old handlers come back afterwards."""

    def put(number: int, _frame: object) -> None:
        events.put(("signal", number))

    before: dict[signal.Signals, Callable[..., Any] | int | None] = {
        number: signal.signal(number, put) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _how(child: Child) -> str:
    code = child.exit_code
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"
