"""`taskdb create-fan-out` and `taskdb create-sequence`."""

from __future__ import annotations

from typing import Annotated, Any, cast, get_args

import typer

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.session import Session, with_session
from taskdb.cli.task.create import print_created
from taskdb.cli.task.item_option import ItemFormat, read_items
from taskdb.cli.task.json_option import read_json
from taskdb.cli.task.wait import wait_and_print
from taskdb.cli.time_option import duration_of
from taskdb.cli.usage import wrong_usage
from taskdb.client.submission.options import SubmitOptions
from taskdb.model.entity import TaskEntity
from taskdb.model.fan_out import Join
from taskdb.store.contract import OnConflict

_TASK_PANEL = "Task"


def _task_option(help_text: str, *names: str, metavar: str | None = "TEXT") -> Any:
    return typer.Option(*names, help=help_text, metavar=metavar, rich_help_panel=_TASK_PANEL)


Tenant = Annotated[str | None, _task_option("Whose task it is.", "--tenant")]
Name = Annotated[str | None, _task_option("What people call it.", "--name")]
UniqueKey = Annotated[
    str | None, _task_option("At most one of this type and tenant has it.", "--unique-key")
]
Conflict = Annotated[
    str | None,
    _task_option(
        "What to do when there is one.", "--on-conflict", metavar="|".join(get_args(OnConflict))
    ),
]
Priority = Annotated[
    int | None, _task_option("0 to 9, 9 is taken first.", "--priority", metavar="0-9")
]
Queue = Annotated[str | None, _task_option("The queue.", "--queue")]
Tags = Annotated[list[str] | None, _task_option("A tag; may be repeated.", "--tag")]
Limit = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="FAILED when it takes longer; 90, 5m, 1h."),
]
Wait = Annotated[
    bool, _task_option("Wait until it has ended; exit 1 unless COMPLETED.", "--wait", metavar=None)
]
WaitTimeout = Annotated[
    str | None, _task_option("Wait no longer; it goes on.", "--wait-timeout", metavar="DURATION")
]


@with_session
def create_fan_out(  # noqa: PLR0913 - the options of a fan-out
    session: Session,
    type_name: Annotated[str, typer.Argument(metavar="TYPE", help="The task type of the parts.")],
    *,
    items: Annotated[
        str | None,
        typer.Option("--items", metavar="JSON|@FILE|-", help="The items, a JSON list."),
    ] = None,
    items_file: Annotated[
        str | None,
        typer.Option("--items-file", metavar="FILE|-", help="A file with an item a line or row."),
    ] = None,
    items_format: Annotated[
        ItemFormat | None,
        typer.Option("--items-format", help="Of that file; default: by its name, else lines."),
    ] = None,
    join: Annotated[
        str, typer.Option(metavar="|".join(get_args(Join)), help="When the parts have ended well.")
    ] = "all_succeeded",
    tolerate: Annotated[
        str | None,
        typer.Option(metavar="N|SHARE", help="So many parts may end badly; 3, 0.05 or 5%."),
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Parts that may go on at a time.")
    ] = None,
    timeout: Limit = None,
    chunk_size: Annotated[int, typer.Option(metavar="N", help="Parts that share a message.")] = 1,
    on_join: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="What runs when they have ended well."),
    ] = None,
    tenant: Tenant = None,
    name: Name = None,
    unique_key: UniqueKey = None,
    on_conflict: Conflict = None,
    priority: Priority = None,
    queue: Queue = None,
    tag: Tags = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
) -> int:
    """Create a fan-out: a part of TYPE for each item, and a parent that joins them.

    Items are read as they come, so that a file may be of any length.
    """
    options = _options(tenant, name, unique_key, on_conflict, priority, queue, tag)
    limit = None if timeout is None else duration_of(timeout, "--timeout")
    allowed = None if tolerate is None else _tolerance(tolerate)
    _check_type(session, type_name)
    with read_items(items, items_file, items_format) as given:
        parent = session.taskdb.submit_fan_out(
            type_name,
            given,
            join=cast("Join", join),
            tolerate=allowed,
            max_concurrency=max_concurrency,
            timeout=limit,
            chunk_size=chunk_size,
            on_join=on_join,
            **options,
        )
    return _created(session, parent, wait=wait, wait_timeout=wait_timeout)


@with_session
def create_sequence(  # noqa: PLR0913 - the options of a sequence
    session: Session,
    sequence: Annotated[str, typer.Argument(metavar="NAME", help="The name of the sequence.")],
    *,
    payload: Annotated[
        str | None,
        typer.Option("--payload", metavar="JSON|@FILE|-", help="What the first step gets."),
    ] = None,
    timeout: Limit = None,
    tenant: Tenant = None,
    name: Name = None,
    unique_key: UniqueKey = None,
    on_conflict: Conflict = None,
    priority: Priority = None,
    queue: Queue = None,
    tag: Tags = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
) -> int:
    """Begin a sequence: its steps run one after another, each with what the one before returned.

    `taskdb types` lists the sequences. The same payload of a unique sequence is the same task.
    """
    options = _options(tenant, name, unique_key, on_conflict, priority, queue, tag)
    limit = None if timeout is None else duration_of(timeout, "--timeout")
    value = None if payload is None else read_json(payload, "--payload")
    parent = session.taskdb.submit_sequence(sequence, value, timeout=limit, **options)
    return _created(session, parent, wait=wait, wait_timeout=wait_timeout)


def _created(session: Session, task: TaskEntity, *, wait: bool, wait_timeout: str | None) -> int:
    if not (wait and session.is_json):
        print_created(session.output, task)
    if not wait:
        return ExitCode.OK
    return wait_and_print(
        session.output, session.taskdb, task.id, wait_timeout, option="--wait-timeout"
    )


def _check_type(session: Session, type_name: str) -> None:
    """Say so at once, before a long list is read; raises UnknownTaskType."""
    if not session.settings.allow_unknown_types:
        session.taskdb.discover().get(type_name)


def _options(
    tenant: str | None,
    name: str | None,
    unique_key: str | None,
    on_conflict: str | None,
    priority: int | None,
    queue: str | None,
    tag: list[str] | None,
) -> SubmitOptions:
    found: dict[str, Any] = {
        "tenant": tenant,
        "name": name,
        "unique_key": unique_key,
        "on_conflict": on_conflict,
        "priority": priority,
        "queue": queue,
        "tags": tag or None,
    }
    return cast("SubmitOptions", {key: one for key, one in found.items() if one is not None})


def _tolerance(spelled: str) -> int | float:
    """`3` parts, a share `0.05`, or `5%`; raises InvalidInput."""
    text = spelled.strip()
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        advice = f"{spelled!r} is neither a number of parts nor a share such as 0.05 or 5%"
        raise wrong_usage("--tolerate", advice) from None
