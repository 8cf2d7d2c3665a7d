"""The actor: the person, or the program, that changes something by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from taskdb.logger import get_logger

log = get_logger("taskdb.action")

_default: ContextVar[str | None] = ContextVar("taskdb_actor", default=None)


@contextmanager
def acting_by_default(actor: str | None) -> Iterator[None]:
    """Record this actor with the changes inside that name no other, as the command line does."""
    token = _default.set(actor)
    try:
        yield
    finally:
        _default.reset(token)


def default_actor() -> str | None:
    """The actor that `acting_by_default` has set; None outside of it."""
    return _default.get()


def note_change(change: str, subject: str, by: str | None) -> None:
    """Log a change by hand that leaves no row with its actor behind."""
    log.info("change.made", change=change, subject=subject, by=by)
