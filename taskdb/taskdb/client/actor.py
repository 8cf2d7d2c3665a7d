"""The actor: the person, or the program, that changes something by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import check_texts, clipped
from taskdb.model.json_text import storable
from taskdb.model.principal.origin import submitter_texts
from taskdb.model.principal.permission import Permission
from taskdb.store.contract import Scope

log = structlog.get_logger("taskdb.action")

_default: ContextVar[str | None] = ContextVar("taskdb_actor", default=None)


@contextmanager
def acting_by_default(actor: str | None) -> Iterator[None]:
    """Record this actor with the changes inside that name no other, as the command line does."""
    token = _default.set(actor)
    try:
        yield
    finally:
        _default.reset(token)


def note_change(change: str, subject: str, by: str | None) -> None:
    """Log a change by hand that leaves no row with its actor behind."""
    log.info("change.made", change=change, subject=subject, by=by)


class Acting:
    """The actor of the changes that a client makes; `TaskDB` is one.

    The first of these that there is: the `created_by` that the application has fixed by
    `for_tenant`, the one that surrounds the call (`submitting_as`, the user of a request), the
    argument `by`, the user of the command line.
    """

    scope: Scope
    permission: Permission

    def _actor(self, by: str | None) -> str | None:
        """The actor to be recorded; raises InvalidInput for a `by` that cannot be stored."""
        check_texts("the request", by=by)
        actor = (
            self.permission.created_by
            or submitter_texts(("created_by",)).get("created_by")
            or by
            or _default.get()
        )
        return clipped(storable(actor)) if actor else None

    def _check_operator(self) -> None:
        """Raise InvalidInput for a client of some tenants."""
        if self.scope.tenants is not None:
            advice = "this is for all tenants: use the client without for_tenant"
            raise InvalidInput("the request", [Fault("tenant", advice)])
