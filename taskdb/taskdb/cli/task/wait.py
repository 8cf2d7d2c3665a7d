"""`taskdb wait`, and the progress that a person sees meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import typer

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.presenter import task_json
from taskdb.cli.task.show import Reference, print_task
from taskdb.cli.task.tree import is_parent, read_tree, tree_json
from taskdb.cli.task.tree_view import print_tree
from taskdb.cli.task.watch import Watch
from taskdb.cli.time_option import duration_of
from taskdb.client.taskdb import TaskDB
from taskdb.client.wait.watcher import LOOK_SECONDS
from taskdb.errors import WaitTimeout
from taskdb.model.entity import TaskEntity
from taskdb.model.status import TaskStatus

Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="DURATION", help="The longest wait; 90, 5m, 1h.")
]
See = Callable[[TaskEntity], None]


@with_session
def wait(
    session: Session, reference: Reference, timeout: Timeout = None, tenant: TenantOption = None
) -> int:
    """Wait until a task has ended; exit 0 only if it is COMPLETED.

    A HALTED task, which waits for a person, counts as ended, not as COMPLETED.
    """
    taskdb = session.taskdb_of(tenant)
    return wait_and_print(session.output, taskdb, reference, timeout)


def wait_and_print(
    output: Output,
    taskdb: TaskDB,
    reference: str,
    timeout: str | None,
    *,
    option: str = "--timeout",
) -> int:
    """Wait, and show the task that ended. Returns the exit code. Raises WaitTimeout."""
    seconds = None if timeout is None else duration_of(timeout, option).total_seconds()
    task = _wait_seeing(output, taskdb, reference, seconds)
    tree = read_tree(taskdb, task) if is_parent(task) else None
    if output.is_json:
        output.document({**task_json(task), **({} if tree is None else {"tree": tree_json(tree)})})
    else:
        print_task(output, task)
        if tree is not None:
            print_tree(output, tree)
    return ExitCode.OK if task.status is TaskStatus.COMPLETED else ExitCode.FAILED


def _wait_seeing(
    output: Output, taskdb: TaskDB, reference: str, seconds: float | None
) -> TaskEntity:
    if not output.err.is_terminal or output.is_json:
        return taskdb.wait_task(reference, seconds)
    with Watch(output.err, taskdb) as watch:
        return _look(taskdb, reference, seconds, watch.see)


def _look(taskdb: TaskDB, reference: str, seconds: float | None, see: See) -> TaskEntity:
    """Wait and show the progress; reads the whole row, for this caller alone."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        task = taskdb.get_task(reference)
        see(task)
        if task.status.is_settled:
            return task
        if deadline is not None and time.monotonic() >= deadline:
            raise WaitTimeout(task.id, task.status, seconds or 0)
        time.sleep(LOOK_SECONDS)
