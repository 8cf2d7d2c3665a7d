"""`taskdb migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from taskdb.cli.database.schema import require_schema
from taskdb.cli.exit_code import ExitCode
from taskdb.cli.session import Session, with_session
from taskdb.errors import DatabaseNotMigrated, DatabaseTooNew, TableNameTaken
from taskdb.store.engine.migrations import revision


@with_session
def migrate(
    session: Session,
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit 1 unless this release can work on it."),
    ] = False,
) -> int:
    """Bring the database to the schema of this release. Several may run it at once."""
    if check:
        return _check(session)
    # No other command needs Alembic, and its import takes time.
    from taskdb.store.engine.migrations import migrate as migration  # noqa: PLC0415

    reached = migration.migrate(session.settings.store_url)
    if session.is_json:
        session.output.document({"revision": reached, "is_current": True})
    elif revision.is_newer(reached):
        session.output.line(f"nothing to do: {_newer(reached)}")
    else:
        session.output.line(f"the database is at revision {reached}")
    return ExitCode.OK


def _check(session: Session) -> int:
    problem, found = "", None
    try:
        found = require_schema(session.settings)
    except (DatabaseNotMigrated, DatabaseTooNew, TableNameTaken) as error:
        problem = str(error)
    needed = revision.head()
    if session.is_json:
        session.output.document({"revision": needed, "is_current": not problem, "problem": problem})
    elif problem:
        session.output.line(problem)
    elif found is not None and revision.is_newer(found):
        session.output.line(f"up to date: {_newer(found)}")
    else:
        session.output.line(f"up to date: revision {needed}")
    return ExitCode.FAILED if problem else ExitCode.OK


def _newer(found: str) -> str:
    newest = f"newer than this release (revision {revision.head()}), which can live with it"
    return f"the database is at revision {found}, {newest}"
