"""One answer of `taskdb check`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    subject: str
    level: Level
    message: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def good(subject: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding(subject, Level.OK, message)


def doubtful(subject: str, message: str, advice: str) -> Finding:
    """It may be meant so."""
    return Finding(subject, Level.WARN, message, advice)


def bad(subject: str, message: str, advice: str = "") -> Finding:
    """It will not work like this."""
    return Finding(subject, Level.ERROR, message, advice)
