"""`taskdb pause`, `taskdb resume` and `taskdb limit`: rules for a queue, a type or a tenant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypedDict

import typer

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, with_session
from taskdb.model.duration import duration_text
from taskdb.model.limit import Gate, GateOwner, Limit
from taskdb.redaction.printable import printable

QueueOption = Annotated[str | None, typer.Option("--queue", help="Tasks of this queue.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Tasks of this type.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Tasks of this tenant.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for who looks later.")]
MaxRunning = Annotated[
    int | None, typer.Option("--max-running", min=1, help="So many run at once, over all workers.")
]
MaxStarts = Annotated[
    int | None, typer.Option("--max-starts", min=1, help="So many begin in the time of --per.")
]
Per = Annotated[float | None, typer.Option("--per", min=0, help="A stretch of time, in seconds.")]


Own = Annotated[
    bool, typer.Option("--own", help="What the tenant has set for itself, not the operator's.")
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
) -> int:
    """Let no task of a queue, a type or a tenant begin until `taskdb resume`; what runs goes on."""
    place = _place(queue, type_name, tenant)
    session.taskdb.pause(**place, reason=reason)
    return _done(session.output, "paused", place)


@with_session
def resume(
    session: Session,
    queue: QueueOption = None,
    type_name: TypeOption = None,
    tenant: TenantOption = None,
    *,
    own: Own = False,
) -> int:
    """Lift a pause; what waited goes in order of its arrival."""
    place = _place(queue, type_name, tenant)
    lift = partial(session.taskdb.resume, owner=_owner(own=own))
    return _lifted(session, "resumed", place, lift, "it was not paused")


@with_session
def set_limit(
    session: Session,
    queue: QueueOption = None,
    type_name: TypeOption = None,
    tenant: TenantOption = None,
    max_running: MaxRunning = None,
    max_starts: MaxStarts = None,
    per: Per = None,
) -> int:
    """Let only so many tasks of a queue, a type or a tenant run at once, or begin in a time.

    It takes the place of the limit before it, also of one that a task type declares.
    """
    place = _place(queue, type_name, tenant)
    session.taskdb.set_limit(**place, max_running=max_running, max_starts=max_starts, per=per)
    return _done(session.output, "limited", place)


@with_session
def clear_limit(
    session: Session,
    queue: QueueOption = None,
    type_name: TypeOption = None,
    tenant: TenantOption = None,
    *,
    own: Own = False,
) -> int:
    """Remove a limit."""
    place = _place(queue, type_name, tenant)
    clear = partial(session.taskdb.clear_limit, owner=_owner(own=own))
    return _lifted(session, "cleared", place, clear, "it had no limit")


@with_session
def list_limits(session: Session) -> int:
    """Show every pause and every limit."""
    found = session.taskdb.gates()
    output = session.output
    if output.is_json:
        output.document([gate_json(gate) for gate in found])
    elif found:
        output.table(
            ("FOR", "NAME", "OWNER", "PAUSED", "LIMIT", "SET BY", "REASON"),
            [_row(gate) for gate in found],
        )
    else:
        output.note("no pauses, and no limits")
    return ExitCode.OK


def gate_json(gate: Gate) -> dict[str, Any]:
    """A rule as data."""
    limit = gate.limit
    return {
        "target": gate.target,
        "name": gate.name,
        "owner": gate.owner,
        "is_paused": gate.is_paused,
        "max_running": limit and limit.max_running,
        "max_starts": limit and limit.max_starts,
        "per_seconds": limit and limit.per and limit.per.total_seconds(),
        "origin": gate.origin,
        "reason": gate.reason,
        "set_by": gate.set_by,
        "set_at": gate.set_at and gate.set_at.isoformat(),
    }


def _row(gate: Gate) -> tuple[str, ...]:
    return (
        gate.target,
        printable(gate.name),
        gate.owner,
        "yes" if gate.is_paused else "-",
        _in_words(gate.limit),
        "its declaration" if gate.origin == "code" else printable(gate.set_by or "-"),
        printable(gate.reason or "-"),
    )


def _in_words(limit: Limit | None) -> str:
    if limit is None:
        return "-"
    said = []
    if limit.max_running is not None:
        said.append(f"{limit.max_running:,} at once")
    if limit.max_starts is not None and limit.per is not None:
        said.append(f"{limit.max_starts:,} in {duration_text(limit.per)}")
    return ", ".join(said)


def _place(queue: str | None, type_name: str | None, tenant: str | None) -> _Place:
    return {"queue": queue, "type": type_name, "tenant": tenant}


def _owner(*, own: bool) -> GateOwner | None:
    return "tenant" if own else None


def _lifted(
    session: Session, done: str, place: _Place, lift: Callable[..., bool], missing: str
) -> ExitCode:
    if lift(**place):
        return _done(session.output, done, place)
    if session.is_json:
        return _done(session.output, done, place, changed=False)
    session.output.note(f"nothing was changed: {missing}")
    return ExitCode.OK


def _done(output: Output, done: str, place: _Place, *, changed: bool = True) -> ExitCode:
    (target, name) = next((target, name) for target, name in place.items() if name is not None)
    if output.is_json:
        output.document({"target": target, "name": name, "done": done, "changed": changed})
    else:
        output.line(f"{done} {target} {printable(str(name))}")
    return ExitCode.OK
