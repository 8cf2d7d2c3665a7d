"""The presenter of subscriptions. It shows no secret."""

from __future__ import annotations

from typing import Any

from taskdb.cli.document import document_of
from taskdb.cli.presenter import Field, Presenter
from taskdb.model.subscription import SubscriptionEntity, SubscriptionState
from taskdb.redaction.url_mask import mask_url


def state_text(subscription: SubscriptionEntity) -> str:
    """Whether messages are sent, and whether that fails."""
    if subscription.state is SubscriptionState.ACTIVE and subscription.attempts:
        return f"failing ({subscription.attempts:,})"
    return subscription.state.value


def _tenant(subscription: SubscriptionEntity) -> str | None:
    return "(all)" if subscription.is_for_all else subscription.tenant or None


def _document(subscription: SubscriptionEntity) -> dict[str, Any]:
    wanted = subscription.filter
    return {
        **document_of(subscription, without=("filter", "is_for_all")),
        "tenant": None if subscription.is_for_all else subscription.tenant,
        "type": wanted.type,
        "kind": wanted.kind,
        "status": list(wanted.statuses),
        "with_sub_tasks": wanted.with_sub_tasks,
    }


SUBSCRIPTION = Presenter[SubscriptionEntity](
    Field("name", column="NAME"),
    Field("id"),
    Field("tenant", _tenant, column="TENANT"),
    Field("by", lambda subscription: subscription.transport, column="BY"),
    Field("type", lambda subscription: subscription.filter.type or "(any)"),
    Field("kind", lambda subscription: subscription.filter.kind or "(any)"),
    Field("status", lambda subscription: subscription.filter.statuses or "(any)"),
    Field("sub-tasks", lambda subscription: subscription.filter.with_sub_tasks),
    Field("state", state_text, column="STATE"),
    Field("sent", column="SENT"),
    Field("target", lambda subscription: mask_url(subscription.target) or None, column="TARGET"),
    Field("last sent", lambda subscription: subscription.last_sent_at),
    Field("cursor"),
    Field("cursor at"),
    Field("error", lambda subscription: subscription.last_error),
    Field("failing since"),
    Field("next try", lambda subscription: subscription.next_try_at),
    Field("old secret until", lambda subscription: subscription.previous_secret_until),
    document=_document,
)
