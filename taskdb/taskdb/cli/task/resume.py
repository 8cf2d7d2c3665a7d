"""`taskdb resume-task`: the callback of a task that waits for another system."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.json_option import read_json
from taskdb.cli.task.presenter import print_row
from taskdb.cli.usage import wrong_usage


@with_session
def resume_task(
    session: Session,
    token: Annotated[
        str,
        typer.Argument(
            metavar="TOKEN", help="The callback token of the task; - reads it from standard input."
        ),
    ],
    *,
    output: Annotated[
        str | None, typer.Option("--output", help="The result: JSON, @FILE, or - for stdin.")
    ] = None,
    error: Annotated[
        str | None, typer.Option("--error", help="It failed, for this reason.")
    ] = None,
    tenant: TenantOption = None,
) -> None:
    """End a task that waits for a callback, with this output or this error.

    A token is valid once. Other users of this machine can see the arguments of a command, so pass -
    and write the token to standard input.
    """
    if token == "-" and output == "-":  # noqa: S105 - no secret, but where one is read
        advice = "only one of the token and the output can come from standard input"
        raise wrong_usage("--output", advice)
    given = sys.stdin.readline().strip() if token == "-" else token  # noqa: S105 - the same
    value = None if output is None else read_json(output, "--output")
    task = session.taskdb_of(tenant).resume_task(given, value, error=error)
    print_row(session.output, task)
