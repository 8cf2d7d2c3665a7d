"""The part of the client that makes rules: pauses and limits, and who goes before them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, get_args

from taskdb.bounds import NAME_BYTES, QUEUE_BYTES, check_texts, shown, wrong_text
from taskdb.celery.background import BackgroundPublisher
from taskdb.errors import Fault, InvalidInput
from taskdb.gate import Gate, GateTarget, Limit
from taskdb.settings import Settings
from taskdb.store.contract import Scope
from taskdb.store.releasing import Released
from taskdb.store.store import Store
from taskdb.task_type import Registry

_SUBJECT = "the rule"
_HAND_OVER = 100
"""Tasks that one look after the end of another lets go."""


class GateClient:
    """Pauses and limits; `TaskDB` is one.

    A rule is for a `queue`, a `type` or a `tenant`: name one of them. A client that is scoped to
    tenants may make rules for those only. Each call raises InvalidInput for anything else.
    """

    settings: Settings
    scope: Scope
    store: Store
    registry: Registry
    _background: BackgroundPublisher

    def pause(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,
        tenant: str | None = None,
        reason: str | None = None,
        by: str | None = None,
    ) -> None:
        """Let none of these tasks begin until `resume`; what runs goes on.

        Messages that the broker has already go back to the database when a worker takes them; no
        attempt is counted. Pausing what is paused writes the new reason.
        """
        check_texts(_SUBJECT, reason=reason, by=by)
        self.store.pause(self._place(queue, type, tenant), reason, by)

    def resume(
        self, *, queue: str | None = None, type: str | None = None, tenant: str | None = None
    ) -> bool:
        """Lift a pause; what waited goes in order of its arrival. False where there was none."""
        return self.store.lift_pause(self._place(queue, type, tenant))

    def set_limit(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,
        tenant: str | None = None,
        max_running: int | None = None,
        max_starts: int | None = None,
        per: timedelta | float | None = None,
        by: str | None = None,
    ) -> None:
        """Let at most so many of these tasks run at once, or begin in any stretch of time `per`.

        It counts over all workers and replaces the limit before it, also one that a type declares.
        `per` is a timedelta, or seconds. What has been released already is let be.
        """
        check_texts(_SUBJECT, by=by)
        place = self._place(queue, type, tenant)
        try:
            limit = Limit.of(max_running, max_starts, per)
        except (ValueError, TypeError) as error:
            raise InvalidInput(_SUBJECT, [Fault("limit", str(error))]) from None
        if limit is None:
            advice = "say max_running, or max_starts and per; clear_limit removes one"
            raise InvalidInput(_SUBJECT, [Fault("limit", advice)])
        self.store.set_limit(place, limit, by)

    def clear_limit(
        self, *, queue: str | None = None, type: str | None = None, tenant: str | None = None
    ) -> bool:
        """Remove a limit; False where there was none.

        One that a task type declares comes back when a worker or a beat starts.
        """
        return self.store.clear_limit(self._place(queue, type, tenant))

    def gates(self) -> list[Gate]:
        """Every rule that this client may see, in order of its place."""
        return [gate for gate in self.store.gates() if self._may(gate.target, gate.name)]

    def declare_limits(self) -> None:
        """Write what the task types of this process declare, as workers and beats do at first.

        What a person has set stays; what is declared no more goes.
        """
        self.store.declare_limits({one.name: one.limit for one in self.registry})

    def release_lines(self, lines: Sequence[str]) -> Released:
        """Let go who may in these lines, and publish it; answers how it went.

        A worker calls it when a task that held slots has ended. Never waits for the broker.
        """
        lease = timedelta(seconds=self.settings.relay_lease_seconds)
        released = self.store.release_gated(_HAND_OVER, lease, lines=lines)
        self._background.publish(released.publications, wait=False)
        return released

    def _place(
        self, queue: str | None, type_name: str | None, tenant: str | None
    ) -> tuple[GateTarget, str]:
        given: dict[GateTarget, Any] = {"queue": queue, "type": type_name, "tenant": tenant}
        named = [(target, name) for target, name in given.items() if name is not None]
        if len(named) != 1:
            advice = f"name one of {', '.join(get_args(GateTarget))}"
            raise InvalidInput(_SUBJECT, [Fault("", advice)])
        target, name = named[0]
        reason = wrong_text(name, QUEUE_BYTES if target == "queue" else NAME_BYTES)
        if reason is not None or (not name and target != "tenant"):
            advice = f"{shown(name)} names no {target}{(reason and f' ({reason})') or ''}"
            raise InvalidInput(_SUBJECT, [Fault(target, advice)])
        if not self._may(target, name):
            advice = f"{target} {name!r} is out of the scope of this client"
            raise InvalidInput(_SUBJECT, [Fault(target, advice)])
        return target, name

    def _may(self, target: GateTarget, name: str) -> bool:
        if self.scope.tenants is None:
            return True
        return target == "tenant" and self.scope.allows(name)
