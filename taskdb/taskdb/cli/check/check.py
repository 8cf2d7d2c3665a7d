"""`taskdb check`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from taskdb.cli.check.finding import Finding, Level, bad, good
from taskdb.cli.check.probe import probe
from taskdb.cli.check.setting_list import print_settings
from taskdb.cli.document import document_of
from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, with_session
from taskdb.errors import SettingsError
from taskdb.logging import configure_logging
from taskdb.redaction.printable import printable

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.ERROR: "red"}


@with_session
def check(
    session: Session,
    *,
    settings: Annotated[
        bool, typer.Option("--settings", help="List every setting with value and meaning.")
    ] = False,
) -> int:
    """Check settings, database, broker, files, task modules and workers; exit 1 on an error.

    Warnings alone exit 0. With --json, one finding on each line.
    """
    if settings:
        problem = print_settings(session.output)
        if problem is not None:
            raise problem
        return ExitCode.OK
    levels = []
    for finding in _findings(session):
        levels.append(finding.level)
        _print(session.output, finding)
    return ExitCode.FAILED if Level.ERROR in levels else ExitCode.OK


def _findings(session: Session) -> Iterator[Finding]:
    try:
        settings = session.settings
    except SettingsError as error:
        yield bad("settings", str(error))
        return
    configure_logging(settings, level="DEBUG" if session.debug else "CRITICAL")
    yield good("settings", "every TASKDB_… variable is known and right")
    yield from probe(settings)


def _print(output: Output, finding: Finding) -> None:
    if output.is_json:
        output.document(document_of(finding))
        return
    words = Text.assemble(
        (finding.level.value.ljust(7), _STYLES[finding.level]),
        finding.subject.ljust(14),
        printable(finding.message),
    )
    output.line(words)
    if finding.advice:
        output.line(f"{'':21}{finding.advice}")
