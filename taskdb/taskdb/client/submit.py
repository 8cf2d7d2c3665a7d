"""The part of the client that makes tasks: rows first, messages after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError

from taskdb.celery.publish.background import BackgroundPublisher
from taskdb.client.submission.draft import (
    Drafting,
    announced_entity,
    fresh_entity,
    submitting,
    wish_of,
)
from taskdb.client.submission.options import SubmitOptions
from taskdb.client.submission.transaction import (
    CallerTransaction,
    in_submitting_thread,
    transaction_for,
    wrong_session,
)
from taskdb.errors import (
    DatabaseNotMigrated,
    DatabaseUnreachable,
    Fault,
    InvalidInput,
)
from taskdb.model.entity import TaskEntity
from taskdb.model.principal.permission import Permission
from taskdb.model.status import TaskStatus
from taskdb.settings.settings import Settings
from taskdb.store.contract import Draft, OnConflict, Publication, Scope
from taskdb.store.engine import faults
from taskdb.store.payload.payload import Payloads
from taskdb.store.store import Store
from taskdb.store.task.create import Created
from taskdb.store.tree.unit import Aftermath
from taskdb.types.registry import Registry

if TYPE_CHECKING:
    # Importing it for real needs greenlet, which only asynchronous callers have.
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

_ELSEWHERE = (
    "the database of this session lacks our tables: give a session on that of "
    "TASKDB_DATABASE_URL, and run `taskdb migrate` on it"
)


class SubmitClient:
    """Submits of single tasks; `TaskDB` is one."""

    settings: Settings
    scope: Scope
    permission: Permission
    store: Store
    payloads: Payloads
    _background: BackgroundPublisher
    discover: Callable[[], Registry]
    _publish_after_commit: Callable[..., None]

    def submit_task(
        self,
        type: str,
        input: Any = None,
        *,
        session: Any = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskEntity:
        """Make a task: its row first, then its message. A submit that returned is never lost.

        `input` is a model or JSON values. With `session` (SQLAlchemy Session, AsyncSession or
        Connection) the row belongs to the caller's transaction and is published after its commit.
        The answer is QUEUED when the broker took the message in time, else CREATED (it is
        published later) or SCHEDULED; where `unique_key` found a task, it is that one.

        Raises UnknownTaskType, InvalidInput, PayloadStoreUnreachable (nothing was written),
        DatabaseError.
        """
        with submitting(type):
            return self._create(self._drafts(type, [input], options), options, session)[0]

    def submit_many(
        self,
        type: str,
        inputs: Iterable[Any],
        *,
        session: Any = None,
        **options: Unpack[SubmitOptions],
    ) -> list[TaskEntity]:
        """Make many tasks of one type, all or none; one answer an input, in order.

        An empty list makes none. Raises as `submit_task` does.
        """
        with submitting(type):
            return self._create(self._drafts(type, _several(inputs), options), options, session)

    async def submit_task_async(
        self,
        type: str,
        input: Any = None,
        *,
        session: AsyncSession | AsyncConnection | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskEntity:
        """`submit_task` for a coroutine; an async session stays on its own loop."""
        return (await self._submit_async(type, [input], options, session))[0]

    async def submit_many_async(
        self,
        type: str,
        inputs: Iterable[Any],
        *,
        session: AsyncSession | AsyncConnection | None = None,
        **options: Unpack[SubmitOptions],
    ) -> list[TaskEntity]:
        """`submit_many` for a coroutine; an async session stays on its own loop."""
        return await self._submit_async(type, _several(inputs), options, session)

    async def _submit_async(
        self,
        type: str,
        inputs: Iterable[Any],
        options: SubmitOptions,
        session: AsyncSession | AsyncConnection | None,
    ) -> list[TaskEntity]:
        if session is not None and not hasattr(session, "run_sync"):
            raise wrong_session(session, "an AsyncSession or AsyncConnection")
        # Imports, checks and large payloads are no work for the loop.
        drafts = await asyncio.to_thread(self._drafts, type, inputs, options)
        if session is None:
            return await in_submitting_thread(lambda: self._create(drafts, options, None))
        return await session.run_sync(lambda joined: self._create(drafts, options, joined))

    def _drafts(self, type: str, inputs: Iterable[Any], options: SubmitOptions) -> list[Draft]:
        return self._drafting().drafts(type, inputs, wish_of(options))

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
            return transaction_for(session, self.settings.store_url)
        except InvalidInput:
            self._drafting().discard(drafts)
            raise

    def _create_later(
        self, drafts: Sequence[Draft], options: SubmitOptions, transaction: CallerTransaction
    ) -> list[TaskEntity]:
        """The transaction is that of another database: its commit is what makes the rows."""

        def create(items: Sequence[Draft], *, certain: bool) -> None:  # noqa: ARG001 - it has happened
            self._create_now(items, options, None)

        transaction.after_commit(drafts, create)
        return [announced_entity(draft, self, self.payloads) for draft in drafts]  # type: ignore[arg-type]  # a TaskDB is a reader

    def _create_now(
        self,
        drafts: Sequence[Draft],
        options: SubmitOptions,
        transaction: CallerTransaction | None,
    ) -> list[TaskEntity]:
        drafting = self._drafting()
        on_conflict = options.get("on_conflict") or "resubmit"
        try:
            created = self._insert(drafts, on_conflict, transaction)
        except DatabaseUnreachable:
            # The rows may be there, and only the answer lost: a payload without a row is pruned
            # some day, a row without its payload can never run.
            raise
        except Exception:
            drafting.discard(drafts)
            raise
        unused = zip(drafts, created, strict=True)
        drafting.discard(draft for draft, one in unused if not one.is_new)
        queued: set[str] = set()
        if transaction is None:
            queued = self._background.publish(_publications(drafts, created))
        return self._entities(drafts, created, transaction, queued)

    def _drafting(self) -> Drafting:
        return Drafting(self.settings, self.discover(), self.payloads, self.scope, self.permission)

    def _insert(
        self,
        drafts: Sequence[Draft],
        on_conflict: OnConflict,
        transaction: CallerTransaction | None,
    ) -> list[Created]:
        if transaction is None:
            return self.store.create(drafts, self.scope, on_conflict=on_conflict)
        try:
            connection = transaction.connection()
            after = Aftermath()
            created = self.store.create(
                drafts, self.scope, on_conflict=on_conflict, connection=connection, after=after
            )
        except DBAPIError as error:
            # Anything else is the caller's to see as it is: it may well know how to try again.
            if isinstance(faults.meaning(error, self.settings.store_url), DatabaseNotMigrated):
                raise DatabaseNotMigrated(_ELSEWHERE) from error
            raise
        made = [*_publications(drafts, created), *after.publications]
        transaction.after_commit(made, self._publish_after_commit)
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
                reader=self,  # type: ignore[arg-type]
                payloads=self.payloads,
            )
            if one.id == draft.id
            else self.store.get(one.id, self.scope, self, connection=connection)  # type: ignore[arg-type]
            for draft, one in zip(drafts, created, strict=True)
        ]


def _several(inputs: Any) -> Iterable[Any]:
    if isinstance(inputs, Mapping | str | bytes | BaseModel) or not isinstance(inputs, Iterable):
        advice = f"{type(inputs).__name__} is one input: give a list, or use submit_task"
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
