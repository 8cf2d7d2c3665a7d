"""One result of `taskdb check`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, its state, and what to do about it."""

    subject: str
    level: Level
    message: str
    advice: str = ""


def good(subject: str, message: str) -> Finding:
    """A finding with nothing to do."""
    return Finding(subject, Level.OK, message)


def doubtful(subject: str, message: str, advice: str) -> Finding:
    """A finding that may be intended."""
    return Finding(subject, Level.WARN, message, advice)


def bad(subject: str, message: str, advice: str = "") -> Finding:
    """A finding that keeps tasks from being submitted or run."""
    return Finding(subject, Level.ERROR, message, advice)
