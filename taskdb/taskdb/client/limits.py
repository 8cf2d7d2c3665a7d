"""Pauses and limits of queues, types and tenants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, get_args

from taskdb.celery.publish.background import BackgroundPublisher
from taskdb.client.caller.actor import note_change
from taskdb.client.caller.caller import Caller
from taskdb.client.types import Types
from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import NAME_BYTES, QUEUE_BYTES, check_texts, shown, wrong_text
from taskdb.model.limit import Limit, LimitEntity, LimitOwner, LimitTarget
from taskdb.settings.settings import Settings
from taskdb.store.admission.release import Released
from taskdb.store.store import Store

_SUBJECT = "the rule"
_HAND_OVER = 100
"""The most tasks that one call of `release` publishes."""


class Limits:
    """`taskdb.limits`: pauses and limits.

    A limit or pause is for a `queue`, a `type` or a `tenant`: name one of them. A scoped client
    sets and lifts the limits and pauses of its own tenants. Those of the operator hold as well
    and are out of its scope. `owner` chooses the one that the operator lifts: the operator's own,
    or that of the `tenant`. Each call raises InvalidInput for anything else.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        background: BackgroundPublisher,
        types: Types,
        caller: Caller,
    ) -> None:
        self._settings = settings
        self._store = store
        self._background = background
        self._types = types
        self._caller = caller
        self._scope = caller.scope

    def pause(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,
        tenant: str | None = None,
        reason: str | None = None,
        by: str | None = None,
    ) -> None:
        """Let none of these tasks begin until `resume`; running tasks continue.

        When a worker takes a message that the broker already has, the task goes back to the
        database; no attempt is counted. Another pause of the same place writes the new reason.
        """
        check_texts(_SUBJECT, reason=reason)
        place = self._place(queue, type, tenant)
        self._store.limits.pause(place, self._scope, reason, self._caller.actor(by))

    def resume(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,
        tenant: str | None = None,
        owner: LimitOwner | None = None,
        by: str | None = None,
    ) -> bool:
        """Lift a pause; held tasks are released, oldest first. Returns False if there was none."""
        place, actor = self._place(queue, type, tenant), self._caller.actor(by)
        is_lifted = self._store.limits.lift_pause(place, self._scope, actor, owner=_checked(owner))
        if is_lifted:
            note_change("pause.lifted", ":".join(place), actor)
        return is_lifted

    def set(
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
        """Limit how many of these tasks run at once, or begin in any period of length `per`.

        The limit counts over all workers and replaces the earlier one, declared or not.
        `per` is a timedelta, or seconds. Tasks that are already released are not affected.
        """
        place = self._place(queue, type, tenant)
        try:
            limit = Limit.of(max_running, max_starts, per)
        except (ValueError, TypeError) as error:
            raise InvalidInput(_SUBJECT, [Fault("limit", str(error))]) from None
        if limit is None:
            advice = "say max_running, or max_starts and per; `limits.clear` removes one"
            raise InvalidInput(_SUBJECT, [Fault("limit", advice)])
        self._store.limits.set(place, limit, self._scope, self._caller.actor(by))

    def clear(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,
        tenant: str | None = None,
        owner: LimitOwner | None = None,
        by: str | None = None,
    ) -> bool:
        """Remove a limit; returns False if there was none.

        A limit that a task type declares comes back when a worker or a beat starts.
        """
        place, actor = self._place(queue, type, tenant), self._caller.actor(by)
        is_cleared = self._store.limits.clear(place, self._scope, actor, owner=_checked(owner))
        if is_cleared:
            note_change("limit.cleared", ":".join(place), actor)
        return is_cleared

    def declare(self) -> None:
        """Store the limits that task types of this process declare, as workers and beats do.

        Limits that a person has set stay; limits that are no longer declared are removed. Raises
        InvalidInput for a scoped client: a declared limit is for all tenants.
        """
        self._caller.require_operator()
        self._store.limits.declare({one.name: one.limit for one in self._types.registry})

    def release(self, wait_queues: Sequence[str]) -> Released:
        """Release held tasks of these wait queues and publish them; returns the result.

        A worker calls it when a task that held slots has ended. It never waits for the broker.
        Raises InvalidInput for a client that is scoped to tenants.
        """
        self._caller.require_operator()
        lease = timedelta(seconds=self._settings.relay_lease_seconds)
        released = self._store.admission.release(_HAND_OVER, lease, keys=wait_queues)
        self._background.publish(released.publications, wait=False)
        return released

    def list(self) -> list[LimitEntity]:
        """Return every limit and pause that this client may see, in order of its place.

        A scoped client sees those for its tenants: the tenants' own, and the operator's without the
        reason and the actor.
        """
        return self._store.limits.all(self._scope)

    def _place(
        self, queue: str | None, type_name: str | None, tenant: str | None
    ) -> tuple[LimitTarget, str]:
        given: dict[LimitTarget, Any] = {"queue": queue, "type": type_name, "tenant": tenant}
        named = [(target, name) for target, name in given.items() if name is not None]
        if len(named) != 1:
            advice = f"name one of {', '.join(get_args(LimitTarget))}"
            raise InvalidInput(_SUBJECT, [Fault("", advice)])
        target, name = named[0]
        reason = wrong_text(name, QUEUE_BYTES if target == "queue" else NAME_BYTES)
        if reason is not None or (not name and target != "tenant"):
            advice = f"{shown(name)} names no {target}{(reason and f' ({reason})') or ''}"
            raise InvalidInput(_SUBJECT, [Fault(target, advice)])
        return target, name


def _checked(owner: Any) -> LimitOwner | None:
    if owner is None or owner in get_args(LimitOwner):
        found: LimitOwner | None = owner
        return found
    advice = f"{shown(owner)} is none of {', '.join(get_args(LimitOwner))}"
    raise InvalidInput(_SUBJECT, [Fault("owner", advice)])
