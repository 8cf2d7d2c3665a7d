"""Errors about a value: it does not validate, is not JSON, or cannot be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskdb.errors.taskdb_error import TaskDBError


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of an input: its dotted path (`''` for the whole input) and the reason."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidInput(TaskDBError, ValueError):
    """The arguments of a submit, or the input of a task, do not validate. Nothing was written."""

    page = "reference/limits.md"

    def __init__(self, subject: str, faults: Sequence[Fault]) -> None:
        self.subject = subject
        self.faults = tuple(faults)
        listed = "; ".join(str(fault) for fault in self.faults)
        super().__init__(f"{subject} is not valid: {listed}")


class PayloadTooLarge(InvalidInput):
    """A payload is larger than the limit. Nothing was written."""

    def __init__(self, subject: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        advice = (
            f"{size:,} bytes of JSON, the limit is {limit:,}: store the data elsewhere and submit "
            "its address, or raise TASKDB_PAYLOAD_LIMIT_BYTES"
        )
        super().__init__(subject, [Fault("", advice)])


class NotEncodable(TaskDBError, TypeError):
    """A value cannot be stored as JSON; the message names the place and the reason."""

    page = "reference/limits.md"


class ValueRefused(TaskDBError, ValueError):
    """The database cannot store a value. Nothing was written."""

    page = "reference/limits.md"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the database cannot store a value of this task ({reason}): change the value"
        )
