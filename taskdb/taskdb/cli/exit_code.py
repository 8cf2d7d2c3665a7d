"""What the number means that a command ends with."""

from __future__ import annotations

from enum import IntEnum

import typer

from taskdb.errors import (
    AlarmNotFound,
    BrokerUnreachable,
    CallbackRefused,
    DatabaseError,
    GrantsRefused,
    IllegalMove,
    InvalidInput,
    NotEncodable,
    PayloadStoreUnreachable,
    ScheduleExists,
    ScheduleNotFound,
    SequenceAlreadyCompleted,
    SequenceNotFound,
    SettingsError,
    SubscriptionExists,
    SubscriptionNotFound,
    TargetRefused,
    TaskAlreadyRegistered,
    TaskDBError,
    TaskNotFound,
    TaskNotSubmitted,
    UnknownTaskType,
    ValueRefused,
    WaitTimeout,
)


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

# The first that fits counts.
_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (InvalidInput, ExitCode.USAGE),
    (UnknownTaskType, ExitCode.USAGE),
    (SequenceNotFound, ExitCode.USAGE),
    (SettingsError, ExitCode.USAGE),
    (NotEncodable, ExitCode.USAGE),
    (ValueRefused, ExitCode.USAGE),
    (TaskAlreadyRegistered, ExitCode.USAGE),
    (TaskNotSubmitted, ExitCode.USAGE),
    (typer.TyperException, ExitCode.USAGE),
    (TaskNotFound, ExitCode.NOT_FOUND),
    (ScheduleNotFound, ExitCode.NOT_FOUND),
    (AlarmNotFound, ExitCode.NOT_FOUND),
    (ScheduleExists, ExitCode.USAGE),
    (SubscriptionNotFound, ExitCode.NOT_FOUND),
    (SubscriptionExists, ExitCode.USAGE),
    (TargetRefused, ExitCode.USAGE),
    (GrantsRefused, ExitCode.USAGE),
    (CallbackRefused, ExitCode.NOT_FOUND),
    (WaitTimeout, ExitCode.TIMEOUT),
    (IllegalMove, ExitCode.ILLEGAL_MOVE),
    (SequenceAlreadyCompleted, ExitCode.ILLEGAL_MOVE),
    (DatabaseError, ExitCode.UNREACHABLE),
    (BrokerUnreachable, ExitCode.UNREACHABLE),
    (PayloadStoreUnreachable, ExitCode.UNREACHABLE),
    (OSError, ExitCode.UNREACHABLE),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (typer.Abort, ExitCode.INTERRUPTED),
    (TaskDBError, ExitCode.FAILED),
)


def exit_code_of(error: BaseException) -> ExitCode:
    """The code that a command ends with after this error."""
    fitting = (code for kind, code in _CODES if isinstance(error, kind))
    return next(fitting, ExitCode.UNEXPECTED)
