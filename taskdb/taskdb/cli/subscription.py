"""`taskdb subscription …`: who is told of changes of status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.time_option import before_now, duration_of
from taskdb.cli.usage import wrong_usage
from taskdb.cli.value_text import moment_text
from taskdb.errors import InvalidInput
from taskdb.model.entity import TaskKind
from taskdb.model.subscription import (
    KeyedSubscription,
    SubscriptionEntity,
    SubscriptionState,
    TransportKind,
)
from taskdb.redaction.printable import printable
from taskdb.redaction.url_mask import mask_url
from taskdb.store.task.list import EventCursor

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of a subscription.")]
From = Annotated[
    str,
    typer.Option(
        "--from", help="now, beginning, a moment, a duration back from now, or a cursor of `show`."
    ),
]
SecretFile = Annotated[
    str | None,
    typer.Option(help="File with the secret, - for stdin. Without: a new one, printed once."),
]


@with_session
def add(  # noqa: PLR0913 - the options of a subscription, all by name
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique in its tenant.")],
    transport: Annotated[TransportKind, typer.Argument(help="How it is told.")],
    target: Annotated[
        str,
        typer.Argument(
            metavar="[TARGET]",
            help="URL of the webhook, first word of the Redis channels, ARN of the SNS topic.",
        ),
    ] = "",
    *,
    type: Annotated[str | None, typer.Option(help="Only of this type; mail.* fits many.")] = None,
    kind: Annotated[TaskKind | None, typer.Option(help="Only of this kind.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    with_sub_tasks: Annotated[
        bool, typer.Option("--with-sub-tasks", help="Of parts, steps and handlers as well.")
    ] = False,
    start: From = "now",
    secret_file: SecretFile = None,
    tenant: TenantOption = None,
) -> int:
    """Have changes of status told: to a webhook, Redis channels, an SNS topic or the log.

    Without --tenant it is told of every tenant. The secret that signs a webhook is printed once.
    """
    made = session.taskdb_of(tenant).add_subscription(
        name,
        transport,
        target,
        tenant=tenant,
        type=type,
        kind=kind,
        status=status or None,
        with_sub_tasks=with_sub_tasks,
        start=start_of(start),
        secret=_secret_of(secret_file),
    )
    return _told_once(session.output, made, is_given=secret_file is not None)


@with_session
def list_subscriptions(
    session: Session,
    *,
    state: Annotated[SubscriptionState | None, typer.Option(help="Only those that are so.")] = None,
    tenant: TenantOption = None,
) -> int:
    """List subscriptions by tenant and name; with --json one a line."""
    found = session.taskdb_of(tenant).list_subscriptions(state=state)
    if session.is_json:
        for one in found:
            session.output.document(subscription_json(one))
        return ExitCode.OK
    if not found:
        session.output.note("no subscription: make one with `taskdb subscription add`")
        return ExitCode.OK
    rows = [
        (
            one.name,
            tenant_text(one),
            one.transport.value,
            state_text(one),
            f"{one.sent:,}",
            mask_url(one.target) or "-",
        )
        for one in found
    ]
    session.output.table(("NAME", "TENANT", "BY", "STATE", "SENT", "TARGET"), rows)
    return ExitCode.OK


@with_session
def show(session: Session, name: Name, *, tenant: TenantOption = None) -> int:
    """Show a subscription: what it is told, how far it has come, why it fails."""
    found = session.taskdb_of(tenant).get_subscription(name)
    if session.is_json:
        session.output.document(subscription_json(found))
    else:
        session.output.pairs(_pairs(found))
    return ExitCode.OK


@with_session
def send_trial(session: Session, name: Name, *, tenant: TenantOption = None) -> int:
    """Send a trial message from here, and say whether it was taken."""
    message_id = session.taskdb_of(tenant).try_subscription(name)
    if session.is_json:
        session.output.document({"delivered": message_id})
    else:
        session.output.line(f"delivered {message_id}")
    return ExitCode.OK


@with_session
def replay(
    session: Session,
    name: Name,
    *,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="beginning, now, a moment, a duration back from now, or a cursor of `show`.",
        ),
    ],
    tenant: TenantOption = None,
) -> int:
    """Tell a subscription everything anew from a place in the history on, also a dead one.

    The history goes as far back as tasks are kept; see TASKDB_RETENTION.
    """
    taskdb = session.taskdb_of(tenant)
    return _told(session.output, taskdb.replay_subscription(name, start_of(start)))


@with_session
def pause(session: Session, name: Name, *, tenant: TenantOption = None) -> int:
    """Tell a subscription nothing until it is resumed; nothing of the meantime is lost."""
    return _told(session.output, session.taskdb_of(tenant).pause_subscription(name))


@with_session
def resume(session: Session, name: Name, *, tenant: TenantOption = None) -> int:
    """Go on where a paused or dead subscription stopped; one that waits is tried at once."""
    return _told(session.output, session.taskdb_of(tenant).resume_subscription(name))


@with_session
def remove(session: Session, name: Name, *, tenant: TenantOption = None) -> int:
    """Delete a subscription."""
    session.taskdb_of(tenant).remove_subscription(name)
    if session.is_json:
        session.output.document({"removed": name})
    else:
        session.output.line(f"removed {printable(name)}")
    return ExitCode.OK


@with_session
def rotate_secret(
    session: Session,
    name: Name,
    *,
    overlap: Annotated[str, typer.Option(help="So long the old one signs as well.")] = "1d",
    secret_file: SecretFile = None,
    tenant: TenantOption = None,
) -> int:
    """Sign with a new secret, and with the old one as well for a while; it is printed once."""
    made = session.taskdb_of(tenant).rotate_subscription_secret(
        name, secret=_secret_of(secret_file), overlap=duration_of(overlap, "--overlap")
    )
    return _told_once(session.output, made, is_given=secret_file is not None)


COMMANDS: tuple[tuple[str, Callable[..., int]], ...] = (
    ("add", add),
    ("list", list_subscriptions),
    ("show", show),
    ("test", send_trial),
    ("replay", replay),
    ("pause", pause),
    ("resume", resume),
    ("rotate-secret", rotate_secret),
    ("remove", remove),
)


def start_of(given: str) -> str | datetime:
    """A place in the history as it is typed; raises InvalidInput."""
    if given in {"now", "beginning"}:
        return given
    with suppress(InvalidInput):
        EventCursor.parse(given)
        return given
    try:
        return before_now(given, "--from")
    except InvalidInput:
        advice = (
            f"{given!r} is no place in the history: write now, beginning, 2031-05-04T10:00, 2h (so "
            "long ago), or the cursor that `taskdb subscription show` tells"
        )
        raise wrong_usage("--from", advice) from None


def subscription_json(one: SubscriptionEntity) -> dict[str, Any]:
    """A subscription as data, without its secrets."""
    return {
        "id": one.id,
        "name": one.name,
        "tenant": None if one.is_for_all else one.tenant,
        "transport": one.transport.value,
        "target": one.target,
        "type": one.filter.type,
        "kind": one.filter.kind,
        "status": [status.value for status in one.filter.statuses],
        "with_sub_tasks": one.filter.with_sub_tasks,
        "state": one.state.value,
        "cursor": one.cursor,
        "cursor_at": _iso(one.cursor_at),
        "attempts": one.attempts,
        "failing_since": _iso(one.failing_since),
        "next_try_at": _iso(one.next_try_at),
        "last_error": one.last_error,
        "sent": one.sent,
        "last_sent_at": _iso(one.last_sent_at),
        "previous_secret_until": _iso(one.previous_secret_until),
        "created_by": one.created_by,
        "created_at": _iso(one.created_at),
        "updated_at": _iso(one.updated_at),
    }


def state_text(one: SubscriptionEntity) -> str:
    """How it does, in a word or two."""
    if one.state is SubscriptionState.ACTIVE and one.attempts:
        return f"failing ({one.attempts:,})"
    return one.state.value


def tenant_text(one: SubscriptionEntity) -> str:
    """Whose events it is told."""
    return "(all)" if one.is_for_all else one.tenant or "-"


def _told(output: Output, one: SubscriptionEntity) -> int:
    if output.is_json:
        output.document(subscription_json(one))
    else:
        output.line(f"{printable(one.name)}  {state_text(one)}")
    return ExitCode.OK


def _told_once(output: Output, made: KeyedSubscription, *, is_given: bool) -> int:
    """The subscription, and its secret unless who asks brought it along."""
    secret = None if is_given else made.secret
    if output.is_json:
        told = subscription_json(made.subscription)
        output.document(told if secret is None else {**told, "secret": secret})
        return ExitCode.OK
    _told(output, made.subscription)
    if secret is not None:
        output.line(secret)
        output.note("this secret is not shown again: give it to the receiver now")
    return ExitCode.OK


def _pairs(one: SubscriptionEntity) -> list[tuple[str, str]]:
    wanted = one.filter
    shown = [
        ("name", one.name),
        ("id", one.id),
        ("tenant", tenant_text(one)),
        ("by", one.transport.value),
        ("target", mask_url(one.target) or "-"),
        ("type", wanted.type or "(any)"),
        ("kind", wanted.kind or "(any)"),
        ("status", ", ".join(wanted.statuses) or "(any)"),
        ("sub-tasks", "yes" if wanted.with_sub_tasks else "no"),
        ("state", state_text(one)),
        ("sent", f"{one.sent:,}"),
        ("last sent", _moment(one.last_sent_at)),
        ("cursor", one.cursor),
        ("cursor at", _moment(one.cursor_at)),
    ]
    if one.last_error is not None:
        shown += [
            ("error", one.last_error),
            ("failing since", _moment(one.failing_since)),
            ("next try", _moment(one.next_try_at)),
        ]
    if one.previous_secret_until is not None:
        shown.append(("old secret until", _moment(one.previous_secret_until)))
    return [(name, printable(value)) for name, value in shown]


def _secret_of(file: str | None) -> str | None:
    """The secret of a file or of stdin: an argument could be read by everyone on this machine."""
    if file is None:
        return None
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        advice = f"cannot be read: {error}"
        raise wrong_usage("--secret-file", advice) from None
    return text.strip()


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else moment_text(moment)
