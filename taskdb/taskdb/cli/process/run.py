"""`taskdb worker`, `taskdb beat` and `taskdb run-task`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.given_client import given_client, settings_in_force
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.presenter import task_json
from taskdb.cli.task.show import Reference, print_task
from taskdb.client.taskdb import TaskDB
from taskdb.errors import Fault, InvalidInput
from taskdb.model.status import TaskStatus
from taskdb.role import load_role
from taskdb.settings.settings import Settings

_OWN_FLAGS = {"--json", "--debug"}


def worker(context: typer.Context) -> int:
    """Run a worker until it is stopped (Ctrl-C or SIGTERM: its tasks end first).

    Every option is Celery's: -c N processes, -P POOL, -Q QUEUES, -n NAME, -l LEVEL and all
    that `celery worker --help` lists. --json writes log lines as JSON.
    """
    words = context.args
    if "--help" in words:
        sys.stdout.write(f"{context.get_help()}\n")
        return ExitCode.OK
    settings = _settings(is_json="--json" in words)
    celery_options = [word for word in words if word not in _OWN_FLAGS]
    try:
        return int(load_role("worker")(_site(settings), celery_options))
    except Exception as error:
        # Celery parses its options with a library of its own, whose errors we do not import.
        if getattr(error, "exit_code", None) != ExitCode.USAGE:
            raise
        raise InvalidInput("the command line of the worker", [Fault("", str(error))]) from error


@with_session
def beat(
    session: Session,
    *,
    http: Annotated[
        str | None,
        typer.Option(
            "--http",
            metavar="[HOST:]PORT",
            help="Serve /healthz, /readyz and /metrics there; without a host on 127.0.0.1 only.",
        ),
    ] = None,
) -> int:
    """Run the schedules and the loops of the platform until it is stopped.

    Any number of beats may run.
    """
    given = {} if http is None else {"http": http}
    return int(load_role("beat")(_site(_settings(is_json=session.is_json, **given))))


@with_session
def run_task(session: Session, reference: Reference, tenant: TenantOption = None) -> int:
    """Run the body of a task in this process, now; exit 0 only if it is COMPLETED."""
    found = session.taskdb_of(tenant).get_task(reference)
    session.taskdb.types.discover()
    # A run acts for the platform: its end may release tasks of other tenants.
    task = load_role("run-task")(session.taskdb, found.id)
    if session.is_json:
        session.output.document(task_json(task))
    else:
        print_task(session.output, task)
    return ExitCode.OK if task.status is TaskStatus.COMPLETED else ExitCode.FAILED


def _settings(*, is_json: bool, **given: Any) -> Settings:
    return settings_in_force(**given, **({"log_format": "json"} if is_json else {}))


def _site(settings: Settings) -> Settings | TaskDB:
    """What a role works for: the given client with these settings, or the settings."""
    client = given_client()
    if client is None:
        return settings
    client.settings = settings
    return client
