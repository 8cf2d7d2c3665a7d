"""`taskdb subscription …`: send changes of status to other systems."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Annotated

import typer

from taskdb.cli.id_option import IdOf
from taskdb.cli.output import Output
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.subscription.presenter import SUBSCRIPTION, state_text
from taskdb.cli.task.json_option import text_of_file
from taskdb.cli.time_option import before_now, duration_of
from taskdb.cli.usage import wrong_usage
from taskdb.errors import InvalidInput
from taskdb.model.entity import TaskKind
from taskdb.model.subscription import (
    KeyedSubscription,
    SubscriptionEntity,
    SubscriptionState,
    TransportKind,
)
from taskdb.store.task.list import EventCursor

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name or id of a subscription."),
    IdOf("taskdb_subscription", has_names=True),
]
From = Annotated[
    str,
    typer.Option(
        "--from", help="now, beginning, a moment, a duration before now, or a cursor of `show`."
    ),
]
SecretFile = Annotated[
    str | None,
    typer.Option(help="File with the secret, or -. Default: a new secret, printed once."),
]


@with_session
def add(  # noqa: PLR0913 - the options of a subscription, all by name
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique in its tenant.")],
    transport: Annotated[TransportKind, typer.Argument(help="The kind of target.")],
    target: Annotated[
        str,
        typer.Argument(
            metavar="[TARGET]",
            help="URL of the webhook, first word of the Redis channels, ARN of the SNS topic.",
        ),
    ] = "",
    *,
    type: Annotated[str | None, typer.Option(help="Only this type, or mail.*")] = None,
    kind: Annotated[TaskKind | None, typer.Option(help="Only this kind.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    with_sub_tasks: Annotated[
        bool, typer.Option("--with-sub-tasks", help="Parts, steps and handlers too.")
    ] = False,
    start: From = "now",
    secret_file: SecretFile = None,
    tenant: TenantOption = None,
) -> None:
    """Send changes of status to a webhook, Redis channels, an SNS topic or the log.

    Without --tenant, changes of every tenant are sent. The secret of a webhook is printed once.
    """
    made = session.taskdb_of(tenant).subscriptions.create(
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
    _print_keyed(session.output, made, is_given=secret_file is not None)


@with_session
def list_subscriptions(
    session: Session,
    *,
    state: Annotated[SubscriptionState | None, typer.Option(help="Only in this state.")] = None,
    tenant: TenantOption = None,
) -> None:
    """List subscriptions by tenant and name. With --json, one on each line."""
    found = session.taskdb_of(tenant).subscriptions.list(state=state)
    nothing = "no subscription: create one with `taskdb subscription add`"
    SUBSCRIPTION.print_all(session.output, found, nothing)


@with_session
def show(session: Session, name: Name, *, tenant: TenantOption = None) -> None:
    """Show a subscription: its filter, its place in the history, and its last error."""
    found = session.taskdb_of(tenant).subscriptions.get(name)
    SUBSCRIPTION.print_one(session.output, found)


@with_session
def send_trial(session: Session, name: Name, *, tenant: TenantOption = None) -> None:
    """Send a trial message now, and report whether the receiver accepted it."""
    message_id = session.taskdb_of(tenant).subscriptions.test(name)
    session.output.result({"delivered": message_id}, f"delivered {message_id}")


@with_session
def replay(session: Session, name: Name, *, start: From, tenant: TenantOption = None) -> None:
    """Send all changes after a place in the history again. This revives a dead subscription.

    The history goes as far back as tasks are kept; see TASKDB_RETENTION.
    """
    taskdb = session.taskdb_of(tenant)
    _print_changed(session.output, taskdb.subscriptions.replay(name, start_of(start)))


@with_session
def pause(session: Session, name: Name, *, tenant: TenantOption = None) -> None:
    """Send nothing until the subscription is resumed. No change is lost."""
    _print_changed(session.output, session.taskdb_of(tenant).subscriptions.pause(name))


@with_session
def resume(session: Session, name: Name, *, tenant: TenantOption = None) -> None:
    """Continue a paused or dead subscription where it stopped. Try a failing one at once."""
    _print_changed(session.output, session.taskdb_of(tenant).subscriptions.resume(name))


@with_session
def remove(session: Session, name: Name, *, tenant: TenantOption = None) -> None:
    """Delete a subscription."""
    session.taskdb_of(tenant).subscriptions.remove(name)
    session.output.result({"removed": name}, f"removed {name}")


@with_session
def rotate_secret(
    session: Session,
    name: Name,
    *,
    overlap: Annotated[str, typer.Option(help="How long the old secret signs too.")] = "1d",
    secret_file: SecretFile = None,
    tenant: TenantOption = None,
) -> None:
    """Sign with a new secret, and until --overlap has passed also with the old one.

    The new secret is printed once.
    """
    made = session.taskdb_of(tenant).subscriptions.rotate_secret(
        name, secret=_secret_of(secret_file), overlap=duration_of(overlap, "--overlap")
    )
    _print_keyed(session.output, made, is_given=secret_file is not None)


def start_of(given: str) -> str | datetime:
    """Read a place in the history. Raises InvalidInput."""
    if given in {"now", "beginning"}:
        return given
    with suppress(InvalidInput):
        EventCursor.parse(given)
        return given
    try:
        return before_now(given, "--from")
    except InvalidInput:
        advice = (
            f"{given!r} is not a place in the history: write now, beginning, 2031-05-04T10:00, 2h "
            "(two hours ago), or the cursor that `taskdb subscription show` prints"
        )
        raise wrong_usage("--from", advice) from None


def _print_changed(output: Output, subscription: SubscriptionEntity) -> None:
    document = SUBSCRIPTION.document(subscription)
    output.result(document, f"{subscription.name}  {state_text(subscription)}")


def _print_keyed(output: Output, keyed: KeyedSubscription, *, is_given: bool) -> None:
    """Print a subscription, and its secret unless the user gave one."""
    secret = None if is_given else keyed.secret
    if secret is None:
        _print_changed(output, keyed.subscription)
    elif output.is_json:
        output.document({**SUBSCRIPTION.document(keyed.subscription), "secret": secret})
    else:
        _print_changed(output, keyed.subscription)
        output.line(secret)
        output.note("this secret is not shown again: give it to the receiver now")


def _secret_of(file: str | None) -> str | None:
    """Read the secret from a file or stdin, since other users can see a command's arguments."""
    return None if file is None else text_of_file(file, "--secret-file").strip()
