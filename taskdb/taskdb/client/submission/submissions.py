"""Submits tasks: first their rows, then their messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError

from taskdb.client.caller.caller import Caller
from taskdb.client.connections import Connections
from taskdb.client.submission.chosen_options import chosen_options
from taskdb.client.submission.drafting import Drafting, submitting
from taskdb.client.submission.fresh_entity import announced_entity, fresh_entity
from taskdb.client.submission.options import SubmitOptions
from taskdb.client.submission.transaction import CallerTransaction, beside_loop, transaction_for
from taskdb.client.tasks import Tasks
from taskdb.errors import DatabaseNotMigrated, DatabaseUnreachable, Fault, InvalidInput
from taskdb.model.entity import TaskEntity
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Draft, OnConflict, Publication
from taskdb.store.engine import faults
from taskdb.store.task.create import Created
from taskdb.store.tree.unit import FollowUp

_ELSEWHERE = (
    "the database of this session lacks our tables: pass a session on that of "
    "TASKDB_DATABASE_URL, and run `taskdb migrate` on it"
)


class Submissions:
    """Submits of single tasks."""

    def __init__(
        self, connections: Connections, drafting: Drafting, caller: Caller, tasks: Tasks
    ) -> None:
        self._connections = connections
        self._store = connections.store
        self._store_url = connections.settings.store_url
        self._drafting = drafting
        self._scope = caller.scope
        self._tasks = tasks

    def one(self, type: str, input: Any, options: SubmitOptions, session: Any) -> TaskEntity:
        """See `TaskDB.submit_task`."""
        with submitting(type):
            return self._create(self._drafts(type, [input], options), options, session)[0]

    def many(
        self, type: str, inputs: Iterable[Any], options: SubmitOptions, session: Any
    ) -> list[TaskEntity]:
        """See `TaskDB.submit_many`."""
        with submitting(type):
            return self._create(self._drafts(type, _several(inputs), options), options, session)

    def _drafts(self, type: str, inputs: Iterable[Any], options: SubmitOptions) -> list[Draft]:
        # Imports, checks and large payloads would block the loop of an asynchronous session.
        return beside_loop(lambda: self._drafting.drafts(type, inputs, chosen_options(options)))

    def _create(
        self, drafts: Sequence[Draft], options: SubmitOptions, session: Any
    ) -> list[TaskEntity]:
        if not drafts:
            return []
        transaction = self._joined(drafts, session)
        if transaction is not None and transaction.connection() is None:
            return self._create_later(drafts, options, transaction)
        return self._create_now(drafts, options, transaction)

    def _joined(self, drafts: Sequence[Draft], session: Any) -> CallerTransaction | None:
        try:
            return transaction_for(session, self._store_url)
        except InvalidInput:
            self._drafting.discard(drafts)
            raise

    def _create_later(
        self, drafts: Sequence[Draft], options: SubmitOptions, transaction: CallerTransaction
    ) -> list[TaskEntity]:
        """Write the rows after the caller's commit: its transaction is of another database."""

        def create(items: Sequence[Draft], *, certain: bool) -> None:  # noqa: ARG001 - it has happened
            self._create_now(items, options, None)

        transaction.after_commit(drafts, create)
        return [announced_entity(draft, self._tasks, self._store.payloads) for draft in drafts]

    def _create_now(
        self, drafts: Sequence[Draft], options: SubmitOptions, transaction: CallerTransaction | None
    ) -> list[TaskEntity]:
        on_conflict = options.get("on_conflict") or "resubmit"
        try:
            created = self._insert(drafts, on_conflict, transaction)
        except DatabaseUnreachable:
            # The rows may exist, and only the reply was lost. A payload without a row is pruned
            # later; a row without its payload can never run.
            raise
        except Exception:
            self._drafting.discard(drafts)
            raise
        unused = zip(drafts, created, strict=True)
        self._drafting.discard(draft for draft, one in unused if not one.is_new)
        queued: set[str] = set()
        if transaction is None:
            queued = self._connections.background.publish(_publications(drafts, created))
        return self._entities(drafts, created, transaction, queued)

    def _insert(
        self,
        drafts: Sequence[Draft],
        on_conflict: OnConflict,
        transaction: CallerTransaction | None,
    ) -> list[Created]:
        if transaction is None:
            return self._store.submissions.create(drafts, self._scope, on_conflict=on_conflict)
        try:
            connection = transaction.connection()
            after = FollowUp()
            created = self._store.submissions.create(
                drafts, self._scope, on_conflict=on_conflict, connection=connection, after=after
            )
        except DBAPIError as error:
            # The caller sees any other error unchanged: it may know how to retry.
            if isinstance(faults.meaning(error, self._store_url), DatabaseNotMigrated):
                raise DatabaseNotMigrated(_ELSEWHERE) from error
            raise
        made = [*_publications(drafts, created), *after.publications]
        transaction.after_commit(made, self._connections.publish_after_commit)
        return created

    def _entities(
        self,
        drafts: Sequence[Draft],
        created: Sequence[Created],
        transaction: CallerTransaction | None,
        queued: set[str],
    ) -> list[TaskEntity]:
        connection = None if transaction is None else transaction.connection()
        return [
            fresh_entity(
                draft,
                one,
                is_queued=one.id in queued,
                reader=self._tasks,
                payloads=self._store.payloads,
            )
            if one.id == draft.id
            else self._store.tasks.get(one.id, self._scope, self._tasks, connection=connection)
            for draft, one in zip(drafts, created, strict=True)
        ]


def _several(inputs: Any) -> Iterable[Any]:
    if isinstance(inputs, Mapping | str | bytes | BaseModel) or not isinstance(inputs, Iterable):
        advice = f"{type(inputs).__name__} is one input: pass a list, or use submit_task"
        raise InvalidInput("the submit request", [Fault("inputs", advice)])
    return inputs


def _publications(drafts: Sequence[Draft], created: Sequence[Created]) -> list[Publication]:
    return [
        Publication(
            one.id,
            draft.type,
            draft.queue,
            draft.priority,
            one.relay_at,
            draft.deadline_at,
            trace=draft.trace,
        )
        for draft, one in zip(drafts, created, strict=True)
        if one.is_new
        and one.status is TaskStatus.CREATED
        and one.relay_at is not None
        and one.held_by is None
    ]
