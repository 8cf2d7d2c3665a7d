"""`taskdb create-task TYPE --field value …`: options made from the type's input model."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from taskdb.cli.given_client import settings_in_force
from taskdb.cli.session import Session, with_session
from taskdb.cli.signature import Option, with_parameters
from taskdb.cli.task.field import Field, fields_of
from taskdb.cli.task.json_option import read_input
from taskdb.cli.task.task_options import TASK_OPTIONS, TASK_PANEL, print_created, submit_options
from taskdb.cli.usage import wrong_usage
from taskdb.errors import UnknownTaskType
from taskdb.types.registry import default_registry, import_task_modules
from taskdb.types.task_type import TaskType

PROGRAM = "taskdb create-task"

_FLAGS = {"--json", "--debug", "--wait"}
_RESERVED = {"json", "debug", "help", "input", "wait", "timeout"}
_FIELDS_PANEL = "Input"
_FIELD_PREFIX = "field_"


def create_task(context: typer.Context) -> int:
    """Create a task: its row first, then its message.

    `taskdb create-task TYPE --help` shows the options that the input of a type takes.
    """
    name, words = _split(context.args)
    task_type = None if name is None else _find(name)
    command = typer.Typer(add_completion=False, rich_markup_mode=None)
    command.command(name=name, help=_help(task_type))(_command_of(name, task_type))
    program = f"{PROGRAM} {name or 'TYPE'}"
    answer = get_command(command).main(words, prog_name=program, standalone_mode=False)
    return int(answer or 0)


def _split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the type and the other words. The type is None if only help was requested."""
    for place, word in enumerate(words):
        if not word.startswith("-"):
            return word, [*words[:place], *words[place + 1 :]]
        if word not in _FLAGS:
            break
    if not words or "--help" in words:
        return None, ["--help"]
    raise wrong_usage("", "name the task type first: taskdb create-task TYPE [OPTIONS]")


def _find(name: str) -> TaskType | None:
    """The type; None for one that only the worker knows, where the settings allow it."""
    settings = settings_in_force()
    import_task_modules(settings.task_modules)
    find = default_registry.find if settings.allow_unknown_types else default_registry.get
    return find(name)


def _help(task_type: TaskType | None) -> str:
    if task_type is None:
        return inspect.getdoc(create_task) or ""
    return task_type.description or f"Create a task of type {task_type.name}."


def _command_of(name: str | None, task_type: TaskType | None) -> Any:
    """The command of one type: the options of every submit, and those of its input."""
    fields = fields_of(task_type) if task_type is not None else []
    clashing = {_dashed(field.key) for field in fields}

    def run(session: Session, **values: Any) -> int:
        if name is None:
            raise UnknownTaskType("", [])
        given = {
            field.key: field.value_of(values[f"{_FIELD_PREFIX}{place}"])
            for place, field in enumerate(fields)
            if values[f"{_FIELD_PREFIX}{place}"] not in (None, [])
        }
        value = read_input(values["input"], given)
        task = session.taskdb.submit_task(name, value, **submit_options(values))
        wait, timeout = values["wait"], values["timeout"]
        return print_created(session, task, wait=wait, timeout=timeout, option="--timeout")

    options = {
        **{f"{_FIELD_PREFIX}{place}": _field_option(field) for place, field in enumerate(fields)},
        **{key: _parameter(key, one, clashing) for key, one in _OPTIONS.items()},
    }
    run.__signature__ = with_parameters(  # type: ignore[attr-defined]
        _bare_command, options, instead_of="values"
    )
    return with_session(run)


def _bare_command(session: Session, **values: Any) -> int:
    """The shape that every generated command begins with."""
    raise NotImplementedError


def _field_option(field: Field) -> tuple[Any, Any]:
    flag = f"--{_field_flag(field)}"
    kind: Any = list[str] | None if field.repeats else str | None
    names = [flag]
    metavar: str | None = field.word.upper() if "|" not in field.word else field.word
    if field.is_flag:
        kind, metavar = bool | None, None
        names = [f"{flag}/--no-{_field_flag(field)}"]
    option = typer.Option(
        *names,
        metavar=metavar,
        help=_field_help(field),
        show_default=False,
        rich_help_panel=_FIELDS_PANEL,
    )
    return Annotated[kind, option], None


def _field_help(field: Field) -> str:
    marks = ["required"] if field.is_required else []
    marks += ["may be repeated"] if field.repeats else []
    marks += [f"default: {field.default_text}"] if field.default_text else []
    mark = f"({'; '.join(marks)})" if marks else ""
    return f"{field.description} {mark}".strip()


def _field_flag(field: Field) -> str:
    flag = _dashed(field.key)
    return f"field-{flag}" if flag in _RESERVED else flag


def _parameter(key: str, option: Option, clashing: set[str]) -> tuple[Any, Any]:
    """An option of every task; its flag yields to a field of the input with its name."""
    flag = _dashed(key)
    prefix = "--task-" if flag in clashing and flag not in _RESERVED else "--"
    return option.parameter(key, TASK_PANEL, prefix=prefix)


def _dashed(key: str) -> str:
    return key.replace("_", "-")


_INPUT = Option("The input as JSON, from a file, or from standard input.", metavar="JSON|@FILE|-")
_TIMEOUT = Option("Wait no longer.", metavar="DURATION")
_OPTIONS = {"input": _INPUT, **TASK_OPTIONS, "timeout": _TIMEOUT}
