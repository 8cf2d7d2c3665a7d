"""Errors about subscriptions."""

from __future__ import annotations

from taskdb.errors.taskdb_error import TaskDBError


class SubscriptionNotFound(TaskDBError, LookupError):
    """No subscription has this name or id, or it belongs to a tenant outside this scope."""

    page = "how-to/get-notified.md"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(
            f"no subscription {reference!r}: pass its name or id (`taskdb subscription list` shows "
            "them). Subscriptions of other tenants are not found"
        )


class SubscriptionExists(TaskDBError):
    """A subscription of this name exists. Nothing was changed."""

    page = "how-to/get-notified.md"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"a subscription named {name!r} exists: remove it, or choose another name")
