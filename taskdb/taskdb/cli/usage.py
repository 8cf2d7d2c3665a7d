"""The error of a command that was called wrongly."""

from __future__ import annotations

from taskdb.errors import Fault, InvalidInput


def wrong_usage(option: str, advice: str) -> InvalidInput:
    """Return the error for an option (empty: for the whole command). The caller raises it."""
    return InvalidInput("the command", [Fault(option, advice)])
