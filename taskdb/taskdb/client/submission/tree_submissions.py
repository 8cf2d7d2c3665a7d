"""Submits fan-outs and sequences, and splits a running task into sub-tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from taskdb.client.caller.caller import Caller
from taskdb.client.connections import Connections
from taskdb.client.submission.chosen_options import ChosenOptions, chosen_options
from taskdb.client.submission.drafting import Drafting, submitting
from taskdb.client.submission.fresh_entity import announced_entity
from taskdb.client.submission.options import SubmitOptions
from taskdb.client.submission.transaction import CallerTransaction, transaction_for
from taskdb.client.submission.tree_draft import Drafter
from taskdb.client.tasks import Tasks
from taskdb.client.types import Types
from taskdb.errors import Fault, InvalidInput
from taskdb.model.entity import TaskEntity
from taskdb.model.fan_out import FanOut
from taskdb.store.contract import Draft
from taskdb.store.tree.submit import NewFamily
from taskdb.store.tree.unit import FollowUp
from taskdb.types.task_type import TaskType

if TYPE_CHECKING:
    from sqlalchemy import Connection


class TreeSubmissions:
    """Submits of tasks with sub-tasks."""

    def __init__(
        self,
        connections: Connections,
        types: Types,
        drafting: Drafting,
        caller: Caller,
        tasks: Tasks,
    ) -> None:
        self._connections = connections
        self._store = connections.store
        self._store_url = connections.settings.store_url
        self._types = types
        self._drafting = drafting
        self._scope = caller.scope
        self._tasks = tasks

    def fan_out(
        self, type: str, items: Iterable[Any], fan_out: FanOut, options: SubmitOptions, session: Any
    ) -> TaskEntity:
        """See `TaskDB.submit_fan_out`."""
        with submitting(type):
            return self._fan_out(type, items, fan_out, options, session)

    def _fan_out(
        self, type: str, items: Iterable[Any], fan_out: FanOut, options: SubmitOptions, session: Any
    ) -> TaskEntity:
        drafter = self._drafter()
        chosen = chosen_options(options)
        drafter.check_type(type)
        spec = drafter.fan_out(type, fan_out, self._types.discover().find(type))
        parent = drafter.parent(type, chosen)
        of_parts = replace(chosen, name=None, tags=(), attributes={}, notify_id=None)
        parts = drafter.parts(type, items, of_parts)

        def create(connection: Connection | None) -> NewFamily:
            return self._store.submissions.create_fan_out(
                parent,
                parts,
                spec,
                self._scope,
                on_conflict=chosen.on_conflict,
                connection=connection,
            )

        with drafter.keeping_payloads():
            transaction = transaction_for(session, self._store_url)
            if transaction is not None and transaction.connection() is None:
                # The caller must get the errors of the parts now, not after its commit.
                parts = iter(list(parts))
                return self._make_later(create, drafter, (parent, transaction))
        return self._make(create, drafter, transaction)

    def sequence(
        self,
        sequence: str,
        payload: Any,
        timeout: timedelta | float | None,
        options: SubmitOptions,
        session: Any,
    ) -> TaskEntity:
        """See `TaskDB.submit_sequence`."""
        with submitting(sequence):
            return self._sequence(sequence, payload, timeout, options, session)

    def _sequence(
        self,
        sequence: str,
        payload: Any,
        timeout: timedelta | float | None,
        options: SubmitOptions,
        session: Any,
    ) -> TaskEntity:
        drafter = self._drafter()
        chosen = chosen_options(options)
        refused = [
            one for one in ("run_at", "delay", "deadline") if getattr(chosen, one) is not None
        ]
        faults = [Fault(one, "a sequence begins at once: leave it out") for one in refused]
        if chosen.mutex_key is not None:
            advice = "a sequence waits without running: give the types of its steps a mutex"
            faults.append(Fault("mutex_key", advice))
        if faults:
            raise InvalidInput("the submit request", faults)
        drafter.check_allowed(sequence)
        known = self._types.discover().sequence(sequence)
        spec = drafter.sequence(known, timeout)
        parent = drafter.sequence_parent(known, payload, chosen)

        def create(connection: Connection | None) -> NewFamily:
            return self._store.submissions.create_sequence(
                parent, spec, self._scope, on_conflict=chosen.on_conflict, connection=connection
            )

        with drafter.keeping_payloads():
            transaction = transaction_for(session, self._store_url)
        if transaction is not None and transaction.connection() is None:
            return self._make_later(create, drafter, (parent, transaction))
        return self._make(create, drafter, transaction)

    def split(
        self,
        task_id: str,
        token: str,
        owner: TaskType,
        tenant: str,
        part_type: str,
        items: Iterable[Any],
        options: FanOut,
    ) -> bool:
        """See `Trees.split`."""
        self._scope.require(None)
        drafter = self._drafter()
        name = self._types.discover().name_of(part_type)
        spec = drafter.fan_out(name, options, owner)
        chosen = ChosenOptions(tenant=tenant)
        with drafter.keeping_payloads():
            is_done = self._store.fan_outs.split(
                task_id, token, lambda: drafter.parts(name, items, chosen), spec
            )
        if not is_done:
            drafter.discard_payloads()
        return is_done

    def _drafter(self) -> Drafter:
        return Drafter(self._drafting, self._types.discover())

    def _make(
        self,
        create: Callable[[Connection | None], NewFamily],
        drafter: Drafter,
        transaction: CallerTransaction | None,
    ) -> TaskEntity:
        with drafter.keeping_payloads():
            made = create(None if transaction is None else transaction.connection())
        if not made.created.is_new:
            drafter.discard_payloads()
        if transaction is not None:
            self._follow_later(transaction, made.after)
            connection = transaction.connection()
            return self._store.tasks.get(
                made.created.id, self._scope, self._tasks, connection=connection
            )
        self._store.joins.follow(made.after)
        return self._tasks.get_task(made.created.id)

    def _make_later(
        self,
        create: Callable[[Connection | None], NewFamily],
        drafter: Drafter,
        announced: tuple[Draft, CallerTransaction],
    ) -> TaskEntity:
        """Write the rows after the caller's commit: its transaction is of another database."""
        parent, transaction = announced

        def make(items: Sequence[Draft], *, certain: bool) -> None:  # noqa: ARG001 - it has happened
            self._make(create, drafter, None)

        transaction.after_commit([parent], make)
        return announced_entity(parent, self._tasks, self._store.payloads)

    def _follow_later(self, transaction: CallerTransaction, after: FollowUp) -> None:
        """Publish the new tasks once the caller's transaction has committed."""
        transaction.after_commit(after.publications, self._connections.publish_after_commit)
        transaction.after_commit(after.families, self._connections.publish_families)
