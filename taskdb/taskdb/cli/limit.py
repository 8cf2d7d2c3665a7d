"""`taskdb pause`, `taskdb resume` and `taskdb limit`: for a queue, a type or a tenant."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import typer

from taskdb.cli.document import document_of
from taskdb.cli.output import Output
from taskdb.cli.presenter import Presenter, column
from taskdb.cli.session import Session, with_session
from taskdb.cli.signature import Option, with_options
from taskdb.cli.time_option import duration_of
from taskdb.cli.usage import wrong_usage
from taskdb.errors import did_you_mean
from taskdb.model.duration import duration_text
from taskdb.model.limit import LimitEntity

Reason = Annotated[str | None, typer.Option("--reason", help="A reason, for other people.")]
MaxRunning = Annotated[
    int | None,
    typer.Option("--max-running", min=1, help="The most tasks that run at once, on all workers."),
]
MaxStarts = Annotated[
    int | None,
    typer.Option("--max-starts", min=1, help="The most tasks that start in one period of --per."),
]
Per = Annotated[
    str | None,
    typer.Option("--per", metavar="DURATION", help="The period of --max-starts; 90, 5m, 1h."),
]
Force = Annotated[bool, typer.Option("--force", help="Accept a type that no module declares.")]
Own = Annotated[
    bool, typer.Option("--own", help="The tenant's own pause or limit, not the operator's.")
]


class Place(TypedDict):
    """The queue, the type or the tenant that a command is about; the others are None."""

    queue: str | None
    type: str | None
    tenant: str | None


with_place = with_options(
    {name: Option(f"Tasks of this {name}.") for name in Place.__annotations__},
    None,
    instead_of="place",
)


@with_session
@with_place
def pause(session: Session, place: Place, reason: Reason = None, *, force: Force = False) -> None:
    """Start no task of a queue, type or tenant until `taskdb resume`. Running tasks continue."""
    _require_type(session, place, force=force)
    session.taskdb.limits.pause(**place, reason=reason)
    _print_done(session.output, "paused", place)


@with_session
@with_place
def resume(session: Session, place: Place, *, own: Own = False) -> None:
    """End a pause; held tasks are released in order of arrival."""
    is_changed = session.taskdb.limits.resume(**place, owner="tenant" if own else None)
    _print_done(session.output, "resumed", place, nothing="" if is_changed else "it was not paused")


@with_session
@with_place
def set_limit(
    session: Session,
    place: Place,
    max_running: MaxRunning = None,
    max_starts: MaxStarts = None,
    per: Per = None,
    *,
    force: Force = False,
) -> None:
    """Limit how many tasks of a queue, a type or a tenant run at once, or start in a period.

    It replaces an earlier limit, also one that a task type declares.
    """
    length = None if per is None else duration_of(per, "--per")
    _require_type(session, place, force=force)
    session.taskdb.limits.set(**place, max_running=max_running, max_starts=max_starts, per=length)
    _print_done(session.output, "limited", place)


@with_session
@with_place
def clear_limit(session: Session, place: Place, *, own: Own = False) -> None:
    """Remove a limit."""
    is_changed = session.taskdb.limits.clear(**place, owner="tenant" if own else None)
    _print_done(session.output, "cleared", place, nothing="" if is_changed else "it had no limit")


@with_session
def list_limits(session: Session) -> None:
    """List every pause and every limit."""
    found = session.taskdb.limits.list()
    if session.is_json:
        session.output.document([LIMIT.document(entity) for entity in found])
    else:
        LIMIT.print_all(session.output, found, "no pauses and no limits")


def _require_type(session: Session, place: Place, *, force: bool) -> None:
    """Refuse a type that no module declares: a misspelled one would hold nothing.

    Raises InvalidInput.
    """
    name = place["type"]
    if force or name is None or session.settings.allow_unknown_types:
        return
    known = [one.name for one in session.taskdb.types.list()]
    if name not in known:
        listed = f"{did_you_mean(name, known)}. Declared: {', '.join(known) or 'none'}"
        raise wrong_usage(
            "--type", f"no task type is named {name!r}{listed}. --force takes any other name too"
        )


def _print_done(output: Output, done: str, place: Place, *, nothing: str = "") -> None:
    """Print the change; `nothing` is the reason if there was none."""
    target, name = next((target, name) for target, name in place.items() if name is not None)
    if nothing and not output.is_json:
        output.note(f"nothing was changed: {nothing}")
        return
    document = {"target": target, "name": name, "done": done, "changed": not nothing}
    output.result(document, f"{done} {target} {name}")


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
        "SET BY", lambda entity: "its declaration" if entity.origin == "code" else entity.set_by
    ),
    column("REASON", lambda entity: entity.reason),
    document=_document,
)
