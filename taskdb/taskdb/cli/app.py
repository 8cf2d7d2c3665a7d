"""The commands, their order in the help, and how a run of one of them ends."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import typer
from typer.main import get_command

from taskdb.cli.alarm import alarm, route
from taskdb.cli.check.check import check
from taskdb.cli.database.doctor import doctor
from taskdb.cli.database.grants import grants
from taskdb.cli.database.import_results import import_django_celery_results
from taskdb.cli.database.migrate import migrate
from taskdb.cli.database.prune import prune
from taskdb.cli.demo.demo import demo
from taskdb.cli.exit_code import ExitCode
from taskdb.cli.failure import tell
from taskdb.cli.limit import clear_limit, list_limits, pause, resume, set_limit
from taskdb.cli.output import Output
from taskdb.cli.process.dev import dev
from taskdb.cli.process.run import beat, run_task, worker
from taskdb.cli.schedule import schedule
from taskdb.cli.schedule.import_schedules import import_django_celery_beat
from taskdb.cli.session import about
from taskdb.cli.subscription import subscription
from taskdb.cli.task.create import RAW, create_task
from taskdb.cli.task.create_tree import create_fan_out, create_sequence
from taskdb.cli.task.list import list_tasks
from taskdb.cli.task.move import cancel, retry
from taskdb.cli.task.resume import resume_task
from taskdb.cli.task.show import show
from taskdb.cli.task.wait import wait
from taskdb.cli.task.why import why
from taskdb.cli.type.types import types
from taskdb.client.taskdb import TaskDB

HELP = "Tasks in a database of record, run by Celery. Everything is set by TASKDB_… variables."

_RAW = {**RAW, "help_option_names": []}
_COMMANDS: tuple[tuple[str, Callable[..., int | None], str], ...] = (
    ("demo", demo, "Begin"),
    ("dev", dev, "Begin"),
    ("check", check, "Begin"),
    ("doctor", doctor, "Begin"),
    ("migrate", migrate, "Begin"),
    ("grants", grants, "Begin"),
    ("create-task", create_task, "Tasks"),
    ("create-fan-out", create_fan_out, "Tasks"),
    ("create-sequence", create_sequence, "Tasks"),
    ("list", list_tasks, "Tasks"),
    ("show", show, "Tasks"),
    ("why", why, "Tasks"),
    ("wait", wait, "Tasks"),
    ("cancel", cancel, "Tasks"),
    ("retry", retry, "Tasks"),
    ("resume-task", resume_task, "Tasks"),
    ("run-task", run_task, "Tasks"),
    ("types", types, "Tasks"),
    ("prune", prune, "Tasks"),
    ("pause", pause, "Rules"),
    ("resume", resume, "Rules"),
    ("worker", worker, "Processes"),
    ("beat", beat, "Processes"),
)
_OF_SCHEDULES: tuple[tuple[str, Callable[..., int | None]], ...] = (
    ("add", schedule.add),
    ("list", schedule.list_schedules),
    ("show", schedule.show),
    ("pause", schedule.pause),
    ("resume", schedule.resume),
    ("run-now", schedule.run_now),
    ("remove", schedule.remove),
    ("preview", schedule.preview),
    ("import-django-celery-beat", import_django_celery_beat),
)
_GROUPS: tuple[tuple[str, str, str, tuple[tuple[str, Callable[..., int | None]], ...]], ...] = (
    (
        "limit",
        "Limits of a queue, a type or a tenant.",
        "Rules",
        (("set", set_limit), ("clear", clear_limit), ("list", list_limits)),
    ),
    ("subscription", "Who is told of changes of status.", "Rules", subscription.COMMANDS),
    (
        "import",
        "Take over what other packages have kept.",
        "Begin",
        (
            ("django-celery-beat", import_django_celery_beat),
            ("django-celery-results", import_django_celery_results),
        ),
    ),
)
_OF_ALARMS: tuple[tuple[str, Callable[..., int | None]], ...] = (
    ("list", alarm.list_alarms),
    ("show", alarm.show),
    ("ack", alarm.acknowledge),
    ("snooze", alarm.snooze),
    ("resolve", alarm.resolve),
    ("test", alarm.test),
)
_OF_ROUTES: tuple[tuple[str, Callable[..., int | None]], ...] = (
    ("add", route.add_route),
    ("list", route.list_routes),
    ("remove", route.remove_route),
)
_READ_THEIR_WORDS = {"create-task", "worker"}


def run_command(words: Sequence[str], *, client: TaskDB | None = None) -> int:
    """Run one command, about a client if one is given; answers its exit code and never raises."""
    _put_current_folder_first()
    own = words[: words.index("--")] if "--" in words else words
    try:
        _set_up_django()
        with about(client):
            return _invoke(words)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else ExitCode.FAILED
    except BaseException as error:  # noqa: BLE001 - whatever it is, a person must be told
        return tell(error, Output(is_json="--json" in own), debug="--debug" in own)


def build() -> typer.Typer:
    """The program with all its commands."""
    app = typer.Typer(
        name="taskdb",
        help=HELP,
        epilog=_epilog(),
        no_args_is_help=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command, panel in _COMMANDS:
        reads_words = name in _READ_THEIR_WORDS
        app.command(
            name,
            help=inspect.getdoc(command),
            rich_help_panel=panel,
            context_settings=dict(_RAW) if reads_words else None,
            add_help_option=not reads_words,
        )(command)
    app.add_typer(_schedules(), name="schedule", rich_help_panel="Tasks")
    app.add_typer(_alarms(), name="alarm", rich_help_panel="Tasks")
    for name, meaning, panel, commands in _GROUPS:
        group = typer.Typer(help=meaning, no_args_is_help=True)
        for word, command in commands:
            group.command(word, help=inspect.getdoc(command))(command)
        app.add_typer(group, name=name, rich_help_panel=panel)
    return app


def _schedules() -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help="Submit tasks again and again.")
    for name, command in _OF_SCHEDULES:
        group.command(name, help=inspect.getdoc(command))(command)
    return group


def _alarms() -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help="Failures that someone must hear of.")
    for name, command in _OF_ALARMS:
        group.command(name, help=inspect.getdoc(command))(command)
    routes = typer.Typer(no_args_is_help=True, help="Which alarm goes to which channels.")
    for name, command in _OF_ROUTES:
        routes.command(name, help=inspect.getdoc(command))(command)
    group.add_typer(routes, name="route")
    return group


def _invoke(words: Sequence[str]) -> int:
    answer = get_command(build()).main(list(words), prog_name="taskdb", standalone_mode=False)
    return int(answer or 0)


def _epilog() -> str:
    return "Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."


def _set_up_django() -> None:
    """A Django project that the environment names brings its settings and its task modules.

    `manage.py taskdb` has done so already, and its children inherit the variable.
    """
    if os.environ.get("DJANGO_SETTINGS_MODULE") and find_spec("django") is not None:
        import_module("django").setup()


def _put_current_folder_first() -> None:
    """Task modules of the current folder can be imported, as Celery does it."""
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
