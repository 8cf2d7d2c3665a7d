"""`taskdb demo`: worker, beat and five tasks in a folder of their own, without any server."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from taskdb.cli.demo.expectation import differences
from taskdb.cli.demo.plan import (
    BAD_ROWS,
    PARTS,
    ROWS,
    database_of,
    demo_environment,
    demo_settings,
    expectations,
    split_database_of,
)
from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output, rich_table
from taskdb.cli.process.background import WorkerAndBeat
from taskdb.cli.session import Session, with_session
from taskdb.cli.task.presenter import EVENT, TASK, one_line, task_json
from taskdb.cli.task.tree import Branch, read_tree, tree_json
from taskdb.cli.task.tree_view import bar_text, counts_text, print_tree, tree_lines
from taskdb.cli.task.watch import fitting
from taskdb.cli.usage import wrong_usage
from taskdb.client.taskdb import TaskDB
from taskdb.logging import configure_logging
from taskdb.model.entity import TaskEntity

LIMIT_SECONDS = 60.0
LOOK_SECONDS = 0.1
SHOWN_BAD_ROWS = 6


@with_session
def demo(
    session: Session,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Use this folder and keep it.")
    ] = None,
) -> int:
    """Run a demonstration: five tasks, a worker and a beat in a temporary folder, without a server.

    One task fans out into parts. Exits 0 only if every task ended as expected and nothing runs.
    """
    with _ended_by_sigterm(), _folder(keep) as folder:
        settings = demo_settings(folder)
        configure_logging(settings, level="DEBUG" if session.debug else "CRITICAL")
        with TaskDB(settings) as taskdb:
            return Demonstration(session.output, taskdb, folder).play()


class Demonstration:
    """One run: shows the tasks while they run, then compares them with the plan."""

    def __init__(self, output: Output, taskdb: TaskDB, folder: Path) -> None:
        self._output = output
        self._taskdb = taskdb
        self._folder = folder
        self._expected = expectations(folder)

    def play(self) -> int:
        """Play the demonstration. Returns the exit code."""
        began = time.monotonic()
        with WorkerAndBeat(demo_environment(os.environ, self._folder)) as processes:
            self._say(f"worker and beat start in {self._folder}, on SQLite, without any server\n")
            submit = self._taskdb.submit_task
            submitted = [submit(one.type, one.input, delay=one.delay) for one in self._expected]
            tasks = self._follow(processes, submitted)
            self._print_end(tasks)
            self._say("\nworker and beat stop …")
            problems = [*self._compare(tasks), *processes.stop()]
            return self._verdict(processes, tasks, problems, time.monotonic() - began)

    def _follow(
        self, processes: WorkerAndBeat, submitted: Sequence[TaskEntity]
    ) -> list[TaskEntity]:
        """Show the tasks until all have settled. Returns them as they are then."""
        deadline = time.monotonic() + LIMIT_SECONDS
        with self._view() as view:
            while True:
                tasks = [self._taskdb.get_task(one.id) for one in submitted]
                view.show(tasks, self._split_tree(tasks))
                settled = all(task.status.is_settled for task in tasks)
                if settled or processes.has_lost_one or time.monotonic() > deadline:
                    return tasks
                time.sleep(LOOK_SECONDS)

    @contextmanager
    def _view(self) -> Iterator[View]:
        if not self._output.is_live:
            yield View(self._output)
            return
        with Live(console=self._output.out, auto_refresh=False, transient=True) as live:
            yield View(self._output, live)

    def _print_end(self, tasks: Sequence[TaskEntity]) -> None:
        if self._output.is_json:
            return
        self._say("")
        TASK.print_table(self._output, tasks)
        self._print_bad_rows(tasks[0])
        self._say(f"\nThe same file, split into {PARTS} parts that may run side by side:")
        print_tree(self._output, self._split_tree(tasks))
        self._say("\nThe history of the mail that failed twice:\n")
        EVENT.print_table(self._output, self._taskdb.task_history(tasks[1].id))

    def _split_tree(self, tasks: Sequence[TaskEntity]) -> Branch:
        return read_tree(self._taskdb, tasks[-1])

    def _print_bad_rows(self, task: TaskEntity) -> None:
        result = task.result or {}
        errors = result.get("errors", [])
        self._say(
            f"\nThe import read {result.get('read')} rows, kept {result.get('imported')} and "
            f"rejected {result.get('rejected')}:"
        )
        for error in errors[:SHOWN_BAD_ROWS]:
            self._say(f"  line {error['line']}: {error['reason']}")
        if len(errors) > SHOWN_BAD_ROWS:
            self._say(f"  … and {len(errors) - SHOWN_BAD_ROWS} more")

    def _compare(self, tasks: Sequence[TaskEntity]) -> list[str]:
        found = []
        for expected, task in zip(self._expected, tasks, strict=True):
            found += differences(expected, task, self._taskdb.trees.counts(task.id))
        for place, title in ((database_of, "the import"), (split_database_of, "the parts")):
            kept = customers_in(place(self._folder))
            if kept != ROWS - BAD_ROWS:
                found.append(f"{title}: {kept} customers are there, should be {ROWS - BAD_ROWS}")
        return found

    def _verdict(
        self,
        processes: WorkerAndBeat,
        tasks: Sequence[TaskEntity],
        problems: list[str],
        seconds: float,
    ) -> int:
        if self._output.is_json:
            self._output.document(self._document(tasks, problems, seconds))
        for problem in problems:
            self._output.note(f"not as it should be: {problem}", style="red")
        if problems:
            for line in processes.lines[-40:]:
                self._output.note(line)
            return ExitCode.FAILED
        self._say("")
        self._say(f"All as it should be, in {seconds:.1f} s; nothing is left running.", "green")
        return ExitCode.OK

    def _document(
        self, tasks: Sequence[TaskEntity], problems: list[str], seconds: float
    ) -> dict[str, object]:
        return {
            "tasks": [task_json(task) for task in tasks],
            "tree": tree_json(self._split_tree(tasks)),
            "history": [EVENT.document(event) for event in self._taskdb.task_history(tasks[1].id)],
            "problems": problems,
            "seconds": round(seconds, 1),
        }

    def _say(self, text: str, style: str = "") -> None:
        self._output.line(text, style)


class View:
    """Shows the tasks and the bar of parts: live on a terminal, else one line for each change."""

    def __init__(self, output: Output, live: Live | None = None) -> None:
        self._output = output
        self._live = live
        self._seen: dict[str, object] = {}

    def show(self, tasks: Sequence[TaskEntity], tree: Branch) -> None:
        """Show them as they are now."""
        if self._live is not None:
            table = rich_table(TASK.headers, TASK.rows(tasks))
            lines = [Text(), *tree_lines(tree, is_live=True)]
            bars = fitting(lines, self._output.out, beside=len(tasks) + 2)
            self._live.update(Group(table, bars), refresh=True)
            return
        for task in tasks:
            face = (task.status, task.attempt, task.progress)
            if self._is_new(task.id, face):
                self._output.line(one_line(task))
        counts = tree.counts
        if counts is not None and self._is_new("", counts.done):
            bar = bar_text(counts, is_live=False)
            self._output.line(Text.assemble(f"{tree.task.code}  ", bar, f"  {counts_text(counts)}"))

    def _is_new(self, what: str, face: object) -> bool:
        is_new = self._seen.get(what) != face
        self._seen[what] = face
        return is_new


def customers_in(database: Path) -> int:
    """Return the number of customers in the database of an import; 0 without a database."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM customer").fetchone()[0])


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End this process on SIGTERM as on Ctrl-C, with its children."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory("", "taskdb-demo-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise wrong_usage("--keep", f"{keep} is there and not empty: name a new folder")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.absolute()
