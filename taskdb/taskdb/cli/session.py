"""The context of every command: output, settings, and a TaskDB that opens at its first use."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import Annotated, Any

import typer

from taskdb.cli.given_client import given_client, settings_in_force
from taskdb.cli.id_option import ids_of, whole_ids
from taskdb.cli.output import Output
from taskdb.cli.signature import with_parameters
from taskdb.client.caller.actor import acting_by_default
from taskdb.client.taskdb import TaskDB
from taskdb.logging import configure_logging
from taskdb.settings.settings import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks and logs.")]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="See and move tasks of this tenant only.")
]


class Session(ExitStack):
    """One run of one command. Its end closes the TaskDB that it has opened."""

    def __init__(self, *, is_json: bool = False, debug: bool = False) -> None:
        super().__init__()
        self.output = Output(is_json=is_json)
        self.is_json = is_json
        self.debug = debug

    @cached_property
    def settings(self) -> Settings:
        """The settings of the given client, or of the environment; raises SettingsError."""
        return settings_in_force()

    @cached_property
    def taskdb(self) -> TaskDB:
        """The operator's client, closed with the session unless it was given."""
        # The command itself prints what a user must know.
        configure_logging(self.settings, level="DEBUG" if self.debug else "CRITICAL")
        return given_client() or self.enter_context(TaskDB(self.settings))

    def taskdb_of(self, tenant: str | None) -> TaskDB:
        """The client of this tenant, or the operator's."""
        return self.taskdb if tenant is None else self.taskdb.for_tenant(tenant)


def actor() -> str | None:
    """Return the user of the command line, as the actor of changes; None for one without a name."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        # A container may have a number and no name.
        return None


def with_session(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command its session, and the options `--json` and `--debug`."""
    marked = ids_of(command)

    @functools.wraps(command)
    def run(**values: Any) -> int | None:
        flags = {"is_json": values.pop("json"), "debug": values.pop("debug")}
        with Session(**flags) as session, acting_by_default(actor()):
            for name, kind in marked.items():
                if values[name]:
                    client = session.taskdb_of(values.get("tenant"))
                    values[name] = whole_ids(client, values[name], kind)
            return command(session, **values)

    flags = {"json": (JsonOption, False), "debug": (DebugOption, False)}
    signature = with_parameters(command, flags, instead_of="session")
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run
