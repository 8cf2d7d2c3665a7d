"""`taskdb create-task TYPE --field value …`: options made from the type's input model."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any, cast, get_args

import typer
from typer.main import get_command

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, settings_in_force, with_session
from taskdb.cli.signature import with_parameters
from taskdb.cli.task.field import Field, fields_of
from taskdb.cli.task.json_option import read_input
from taskdb.cli.task.presenter import one_line, task_json
from taskdb.cli.task.wait import wait_and_print
from taskdb.cli.time_option import duration_of, from_now, moment_of
from taskdb.cli.usage import wrong_usage
from taskdb.client.submission.options import SubmitOptions
from taskdb.errors import UnknownTaskType
from taskdb.model.entity import TaskEntity
from taskdb.model.status import TaskStatus
from taskdb.settings.settings import Settings
from taskdb.store.contract import OnConflict
from taskdb.types.registry import Registry, default_registry, import_task_modules
from taskdb.types.task_type import TaskType

PROGRAM = "taskdb create-task"
RAW = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Click's settings of a command that reads its words itself."""

_FLAGS = {"--json", "--debug", "--wait"}
_RESERVED = {"json", "debug", "help", "input", "wait", "timeout"}
_FIELDS_PANEL = "Input"
_TASK_PANEL = "Task"
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
    """The type, and all other words; None where help is all that was asked for."""
    for place, word in enumerate(words):
        if not word.startswith("-"):
            return word, [*words[:place], *words[place + 1 :]]
        if word not in _FLAGS:
            break
    if not words or "--help" in words:
        return None, ["--help"]
    advice = "name the task type first: taskdb create-task TYPE [OPTIONS]"
    raise wrong_usage("", advice)


def _find(name: str) -> TaskType | None:
    """The type; None for one that only the worker knows, where the settings allow it."""
    settings = settings_in_force()
    registry = _discover(settings)
    if settings.allow_unknown_types:
        return registry.find(name)
    return registry.get(name)


def _discover(settings: Settings) -> Registry:
    import_task_modules(settings.task_modules)
    return default_registry


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
        return _submit(session, name, read_input(values.pop("input"), given), values)

    options = {
        **{f"{_FIELD_PREFIX}{place}": _field_option(field) for place, field in enumerate(fields)},
        **{key: _renamed(key, option, clashing) for key, option in _OPTIONS.items()},
    }
    run.__signature__ = with_parameters(  # type: ignore[attr-defined]
        _bare_command, options, instead_of="values"
    )
    return with_session(run)


def _bare_command(session: Session, **values: Any) -> int:
    """The shape that every generated command begins with."""
    raise NotImplementedError


def _submit(session: Session, name: str, value: Any, values: dict[str, Any]) -> int:
    taskdb = session.taskdb
    task = taskdb.submit_task(name, value, **_options_of(values))
    if not values["wait"]:
        print_created(session.output, task)
        return ExitCode.OK
    if not session.is_json:
        print_created(session.output, task)
    return wait_and_print(session.output, taskdb, task.id, values["timeout"])


def print_created(output: Output, task: TaskEntity) -> None:
    """The id, and the rest in a line; a remark where the broker did not take it."""
    if output.is_json:
        output.document(task_json(task))
    else:
        output.line(task.id)
        output.line(one_line(task))
    if task.status is TaskStatus.CREATED:
        output.note(
            "the broker did not take it in time; it is kept and published later "
            "(`taskdb check` looks why)",
            style="yellow",
        )


def _options_of(values: dict[str, Any]) -> SubmitOptions:
    found: dict[str, Any] = {name: values[name] for name in _AS_GIVEN if values[name] is not None}
    if values["run_at"] is not None:
        found["run_at"] = moment_of(values["run_at"], "--run-at")
    if values["delay"] is not None:
        found["delay"] = duration_of(values["delay"], "--delay")
    if values["deadline"] is not None:
        found["deadline"] = from_now(values["deadline"], "--deadline")
    if values["tag"]:
        found["tags"] = values["tag"]
    return cast("SubmitOptions", found)


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


def _renamed(key: str, option: tuple[str, Any, Any], clashing: set[str]) -> tuple[Any, Any]:
    """An option of every submit; where the input has a field of its name, it stands aside."""
    text, kind, default = option
    flag = _dashed(key)
    name = f"--task-{flag}" if flag in clashing and flag not in _RESERVED else f"--{flag}"
    metavar = None if kind is bool else _METAVARS.get(key, "TEXT")
    declared = typer.Option(name, help=text, metavar=metavar, rich_help_panel=_TASK_PANEL)
    return Annotated[kind, declared], default


def _dashed(key: str) -> str:
    return key.replace("_", "-")


_TEXT = str | None
_METAVARS = {
    "input": "JSON|@FILE|-", "delay": "DURATION", "run_at": "MOMENT", "deadline": "MOMENT",
    "timeout": "DURATION", "priority": "0-9", "on_conflict": "|".join(get_args(OnConflict)),
}  # fmt: skip
_AS_GIVEN = ("tenant", "name", "unique_key", "on_conflict", "priority", "queue", "notify_id")
_OPTIONS: dict[str, tuple[str, Any, Any]] = {
    "input": ("The input as JSON, from a file, or from standard input.", _TEXT, None),
    "tenant": ("Whose task it is.", _TEXT, None),
    "name": ("What people call it; default: its type.", _TEXT, None),
    "unique_key": ("At most one task of this type and tenant has it.", _TEXT, None),
    "on_conflict": ("What to do when there is one; default: resubmit.", _TEXT, None),
    "run_at": ("Not before then.", _TEXT, None),
    "delay": ("Not before so long from now; 90, 5m, 1h30m.", _TEXT, None),
    "deadline": ("Failed if no worker took it by then; 10m: ten minutes from now.", _TEXT, None),
    "priority": ("0 to 9, 9 is taken first.", int | None, None),
    "queue": ("The queue, if not that of its type.", _TEXT, None),
    "notify_id": ("The id that its notifications carry.", _TEXT, None),
    "tag": ("A tag; may be repeated.", list[str] | None, None),
    "wait": ("Wait until it has ended; exit 1 unless it is COMPLETED.", bool, False),
    "timeout": ("Wait no longer.", _TEXT, None),
}
