"""The actor: the person or the program that makes a change by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from taskdb.logger import get_logger

log = get_logger("taskdb.action")

_default: ContextVar[str | None] = ContextVar("taskdb_actor", default=None)


@contextmanager
def acting_by_default(actor: str | None) -> Iterator[None]:
    """Record this actor with changes inside the block that name no other actor."""
    token = _default.set(actor)
    try:
        yield
    finally:
        _default.reset(token)


def default_actor() -> str | None:
    """Return the actor that `acting_by_default` has set; None outside of it."""
    return _default.get()


def note_change(change: str, subject: str, by: str | None) -> None:
    """Log a change by hand that stores no row with its actor."""
    log.info("change.made", change=change, subject=subject, by=by)
