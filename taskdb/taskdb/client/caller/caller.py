"""The caller of a client: the tenants it sees, and the tasks it may submit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskdb.client.caller.actor import default_actor
from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import NAME_BYTES, check_texts, clipped, wrong_text
from taskdb.model.json_text import storable
from taskdb.model.principal.origin import submitter_texts
from taskdb.model.principal.permission import ANYTHING, Permission
from taskdb.store.contract import EVERYONE, Scope

_SCOPE = "the scope"


@dataclass(frozen=True, slots=True)
class Caller:
    """The operator by default, else a caller that is limited to some tenants."""

    scope: Scope = EVERYONE
    permission: Permission = ANYTHING

    @property
    def is_operator(self) -> bool:
        """Whether the caller sees every tenant."""
        return self.scope.tenants is None

    def require_operator(self) -> None:
        """Raise InvalidInput for a caller that is limited to some tenants."""
        if not self.is_operator:
            advice = "this is for all tenants: use the client without for_tenant"
            raise InvalidInput("the request", [Fault("tenant", advice)])

    def actor(self, by: str | None) -> str | None:
        """Return the actor to record with a change; raises InvalidInput if `by` is not text.

        The first one that is set wins: the `created_by` that the application has fixed by
        `for_tenant`, the one of the surrounding block (`submitting_as`, the user of a request), the
        argument `by`, the user of the command line.
        """
        check_texts("the request", by=by)
        actor = (
            self.permission.created_by
            or submitter_texts(("created_by",)).get("created_by")
            or by
            or default_actor()
        )
        return clipped(storable(actor)) if actor else None

    def narrowed(self, tenants: Sequence[str], asked: Permission) -> Caller:
        """Return a caller of these tenants; it may do only what this caller and `asked` both allow.

        Raises InvalidInput without a tenant, for an invalid tenant, and for a tenant that this
        caller does not see.
        """
        if not tenants:
            raise InvalidInput(_SCOPE, [Fault("", "name at least one tenant")])
        faults = [
            Fault("tenant", reason)
            for tenant in tenants
            if (reason := wrong_text(tenant, NAME_BYTES)) is not None
        ]
        if faults:
            raise InvalidInput(_SCOPE, faults)
        beyond = [tenant for tenant in tenants if not self.scope.allows(tenant)]
        if beyond:
            message = f"this client may not see {beyond}: its scope is {self.scope.tenants}"
            raise InvalidInput(_SCOPE, [Fault("", message)])
        return Caller(Scope(tuple(tenants)), self.permission.narrowed(asked))
