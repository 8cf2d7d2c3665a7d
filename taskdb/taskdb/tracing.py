"""Traces: the trace of the caller is stored in the row, and continued by the run.

OpenTelemetry is not imported here before the application has imported it: until then it cannot be
configured and no span can be active. The check costs one lookup in a dictionary. A trace is stored
and sent in the W3C form: `traceparent`, a space, `tracestate`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

Kind = Literal["PRODUCER", "CONSUMER"]

_API = "opentelemetry.trace"
_NAME = "taskdb"
_STATE_LIMIT = 512
"""Most characters of a tracestate that is passed on; W3C requires at least this many."""
_NOTHING: AbstractContextManager[Any] = nullcontext()


def carried() -> str | None:
    """Return the active trace in its stored form; None without one."""
    api = _api()
    if api is None:
        return None
    context = api.get_current_span().get_span_context()
    return _spelled(context) if context.is_valid else None


def span(
    name: str,
    kind: Kind,
    attributes: Mapping[str, Any],
    *,
    parent: str | None = None,
    link: str | None = None,
) -> AbstractContextManager[Any]:
    """Return a context manager with an active span, in its stored form; None without a provider.

    The span continues `parent`, a stored trace, or else the active span. An error that passes is
    not recorded; the caller records it with `failed`.
    """
    api = _configured()
    return _NOTHING if api is None else _span(api, name, kind, attributes, parent, link)


def passed(
    name: str, kind: Kind, attributes: Mapping[str, Any], parent: str, between: tuple[int, int]
) -> None:
    """Record a span that has ended, with begin and end in nanoseconds since the epoch."""
    api = _configured()
    if api is None:
        return
    began, ended = between
    one = _tracer(api).start_span(
        name,
        context=_context_of(parent),
        kind=api.SpanKind[kind],
        attributes=_without_none(attributes),
        start_time=began,
    )
    one.end(end_time=ended)


def is_wanted() -> bool:
    """Return whether a provider is configured that exports spans."""
    return _configured() is not None


def headers_of(trace: str | None) -> dict[str, str]:
    """Return a stored trace as the headers of a message."""
    if trace is None:
        return {}
    parent, _, state = trace.partition(" ")
    return {"traceparent": parent} | ({"tracestate": state} if state else {})


@contextmanager
def _span(
    api: Any,
    name: str,
    kind: Kind,
    attributes: Mapping[str, Any],
    parent: str | None,
    link: str | None,
) -> Iterator[Any]:
    links = [] if link is None else _links(api, link)
    with _tracer(api).start_as_current_span(
        name,
        context=None if parent is None else _context_of(parent),
        kind=api.SpanKind[kind],
        attributes=_without_none(attributes),
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as one:
        yield one


def failed(one: Any, kind: str, message: str) -> None:
    """Mark a span as failed. A None is ignored."""
    if one is not None:
        api: Any = _api()
        one.set_attribute("error.type", kind)
        one.set_status(api.Status(api.StatusCode.ERROR, message))


def _links(api: Any, trace: str) -> list[Any]:
    context = api.get_current_span(_context_of(trace)).get_span_context()
    return [api.Link(context)] if context.is_valid else []


def _api() -> Any:
    return sys.modules.get(_API)


def _configured() -> Any:
    """Return the API if a provider is set that creates real spans, else None."""
    api = _api()
    if api is None or isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
        return None
    return api


def _tracer(api: Any) -> Any:
    return api.get_tracer(_NAME)


def _without_none(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _spelled(context: Any) -> str:
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    state = context.trace_state.to_header() if context.trace_state else ""
    return f"{parent} {state}" if state and len(state) <= _STATE_LIMIT else parent


def _context_of(trace: str) -> Any:
    """Return the context of a stored trace; an empty context for any other text."""
    from opentelemetry.context import Context  # noqa: PLC0415 - an extra
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - an extra
        TraceContextTextMapPropagator,
    )

    return TraceContextTextMapPropagator().extract(headers_of(trace), Context())
