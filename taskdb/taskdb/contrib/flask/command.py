"""`flask taskdb …`: every command of `taskdb`, with the client and the context of the app."""

from __future__ import annotations

import sys

import click
from flask.cli import with_appcontext

from taskdb.client.taskdb import TaskDB


def command_of(client: TaskDB) -> click.Command:
    """Return the command, which passes its arguments on."""

    @click.command(
        "taskdb",
        help="Tasks of this app: `flask taskdb --help` lists the commands.",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    @with_appcontext
    def taskdb(words: tuple[str, ...]) -> None:
        from taskdb.cli import main  # noqa: PLC0415 - not needed to serve requests

        sys.exit(main(list(words), client=client))

    return taskdb
