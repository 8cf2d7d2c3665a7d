"""`taskdb pause`, `taskdb resume` and `taskdb limit`: for a queue, a type or a tenant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypedDict

import typer

from taskdb.cli.document import document_of
from taskdb.cli.output import Output
from taskdb.cli.presenter import Presenter, column
from taskdb.cli.session import Session, with_session
from taskdb.model.duration import duration_text
from taskdb.model.limit import LimitEntity, LimitOwner

QueueOption = Annotated[str | None, typer.Option("--queue", help="Tasks of this queue.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Tasks of this type.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Tasks of this tenant.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for later readers.")]
MaxRunning = Annotated[
    int | None,
    typer.Option("--max-running", min=1, help="At most so many run at once, over all workers."),
]
MaxStarts = Annotated[
    int | None,
    typer.Option("--max-starts", min=1, help="At most so many start in the time of --per."),
]
Per = Annotated[float | None, typer.Option("--per", min=0, help="A stretch of time, in seconds.")]


Own = Annotated[
    bool, typer.Option("--own", help="The setting of the tenant itself, not the operator's.")
]


class _Place(TypedDict):
    queue: str | None
    type: str | None
    tenant: str | None


@with_session
def pause(
    session: Session,
    queue: QueueOption = None,
    type_name: TypeOption = None,
    tenant: TenantOption = None,
    reason: Reason = None,
) -> None:
    """Start no task of a queue, a type or a tenant until `taskdb resume`; running ones continue."""
    place = _place(queue, type_name, tenant)
    session.taskdb.limits.pause(**place, reason=reason)
    _done(session.output, "paused", place)


@with_session
def resume(
    session: Session,
    queue: QueueOption = None,
    type_name: TypeOption = None,
    tenant: TenantOption = None,
    *,
    own: Own = False,
) -> None:
    """End a pause; held tasks are released in order of arrival."""
    place = _place(queue, type_name, tenant)
    lift = partial(session.taskdb.limits.resume, owner=_owner(own=own))
    _lifted(session, "resumed", place, lift, "it was not paused")


@with_session
def set_limit(
    session: Session,
    queue: QueueOption = None,
    type_name: TypeOption = None,
    tenant: TenantOption = None,
    max_running: MaxRunning = None,
    max_starts: MaxStarts = None,
    per: Per = None,
) -> None:
    """Limit how many tasks of a queue, a type or a tenant run at once, or start in a time.

    The limit replaces the one before it, also one that a task type declares.
    """
    place = _place(queue, type_name, tenant)
    session.taskdb.limits.set(**place, max_running=max_running, max_starts=max_starts, per=per)
    _done(session.output, "limited", place)


@with_session
def clear_limit(
    session: Session,
    queue: QueueOption = None,
    type_name: TypeOption = None,
    tenant: TenantOption = None,
    *,
    own: Own = False,
) -> None:
    """Remove a limit."""
    place = _place(queue, type_name, tenant)
    clear = partial(session.taskdb.limits.clear, owner=_owner(own=own))
    _lifted(session, "cleared", place, clear, "it had no limit")


@with_session
def list_limits(session: Session) -> None:
    """List every pause and every limit."""
    found = session.taskdb.limits.list()
    if session.is_json:
        session.output.document([LIMIT.document(entity) for entity in found])
    else:
        LIMIT.print_all(session.output, found, "no pauses, and no limits")


def _limit_text(entity: LimitEntity) -> str | None:
    limit = entity.limit
    parts = []
    if limit is not None and limit.max_running is not None:
        parts.append(f"{limit.max_running:,} at once")
    if limit is not None and limit.max_starts is not None and limit.per is not None:
        parts.append(f"{limit.max_starts:,} in {duration_text(limit.per)}")
    return ", ".join(parts) or None


def _document(entity: LimitEntity) -> dict[str, Any]:
    limit = entity.limit
    return {
        **document_of(entity, without=("limit",)),
        "max_running": limit and limit.max_running,
        "max_starts": limit and limit.max_starts,
        "per_seconds": limit and limit.per and limit.per.total_seconds(),
    }


LIMIT = Presenter[LimitEntity](
    column("FOR", lambda entity: entity.target),
    column("NAME", lambda entity: entity.name),
    column("OWNER", lambda entity: entity.owner),
    column("PAUSED", lambda entity: "yes" if entity.is_paused else None),
    column("LIMIT", _limit_text),
    column(
        "SET BY",
        lambda entity: "its declaration" if entity.origin == "code" else entity.set_by,
    ),
    column("REASON", lambda entity: entity.reason),
    document=_document,
)


def _place(queue: str | None, type_name: str | None, tenant: str | None) -> _Place:
    return {"queue": queue, "type": type_name, "tenant": tenant}


def _owner(*, own: bool) -> LimitOwner | None:
    return "tenant" if own else None


def _lifted(
    session: Session, done: str, place: _Place, lift: Callable[..., bool], missing: str
) -> None:
    if lift(**place):
        _done(session.output, done, place)
    elif session.is_json:
        _done(session.output, done, place, changed=False)
    else:
        session.output.note(f"nothing was changed: {missing}")


def _done(output: Output, done: str, place: _Place, *, changed: bool = True) -> None:
    target, name = next((target, name) for target, name in place.items() if name is not None)
    document = {"target": target, "name": name, "done": done, "changed": changed}
    output.result(document, f"{done} {target} {name}")
