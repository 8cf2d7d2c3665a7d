"""`taskdb create-fan-out` and `taskdb create-sequence`."""

from __future__ import annotations

from typing import Annotated, cast, get_args

import typer

from taskdb.cli.session import Session, with_session
from taskdb.cli.task.item_option import ItemFormat, read_items
from taskdb.cli.task.json_option import read_json
from taskdb.cli.task.task_options import creates_parent
from taskdb.cli.time_option import duration_of
from taskdb.cli.usage import wrong_usage
from taskdb.client.submission.options import SubmitOptions
from taskdb.model.entity import TaskEntity
from taskdb.model.fan_out import Join

Limit = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="FAILED when it takes longer; 90, 5m, 1h."),
]


@with_session
@creates_parent
def create_fan_out(  # noqa: PLR0913 - the options of a fan-out
    session: Session,
    type_name: Annotated[str, typer.Argument(metavar="TYPE", help="The task type of the parts.")],
    options: SubmitOptions,
    *,
    items: Annotated[
        str | None, typer.Option("--items", metavar="JSON|@FILE|-", help="The items, a JSON list.")
    ] = None,
    items_file: Annotated[
        str | None,
        typer.Option("--items-file", metavar="FILE|-", help="A file, one item per line."),
    ] = None,
    items_format: Annotated[
        ItemFormat | None,
        typer.Option("--items-format", help="Default: by the suffix of the file, else lines."),
    ] = None,
    join: Annotated[
        str, typer.Option(metavar="|".join(get_args(Join)), help="When the fan-out succeeds.")
    ] = "all_succeeded",
    tolerate: Annotated[
        str | None,
        typer.Option(metavar="N|SHARE", help="The most parts that may end badly; 3, 0.05 or 5%."),
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="The most parts that run at once.")
    ] = None,
    timeout: Limit = None,
    chunk_size: Annotated[int, typer.Option(metavar="N", help="Parts that share a message.")] = 1,
    on_join: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Task type that runs after success.")
    ] = None,
) -> TaskEntity:
    """Create a fan-out: a part of TYPE for each item, and a parent that joins them.

    A file of items is read while the parts are created, so it may be of any length.
    """
    limit = None if timeout is None else duration_of(timeout, "--timeout")
    allowed = None if tolerate is None else _tolerance(tolerate)
    _check_type(session, type_name)
    with read_items(items, items_file, items_format) as given:
        return session.taskdb.submit_fan_out(
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


@with_session
@creates_parent
def create_sequence(
    session: Session,
    sequence: Annotated[str, typer.Argument(metavar="NAME", help="The name of the sequence.")],
    options: SubmitOptions,
    *,
    payload: Annotated[
        str | None,
        typer.Option("--payload", metavar="JSON|@FILE|-", help="The input of the first step."),
    ] = None,
    timeout: Limit = None,
) -> TaskEntity:
    """Create a sequence: its steps run one after another, each with the result of the one before.

    `taskdb types` lists the sequences. A unique sequence has one task for each payload.
    """
    limit = None if timeout is None else duration_of(timeout, "--timeout")
    value = None if payload is None else read_json(payload, "--payload")
    return session.taskdb.submit_sequence(sequence, value, timeout=limit, **options)


def _check_type(session: Session, type_name: str) -> None:
    """Refuse an unknown type at once, before a long list is read. Raises UnknownTaskType."""
    if not session.settings.allow_unknown_types:
        session.taskdb.types.discover().get(type_name)


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
