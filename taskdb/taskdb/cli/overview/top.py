"""`taskdb top`: queues and tasks live, and keys that pause, retry and cancel."""

from __future__ import annotations

from typing import Annotated

import typer

from taskdb.cli.session import Session, with_session
from taskdb.cli.usage import wrong_usage


@with_session
def top(
    session: Session,
    every: Annotated[
        float, typer.Option("--every", min=0.2, help="Seconds between two updates.")
    ] = 2.0,
) -> None:
    """Watch queues and tasks live; keys pause a queue, and open, retry or cancel a task.

    Needs the extra `top`. `taskdb status` prints the same page once, and with --json for programs.
    """
    if session.is_json or not session.output.is_live:
        raise wrong_usage("", "it needs a terminal; run `taskdb status` for a page of text or JSON")
    try:
        # Few users need it, and it brings a library of its own.
        from taskdb.cli.overview.screen import TopScreen  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise wrong_usage("", 'it needs an extra: pip install "celery-taskdb[cli,top]"') from None
    TopScreen(session.taskdb, every=every).run()
