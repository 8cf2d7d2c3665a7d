"""One result of `taskdb check`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """The subject of a check, its state, and the next step."""

    subject: str
    level: Level
    message: str
    advice: str = ""


def good(subject: str, message: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(subject, Level.OK, message)


def doubtful(subject: str, message: str, advice: str) -> Finding:
    """Return a finding that may be intended."""
    return Finding(subject, Level.WARN, message, advice)


def bad(subject: str, message: str, advice: str = "") -> Finding:
    """Return a finding that stops tasks from being submitted or run."""
    return Finding(subject, Level.ERROR, message, advice)
