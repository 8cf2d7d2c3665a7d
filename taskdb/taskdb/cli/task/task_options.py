"""The options of a new task, the same for every command that creates one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

from taskdb.cli.session import Session
from taskdb.cli.signature import Option, with_options
from taskdb.cli.task.presenter import one_line, task_json
from taskdb.cli.task.wait import wait_and_print
from taskdb.cli.time_option import duration_of, from_now, moment_of
from taskdb.client.submission.options import SubmitOptions
from taskdb.model.entity import TaskEntity
from taskdb.model.status import TaskStatus
from taskdb.store.contract import OnConflict

TASK_PANEL = "Task"


TASK_OPTIONS: Mapping[str, Option] = {
    "tenant": Option("Tenant of the task."),
    "name": Option("Name of the task, for people; default: its type."),
    "unique_key": Option("At most one task of this type and tenant has this key."),
    "on_conflict": Option(
        "If a task with this key exists; default: resubmit.", metavar="|".join(get_args(OnConflict))
    ),
    "run_at": Option("Not before this moment.", metavar="MOMENT"),
    "delay": Option("Not before this time has passed; 90, 5m, 1h30m.", metavar="DURATION"),
    "deadline": Option(
        "FAILED if it has not started by then; 10m: in ten minutes.", metavar="MOMENT"
    ),
    "priority": Option("0 to 9; 9 is first.", int | None, "0-9"),
    "queue": Option("Queue; default: that of its type."),
    "notify_id": Option("An id that its notifications contain."),
    "tag": Option("A tag; may be repeated.", list[str] | None),
    "wait": Option("Wait until it has ended; exit 1 unless it is COMPLETED.", bool, None),
}
_NOT_OF_A_PARENT = {"run_at", "delay", "deadline", "notify_id"}
_OF_A_PARENT = {
    **{key: one for key, one in TASK_OPTIONS.items() if key not in _NOT_OF_A_PARENT},
    "wait_timeout": Option("The longest wait; the task continues after it.", metavar="DURATION"),
}
_READ: Mapping[str, Callable[[str, str], Any]] = {
    "run_at": moment_of, "delay": duration_of, "deadline": from_now,
}  # fmt: skip


def submit_options(values: Mapping[str, Any]) -> SubmitOptions:
    """Return the options of a submit from those of a command. Raises InvalidInput."""
    found: dict[str, Any] = {}
    for key in TASK_OPTIONS:
        value = values.get(key)
        if key == "wait" or value is None or value == []:
            continue
        read = _READ.get(key)
        name = "tags" if key == "tag" else key
        found[name] = value if read is None else read(value, f"--{key.replace('_', '-')}")
    return cast("SubmitOptions", found)


def creates_parent(command: Callable[..., TaskEntity]) -> Callable[..., int]:
    """Give a command the options of a new task, and print the parent that it returns.

    The command gets them as `options`.
    """

    @with_options(_OF_A_PARENT, TASK_PANEL, instead_of="options")
    @functools.wraps(command)
    def run(session: Session, *arguments: Any, options: dict[str, Any], **values: Any) -> int:
        task = command(session, *arguments, options=submit_options(options), **values)
        wait, timeout = options["wait"], options["wait_timeout"]
        return print_created(session, task, wait=wait, timeout=timeout, option="--wait-timeout")

    return run


def print_created(
    session: Session, task: TaskEntity, *, wait: bool, timeout: str | None, option: str
) -> int:
    """Print a new task, or the task that it has become after a wait. Returns the exit code."""
    if not (wait and session.is_json):
        _print_new(session, task)
    if not wait:
        return 0
    return wait_and_print(session.output, session.taskdb, task.id, timeout, option=option)


def _print_new(session: Session, task: TaskEntity) -> None:
    output = session.output
    if output.is_json:
        output.document(task_json(task))
    else:
        output.line(task.id)
        output.line(one_line(task))
    if task.status is not TaskStatus.CREATED:
        return
    if task.held_by is not None:
        why = session.taskdb.explain_task(task.id)
        output.note(f"{why.sentence}{why.advice and f'; next: {why.advice}'}", style="yellow")
        return
    output.note(
        "it is kept, and published later: the broker had not taken its message when this command "
        f"ended (`taskdb why {task.code}` names the reason)",
        style="yellow",
    )
