"""A command that was called wrongly."""

from __future__ import annotations

from taskdb.errors import Fault, InvalidInput


def wrong_usage(option: str, advice: str) -> InvalidInput:
    """The error for an option (empty: for the whole command), to be raised by the caller."""
    return InvalidInput("the command", [Fault(option, advice)])
