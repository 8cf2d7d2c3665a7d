"""The command line: `taskdb …`, or `python -m taskdb.cli …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskdb.client.taskdb import TaskDB

_EXTRA = {"typer", "rich"}


def main(arguments: Sequence[str] | None = None, *, client: TaskDB | None = None) -> int:
    """Run one command. Returns its exit code; 2 without the extra `cli`, with a message.

    A framework gives its client; without one, the command makes a client of the environment.
    """
    try:
        from taskdb.cli.app import run_command  # noqa: PLC0415 - needs the extra, which may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        advice = 'the command line needs an extra: pip install "celery-taskdb[cli]"'
        sys.stderr.write(f"error: {advice}\n")
        return 2
    return run_command(sys.argv[1:] if arguments is None else arguments, client=client)
