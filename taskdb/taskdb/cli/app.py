"""The program: its commands, of which only the one that runs is imported, and how a run ends."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.main import get_command

from taskdb.cli.command_table import COMMANDS, GROUPS, Command
from taskdb.cli.exit_code import ExitCode
from taskdb.cli.given_client import using
from taskdb.errors import SettingsError

if TYPE_CHECKING:
    from taskdb.client.taskdb import TaskDB

HELP = "Tasks in a database of record, run by Celery. Everything is set by TASKDB_… variables."

_OWN_PARSING = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Click's settings of a command that parses its words itself."""
_PARSE_THEIR_WORDS = {"create-task", "worker"}
_COMPLETION = "_TASKDB_COMPLETE"
"""The variable that a shell sets while it completes a command."""


def run_command(words: Sequence[str], *, client: TaskDB | None = None) -> int:
    """Run one command, with the client if one is given. Returns its exit code; never raises."""
    _put_current_folder_first()
    own = words[: words.index("--")] if "--" in words else words
    try:
        _set_up_django()
        if own == ["--version"]:
            sys.stdout.write(f"taskdb {version('celery-taskdb')}\n")
            return ExitCode.OK
        with using(client):
            program = get_command(build(None if _COMPLETION in os.environ else words))
            code = program.main(list(words), prog_name="taskdb", standalone_mode=False)
            return int(code or 0)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else ExitCode.FAILED
    except BaseException as error:  # noqa: BLE001 - a user must read of every error
        from taskdb.cli.failure import report  # noqa: PLC0415 - imports much, and is rarely needed
        from taskdb.cli.output import Output  # noqa: PLC0415 - the same

        return report(error, Output(is_json="--json" in own), debug="--debug" in own)


def build(words: Sequence[str] | None = None) -> typer.Typer:
    """Build the program, with the command that `words` name; without words, with all commands.

    Every other command is only listed in the help, and its module is not imported.
    """
    apps = {group.words: typer.Typer(no_args_is_help=True, help=group.help) for group in GROUPS}
    apps[""] = app = typer.Typer(
        name="taskdb",
        help=HELP,
        epilog=_epilog(),
        no_args_is_help=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    named = None if words is None else [word for word in words if not word.startswith("-")]
    for command in COMMANDS:
        _add(apps[command.group], command, _function_of(command, named))
    for group in GROUPS:
        above, _, name = group.words.rpartition(" ")
        apps[above].add_typer(apps[group.words], name=name, rich_help_panel=group.panel)
    return app


def _add(app: typer.Typer, command: Command, function: Callable[..., Any]) -> None:
    parses = command.name in _PARSE_THEIR_WORDS
    app.command(
        command.name,
        help=inspect.getdoc(function),
        rich_help_panel=command.panel,
        context_settings=dict(_OWN_PARSING) if parses else None,
        add_help_option=not parses,
    )(function)


def _function_of(command: Command, named: list[str] | None) -> Callable[..., Any]:
    """Return the function of a named command; for any other, an empty one with its docstring."""
    path = command.words.split()
    module, _, name = command.place.partition(":")
    if named is None or named[: len(path)] == path:
        found: Callable[..., Any] = getattr(import_module(f"taskdb.cli.{module}"), name)
        return found

    def not_named() -> None:
        raise NotImplementedError

    if path[:-1] == named:
        not_named.__doc__ = _docstring(module, name)
    return not_named


def _docstring(module: str, name: str) -> str | None:
    """The docstring of a function, read from its file: an import would take much longer."""
    file = Path(__file__).parent / f"{module.replace('.', '/')}.py"
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    found = (node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == name)
    return ast.get_docstring(next(found))


def _epilog() -> str:
    return "Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."


def _set_up_django() -> None:
    """Set up a Django project that the environment names, with its settings and task modules.

    `manage.py taskdb` has done so already, and its children inherit the variable. Raises
    SettingsError where it cannot be.
    """
    named = os.environ.get("DJANGO_SETTINGS_MODULE")
    if named and find_spec("django") is not None:
        try:
            import_module("django").setup()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            message = f"Django cannot start with DJANGO_SETTINGS_MODULE={named}"
            raise SettingsError(f"{message} ({reason}): mend it, or unset it") from error


def _put_current_folder_first() -> None:
    """Put the current folder first in `sys.path`, as Celery does, for task modules in it."""
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
