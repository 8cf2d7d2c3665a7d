"""Who submits: the request, the person and the address that a task is recorded with.

A view does not hand these down to each submit: its framework says them once, and a submit that
names none of them takes them from here. What is said belongs to the running thread or asyncio task
(and to the tasks and `asyncio.to_thread` calls that it starts), never to another request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import structlog

from taskdb.errors import Fault, InvalidInput

log = structlog.get_logger("taskdb.submit")

Said = str | Callable[[], str | None] | None
"""A text, or what answers it when a submit asks; None: not said."""

FIELDS = ("request_id", "created_by", "created_ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Who submits; each may be a callable, which is called for a submit that does not say it."""

    request_id: Said = None
    created_by: Said = None
    created_ip: Said = None


_stack: ContextVar[tuple[Submitter | None, ...]] = ContextVar("taskdb_submitters", default=())
"""The innermost first; None: nobody, and ask no further."""
_providers: list[Callable[[], Submitter | None]] = []


@contextmanager
def submitting_as(
    *, request_id: Said = None, created_by: Said = None, created_ip: Said = None
) -> Iterator[None]:
    """Record these with every task that is submitted inside, unless the submit says otherwise.

    Each is a text, or a callable that answers one (or None) when a submit asks for it; one that
    raises is logged and counts as None. Inside another `submitting_as`, what is left out is the
    outer one's. Raises InvalidInput for what is neither.
    """
    one = Submitter(request_id=request_id, created_by=created_by, created_ip=created_ip)
    faults = [
        Fault(name, f"{said!r} is neither text nor a callable that answers text")
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
    """Record nobody with what is submitted inside, whoever is said around it or provided."""
    token = _stack.set((None,))
    try:
        yield
    finally:
        _stack.reset(token)


def provide_submitter(provider: Callable[[], Submitter | None]) -> None:
    """Ask this one, in the whole process, for what no `submitting_as` says; for frameworks.

    It is asked at each submit that leaves something out, and answers None where it does not know.
    Providing the same one again changes nothing.
    """
    if provider not in _providers:
        _providers.append(provider)


def submitter_texts(names: Iterable[str] = FIELDS) -> dict[str, str]:
    """What is said of these fields here and now; what nobody says is left out."""
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
    log.warning("submitter.broken", what=name, reason=f"{type(text).__name__} is not text")
    return None


def _answer(what: str, ask: Callable[[], Any]) -> Any:
    """What a callable of someone else's answers; who submits is never worth losing a submit."""
    try:
        return ask()
    except Exception:
        log.exception("submitter.broken", what=what)
        return None
