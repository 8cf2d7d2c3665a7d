"""`taskdb list`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.live import Live

from taskdb.cli.output import Output, json_text, rich_table
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.criteria import with_criteria
from taskdb.cli.task.presenter import TASK, print_row
from taskdb.client.criteria import Criteria
from taskdb.client.tasks import PAGE_LIMIT, TaskPage
from taskdb.model.entity import TaskEntity

WATCH_SECONDS = 1.0

Read = Callable[[], TaskPage]


@with_session
@with_criteria
def list_tasks(
    session: Session,
    wanted: Criteria,
    *,
    limit: Annotated[int, typer.Option(help=f"Tasks of one page, 1 to {PAGE_LIMIT}.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="The `next_cursor` of a page.")] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="Oldest first.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow the changes, until Ctrl-C.")
    ] = False,
    tenant: TenantOption = None,
) -> None:
    """List tasks, the newest first.

    With --json, one task on each line. The cursor of the next page is written to standard error.
    """
    taskdb = session.taskdb_of(tenant)

    def read() -> TaskPage:
        return taskdb.list_tasks(
            limit=limit, cursor=cursor, order="oldest" if oldest else "newest", **wanted
        )

    if not watch:
        _print_page(session.output, read())
    elif session.output.is_live:
        _watch_table(session.output, read)
    else:
        _watch_lines(session.output, read)


def _print_page(output: Output, page: TaskPage) -> None:
    TASK.print_all(output, page, "no task meets this")
    cursor = page.next_cursor
    if cursor is not None and output.is_json:
        output.note(json_text({"next_cursor": cursor}))
    elif cursor is not None:
        output.note(f"there are more: --cursor {cursor}")


def _watch_table(output: Output, read: Read) -> None:
    with Live(console=output.out, auto_refresh=False) as live:
        while True:
            live.update(rich_table(TASK.headers, TASK.rows(read())), refresh=True)
            time.sleep(WATCH_SECONDS)


def _watch_lines(output: Output, read: Read) -> None:
    """Print each task that has changed."""
    seen: dict[str, Any] = {}
    while True:
        for task in reversed(read()):
            if seen.get(task.id) != _face(task):
                seen[task.id] = _face(task)
                print_row(output, task)
        time.sleep(WATCH_SECONDS)


def _face(task: TaskEntity) -> Any:
    return (task.status, task.attempt, task.progress, task.updated_at)
