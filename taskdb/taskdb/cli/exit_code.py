"""The meaning of the exit codes."""

from __future__ import annotations

from enum import IntEnum

import typer

from taskdb import errors


class ExitCode(IntEnum):
    """The exit codes, the same for every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    TIMEOUT = 4
    UNREACHABLE = 5
    ILLEGAL_MOVE = 6
    UNEXPECTED = 70
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "what the command is about failed (a task, a check, a child process)",
    ExitCode.USAGE: "wrong usage, input, task type, sequence or settings",
    ExitCode.NOT_FOUND: (
        "no such task, schedule, subscription or alarm, or none that waits for this callback"
    ),
    ExitCode.TIMEOUT: "waited too long",
    ExitCode.UNREACHABLE: "database, broker, data folder or payload store cannot be used",
    ExitCode.ILLEGAL_MOVE: "the task's status does not allow it",
    ExitCode.UNEXPECTED: "an error that this program did not expect",
    ExitCode.INTERRUPTED: "stopped with Ctrl-C",
}

_ERRORS: dict[ExitCode, tuple[type[BaseException], ...]] = {
    ExitCode.USAGE: (
        errors.InvalidInput, errors.UnknownTaskType, errors.SequenceNotFound, errors.SettingsError,
        errors.NotEncodable, errors.ValueRefused, errors.TaskAlreadyRegistered,
        errors.TaskNotSubmitted, errors.ScheduleExists, errors.SubscriptionExists,
        errors.TargetRefused, errors.GrantsRefused, typer.TyperException,
    ),
    ExitCode.NOT_FOUND: (
        errors.TaskNotFound, errors.ScheduleNotFound, errors.AlarmNotFound,
        errors.SubscriptionNotFound, errors.CallbackRefused,
    ),
    ExitCode.TIMEOUT: (errors.WaitTimeout,),
    ExitCode.ILLEGAL_MOVE: (errors.IllegalMove, errors.SequenceAlreadyCompleted),
    ExitCode.UNREACHABLE: (
        errors.DatabaseError, errors.BrokerUnreachable, errors.PayloadStoreUnreachable, OSError,
    ),
    ExitCode.INTERRUPTED: (KeyboardInterrupt, typer.Abort),
    ExitCode.FAILED: (errors.TaskDBError,),
}  # fmt: skip
"""The first match counts."""


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code of a command after this error."""
    fitting = (code for code, kinds in _ERRORS.items() if isinstance(error, kinds))
    return next(fitting, ExitCode.UNEXPECTED)
