"""`taskdb cancel` and `taskdb retry`: tasks by name, or all that meet some criteria."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.failure import report
from taskdb.cli.id_option import IdOf
from taskdb.cli.output import Output
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.criteria import with_criteria
from taskdb.cli.task.presenter import print_row
from taskdb.cli.usage import wrong_usage
from taskdb.cli.value_text import counted
from taskdb.client.criteria import Criteria
from taskdb.client.taskdb import TaskDB
from taskdb.client.tasks import PAGE_LIMIT
from taskdb.errors import TaskDBError
from taskdb.model.entity import TaskEntity
from taskdb.model.status import MOVES, RETRIED_IN_BULK, TaskStatus

COUNT_LIMIT = 10_000
"""Beyond this the question before a bulk move reads "more than"."""

References = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Ids, codes or keys of tasks; the beginning may do."),
    IdOf("taskdb_task"),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="From the first part or step; also COMPLETED tasks."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a bulk move.")]


@dataclass(frozen=True, slots=True)
class Verb:
    """A move by hand, of one task and of many; a bulk move starts from the statuses `movable`."""

    name: str
    done: str
    movable: frozenset[TaskStatus]
    options: Mapping[str, Any] = field(default_factory=dict)

    def one(self, taskdb: TaskDB, reference: str) -> TaskEntity:
        moved: TaskEntity = getattr(taskdb, f"{self.name}_task")(reference, **self.options)
        return moved

    def many(self, taskdb: TaskDB, wanted: Criteria) -> int:
        return int(getattr(taskdb, f"{self.name}_tasks")(**self.options, **wanted))


CANCEL = Verb("cancel", "canceled", MOVES["cancel"].sources)
RETRY = Verb("retry", "retried", RETRIED_IN_BULK)
RETRY_ANEW = Verb("retry", "retried", MOVES["retry"].sources, {"force": True})


@with_session
@with_criteria
def cancel(
    session: Session,
    wanted: Criteria,
    references: References = None,
    *,
    yes: Yes = False,
    tenant: TenantOption = None,
) -> int:
    """Cancel tasks: at once while they wait; a running task is asked to stop.

    Name tasks, or give criteria: every task that meets all of them is canceled.
    """
    return _move(session, CANCEL, references or [], wanted, yes=yes, tenant=tenant)


@with_session
@with_criteria
def retry(
    session: Session,
    wanted: Criteria,
    references: References = None,
    *,
    force: Force = False,
    yes: Yes = False,
    tenant: TenantOption = None,
) -> int:
    """Run tasks again, each with a whole budget of attempts.

    A fan-out runs its parts that ended badly, a sequence continues at the step that failed; with
    --force both begin from the start. Name tasks, or give criteria: every task that meets all of
    them and is FAILED, HALTED or CANCELED; with --force also COMPLETED and waiting tasks.
    """
    return _move(
        session, RETRY_ANEW if force else RETRY, references or [], wanted, yes=yes, tenant=tenant
    )


def _move(
    session: Session,
    verb: Verb,
    references: list[str],
    wanted: Criteria,
    *,
    yes: bool,
    tenant: str | None,
) -> int:
    if bool(references) == bool(wanted):
        raise wrong_usage("", "name tasks, or give criteria such as --status or --type; not both")
    taskdb = session.taskdb_of(tenant)
    if references:
        return _move_each(session, taskdb, verb, references)
    return _move_all(session.output, taskdb, verb, wanted, yes=yes)


def _move_each(session: Session, taskdb: TaskDB, verb: Verb, references: list[str]) -> int:
    """Move each task. Returns the exit code of the first that could not be moved."""
    output = session.output
    codes = []
    for reference in references:
        try:
            task = verb.one(taskdb, reference)
        except TaskDBError as error:
            codes.append(report(error, output, debug=session.debug))
            continue
        print_row(output, task)
        is_asked = task.cancel_requested_at is not None and not task.status.is_settled
        if is_asked and not output.is_json:
            output.note("it is running and was asked to stop; `taskdb wait` returns when it has")
    return codes[0] if codes else ExitCode.OK


def _move_all(output: Output, taskdb: TaskDB, verb: Verb, wanted: Criteria, *, yes: bool) -> int:
    if not yes and not _agreed(output, taskdb, verb, wanted):
        output.note("nothing was changed")
        return ExitCode.FAILED
    moved = verb.many(taskdb, wanted)
    output.result({verb.done: moved}, f"{verb.done} {counted(moved, 'task')}")
    if not moved and not output.is_json:
        output.note(_why_none(taskdb, verb, wanted))
    return ExitCode.OK


def _why_none(taskdb: TaskDB, verb: Verb, wanted: Criteria) -> str:
    found = taskdb.list_tasks(limit=PAGE_LIMIT, **wanted)
    if any(task.is_adopted for task in found):
        return (
            "tasks that meet this are adopted: their own Celery app runs them, and TaskDB only "
            f"watches (`taskdb {verb.name} ID` shows what to do there)"
        )
    statuses = ", ".join(sorted(verb.movable))
    return f"no task that meets this can be {verb.done}: it moves from {statuses}"


def _agreed(output: Output, taskdb: TaskDB, verb: Verb, wanted: Criteria) -> bool:
    count = _count(taskdb, verb, wanted)
    if not count:
        return True
    much = (
        f"more than {counted(COUNT_LIMIT, 'task')}"
        if count > COUNT_LIMIT
        else counted(count, "task")
    )
    if not sys.stdin.isatty():
        advice = f"this would {verb.name} {much}: add --yes to do so without being asked"
        raise wrong_usage("", advice)
    output.err.print(f"{verb.name} {much}? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _count(taskdb: TaskDB, verb: Verb, wanted: Criteria) -> int:
    count, cursor = 0, None
    while True:
        page = taskdb.list_tasks(limit=PAGE_LIMIT, cursor=cursor, **wanted)
        count += sum(task.status in verb.movable and not task.is_adopted for task in page)
        cursor = page.next_cursor
        if cursor is None or count > COUNT_LIMIT:
            return count
