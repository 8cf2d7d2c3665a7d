"""The origin of a submit: the request, the person and the address that a task is recorded with.

A framework sets them once per request, and each submit reads them here unless it names its own.
They belong to the running thread or asyncio task (and to the tasks and `asyncio.to_thread` calls
that it starts), never to another request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from taskdb.errors import Fault, InvalidInput
from taskdb.logger import get_logger

log = get_logger("taskdb.submit")

Said = str | Callable[[], str | None] | None
"""A text, or a function that returns it at a submit; None: not set."""

FIELDS = ("request_id", "created_by", "created_ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """The origin of submits. A field may be a function, called when a submit has no own value."""

    request_id: Said = None
    created_by: Said = None
    created_ip: Said = None


_stack: ContextVar[tuple[Submitter | None, ...]] = ContextVar("taskdb_submitters", default=())
"""The innermost first; None: no origin, and the outer ones are not read."""
_providers: list[Callable[[], Submitter | None]] = []


@contextmanager
def submitting_as(
    *, request_id: Said = None, created_by: Said = None, created_ip: Said = None
) -> Iterator[None]:
    """Record this origin with every task that is submitted inside, unless the submit has its own.

    Each value is a text, or a function that returns a text or None at a submit; a function that
    raises is logged and counts as None. Inside another `submitting_as`, a value left out is that
    of the outer one. Raises InvalidInput for any other value.
    """
    one = Submitter(request_id=request_id, created_by=created_by, created_ip=created_ip)
    faults = [
        Fault(name, f"{said!r} is neither text nor a function that returns text")
        for name in FIELDS
        if not (isinstance(said := getattr(one, name), str | None) or callable(said))
    ]
    if faults:
        raise InvalidInput("the submitter", faults)
    token = _stack.set((one, *_stack.get()))
    try:
        yield
    finally:
        _stack.reset(token)


@contextmanager
def submitting_as_nobody() -> Iterator[None]:
    """Record no origin with tasks that are submitted inside, also if an outer one is set."""
    token = _stack.set((None,))
    try:
        yield
    finally:
        _stack.reset(token)


def provide_submitter(provider: Callable[[], Submitter | None]) -> None:
    """Call this function, in the whole process, for values that no `submitting_as` sets.

    It is for frameworks. Each submit without own values calls it. It returns None if it does not
    know the submitter. The same function is added once.
    """
    if provider not in _providers:
        _providers.append(provider)


def submitter_texts(names: Iterable[str] = FIELDS) -> dict[str, str]:
    """Return the current values of these fields; fields without a value are left out."""
    wanted = set(names)
    found: dict[str, str] = {}
    sources = _sources()
    while wanted and (one := next(sources, None)) is not None:
        for name in tuple(wanted):
            text = _text(name, getattr(one, name))
            if text:
                found[name] = text
                wanted.remove(name)
    return found


def _sources() -> Iterator[Submitter]:
    for one in _stack.get():
        if one is None:
            return
        yield one
    for provider in _providers:
        provided = _answer("provider", provider)
        if provided is not None:
            yield provided


def _text(name: str, said: Said) -> str | None:
    text = _answer(name, said) if callable(said) else said
    if text is None or isinstance(text, str):
        return text
    log.warning("submitter.failed", what=name, reason=f"{type(text).__name__} is not text")
    return None


def _answer(what: str, ask: Callable[[], Any]) -> Any:
    """Return the result of a foreign function. Its errors are logged: a submit must not fail."""
    try:
        return ask()
    except Exception:
        log.exception("submitter.failed", what=what)
        return None
