"""`taskdb grants`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.session import Session, with_session
from taskdb.errors import GrantsRefused
from taskdb.store.engine.grants import carry_out, grants_over
from taskdb.store.store import Store

Runtime = Annotated[
    str, typer.Option("--runtime", metavar="ROLE", help="Role of clients, workers and beats.")
]
ReadOnly = Annotated[
    str | None, typer.Option("--read-only", metavar="ROLE", help="Role that reads all but secrets.")
]
Apply = Annotated[
    bool, typer.Option("--apply", help="Carry the statements out, in one transaction.")
]


@with_session
def grants(
    session: Session, *, runtime: Runtime, read_only: ReadOnly = None, apply: Apply = False
) -> int:
    """Print the SQL that lets other PostgreSQL roles than the owner use the tables.

    Create the roles first. TASKDB_DATABASE_URL must name the owner of the tables. Run it again
    after each `taskdb migrate`.
    """
    with Store(session.settings.store_url).closing() as store:
        if store.database.dialect.is_file:
            raise GrantsRefused("SQLite has no roles: its file belongs to one user of the machine")
        found = store.database.over_transactions(
            lambda engine: (carry_out if apply else grants_over)(engine, runtime, read_only)
        )
    if session.is_json:
        session.output.document({"statements": found, "is_applied": apply})
    elif apply:
        roles = " and ".join(repr(name) for name in (runtime, read_only) if name)
        session.output.line(f"granted to {roles}: {len(found)} statements")
    else:
        session.output.line(Text("\n".join(f"{one};" for one in ["BEGIN", *found, "COMMIT"])))
    return ExitCode.OK
