"""The view of a task during a wait: its bar, or the bars of its sub-tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from taskdb.cli.task.presenter import about
from taskdb.cli.task.tree import is_parent, read_tree
from taskdb.cli.task.tree_view import tree_lines
from taskdb.client.taskdb import TaskDB
from taskdb.model.entity import TaskEntity
from taskdb.redaction.printable import printable

_DESCRIPTION_LENGTH = 60
_REST = 5
"""The pause between two reads of a tree, in multiples of the time that a read took."""


class Watch(AbstractContextManager["Watch"]):
    """Shows a task in place on a terminal, and clears it at the end."""

    def __init__(self, console: Console, taskdb: TaskDB) -> None:
        self._console = console
        self._taskdb = taskdb
        words = TextColumn("{task.description}", markup=False)
        self._bars = Progress(SpinnerColumn(), words, BarColumn(), TimeElapsedColumn())
        self._bar = self._bars.add_task("", total=None)
        self._shown: RenderableType = self._bars
        self._next_at = 0.0
        self._live = Live(console=console, transient=True, get_renderable=lambda: self._shown)

    def see(self, task: TaskEntity) -> None:
        """Show the task as it is now."""
        if is_parent(task):
            self._see_tree(task)
            return
        done, total = (task.progress.current, task.progress.total) if task.progress else (0, None)
        described = printable(f"{task.status} {about(task)}")[:_DESCRIPTION_LENGTH]
        self._bars.update(self._bar, completed=done, total=total, description=described)

    def _see_tree(self, task: TaskEntity) -> None:
        began = time.monotonic()
        if began < self._next_at:
            return
        lines = tree_lines(read_tree(self._taskdb, task), is_live=True)
        self._shown = fitting(lines, self._console)
        now = time.monotonic()
        self._next_at = now + _REST * (now - began)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def fitting(lines: Iterable[Text], console: Console, *, beside: int = 1) -> Group:
    """Return the lines that fit on the terminal, since scrolled lines cannot be cleared."""
    shown = list(lines)[: max(console.height - beside, 1)]
    for line in shown:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*shown)
