"""Prints errors: a line for people, JSON for programs, a traceback for `--debug`."""

from __future__ import annotations

import traceback
from typing import Any

import typer

from taskdb.cli.document import document_of
from taskdb.cli.exit_code import ExitCode, exit_code_of
from taskdb.cli.given_client import settings_in_force
from taskdb.cli.output import Output, json_text
from taskdb.errors import InvalidInput, SettingsError, TaskDBError
from taskdb.redaction.redaction import redaction_of

_MOST = 65_536
"""Characters of a traceback, the last ones."""


def report(error: BaseException, output: Output, *, debug: bool) -> ExitCode:
    """Print an error on standard error. Returns the exit code."""
    code = exit_code_of(error)
    if debug and code is not ExitCode.INTERRUPTED:
        output.note(_without_secrets("".join(traceback.format_exception(error)).rstrip()))
    if output.is_json:
        output.note(json_text({"error": as_json(error)}))
    elif code is not ExitCode.INTERRUPTED:
        output.note(f"error: {message_of(error)}", style="red")
        _hint(error, output)
    return code


def as_json(error: BaseException) -> dict[str, Any]:
    """An error as data."""
    code = error.code if isinstance(error, TaskDBError) else exit_code_of(error).name
    described: dict[str, Any] = {"code": code, "message": message_of(error)}
    if isinstance(error, TaskDBError):
        described["page"] = error.page
    if isinstance(error, InvalidInput):
        described["faults"] = [document_of(fault) for fault in error.faults]
    return described


def message_of(error: BaseException) -> str:
    """Return the error in a line or two, without secrets."""
    return _without_secrets(_message_of(error))


def _without_secrets(text: str) -> str:
    """Redact a text: an error of a driver or of another library may repeat its arguments."""
    try:
        settings = settings_in_force()
    except SettingsError:
        return redaction_of((), ()).text(text, _MOST, end=True)
    return settings.redaction.text(text, _MOST, known=settings.secrets, end=True)


def _message_of(error: BaseException) -> str:
    if isinstance(error, TaskDBError | OSError):
        return str(error)
    if isinstance(error, typer.TyperException):
        return error.format_message()
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "stopped"
    return (
        f"unexpected {type(error).__name__}: {error}. Please report it, with what the same "
        "command prints with --debug"
    )


def _hint(error: BaseException, output: Output) -> None:
    if isinstance(error, TaskDBError) and output.err.is_terminal:
        output.note(f"`taskdb docs {error.code}` shows more")
    context = getattr(error, "ctx", None)
    if isinstance(error, typer.TyperException) and context is not None:
        output.note(f"`{context.command_path} --help` shows what it takes")
