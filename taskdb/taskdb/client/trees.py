"""The part of the client that makes trees of tasks and looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from taskdb.celery.publish.background import BackgroundPublisher
from taskdb.client.submission.draft import Drafting, Wish, announced_entity, submitting, wish_of
from taskdb.client.submission.options import SubmitOptions
from taskdb.client.submission.step_cache import Shelf, StepCache
from taskdb.client.submission.transaction import (
    CallerTransaction,
    in_submitting_thread,
    transaction_for,
    wrong_session,
)
from taskdb.client.submission.tree_draft import Drafter, SequenceProgress, progress_of
from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import LARGEST
from taskdb.model.entity import SubTaskResult, TaskEntity, TaskRole
from taskdb.model.fan_out import Counts, FanOut, Join
from taskdb.model.status import TaskStatus
from taskdb.settings.settings import Settings
from taskdb.store.contract import Draft, Scope
from taskdb.store.payload.payload import Payloads
from taskdb.store.store import Store
from taskdb.store.tree.submit import NewFamily
from taskdb.store.tree.unit import Aftermath
from taskdb.types.registry import Registry
from taskdb.types.task_type import TaskType

if TYPE_CHECKING:
    # Importing it for real needs greenlet, which only asynchronous callers have.
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

RESULT_LIMIT = 10_000
"""Results that one page may hold."""


class TreeClient:
    """Fan-outs and sequences; `TaskDB` is one."""

    settings: Settings
    scope: Scope
    store: Store
    payloads: Payloads
    registry: Registry
    _background: BackgroundPublisher
    discover: Callable[[], Registry]
    _drafting: Callable[[], Drafting]
    _id_of: Callable[[str], str]
    get_task: Callable[[str], TaskEntity]

    # --- submit -------------------------------------------------------------------------------

    def submit_fan_out(  # noqa: PLR0913 - the options of a fan-out, all by keyword
        self,
        type: str,
        items: Iterable[Any],
        *,
        join: Join = "all_succeeded",
        tolerate: float | None = None,
        max_concurrency: int | None = None,
        timeout: timedelta | float | None = None,
        chunk_size: int = 1,
        on_join: Any = None,
        session: Any = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskEntity:
        """Make a parent and a part of this type for each item; answers the parent.

        `items` is anything to iterate over, of any length: it is read a batch at a time, and no
        part is to be seen before all are there. See `FanOut` for how they are joined. `run_at`,
        `delay`, `deadline` and `mutex_key` are those of the parts; `name`, `unique_key`, `tags`,
        `attributes` and `notify_id` the parent's. An empty list completes at once. A fan-out of the
        same `unique_key` that FAILED runs its bad parts again if the items are the same, with all
        that is said here; for other items a new one is made.

        Raises UnknownTaskType, InvalidInput (nothing was written), DatabaseError.
        """
        fan_out = FanOut(
            join=join,
            tolerate=tolerate,
            max_concurrency=max_concurrency,
            timeout=timeout,
            chunk_size=chunk_size,
            on_join=on_join,
        )
        with submitting(type):
            return self._submit_fan_out(type, items, fan_out, options, session)

    def _submit_fan_out(
        self,
        type: str,
        items: Iterable[Any],
        fan_out: FanOut,
        options: SubmitOptions,
        session: Any,
    ) -> TaskEntity:
        drafter = self._drafter()
        wish = wish_of(options)
        drafter.check_type(type)
        spec = drafter.fan_out(type, fan_out, self.registry.find(type))
        parent = drafter.parent(type, wish)
        of_parts = replace(wish, name=None, tags=(), attributes={}, notify_id=None)
        parts = drafter.parts(type, items, of_parts)

        def create(connection: Connection | None) -> NewFamily:
            return self.store.create_fan_out(
                parent, parts, spec, self.scope, on_conflict=wish.on_conflict, connection=connection
            )

        with drafter.keeping_payloads():
            transaction = transaction_for(session, self.settings.store_url)
            if transaction is not None and transaction.connection() is None:
                # Whatever is wrong with them is the caller's to hear now.
                parts = iter(list(parts))
                return self._make_later(create, drafter, (parent, transaction))
        return self._make(create, drafter, transaction)

    def submit_sequence(
        self,
        sequence: str,
        payload: Any = None,
        *,
        timeout: timedelta | float | None = None,
        session: Any = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskEntity:
        """Begin a sequence; answers its task.

        Where the sequence is `unique` (or `unique_key` is given), the same payload is the same
        task: one that FAILED goes on at the failed step, with the options given here, any other is
        answered as it is. Another payload under the key of one that FAILED is a new task.
        Raises SequenceNotFound, UnknownTaskType, InvalidInput, DatabaseError.
        """
        with submitting(sequence):
            return self._submit_sequence(sequence, payload, timeout, options, session)

    def _submit_sequence(
        self,
        sequence: str,
        payload: Any,
        timeout: timedelta | float | None,
        options: SubmitOptions,
        session: Any,
    ) -> TaskEntity:
        drafter = self._drafter()
        wish = wish_of(options)
        refused = [one for one in ("run_at", "delay", "deadline") if getattr(wish, one) is not None]
        faults = [Fault(one, "a sequence begins at once: leave it out") for one in refused]
        if wish.mutex_key is not None:
            advice = "a sequence waits without running: give the types of its steps a mutex"
            faults.append(Fault("mutex_key", advice))
        if faults:
            raise InvalidInput("the submit request", faults)
        drafter.check_allowed(sequence)
        known = self.discover().sequence(sequence)
        spec = drafter.sequence(known, timeout)
        parent = drafter.sequence_parent(known, payload, wish)

        def create(connection: Connection | None) -> NewFamily:
            return self.store.create_sequence(
                parent, spec, self.scope, on_conflict=wish.on_conflict, connection=connection
            )

        with drafter.keeping_payloads():
            transaction = transaction_for(session, self.settings.store_url)
        if transaction is not None and transaction.connection() is None:
            return self._make_later(create, drafter, (parent, transaction))
        return self._make(create, drafter, transaction)

    async def submit_fan_out_async(
        self,
        type: str,
        items: Iterable[Any],
        *,
        session: AsyncSession | AsyncConnection | None = None,
        **options: Any,
    ) -> TaskEntity:
        """`submit_fan_out` for a coroutine; an async session stays on its own loop."""
        return await self._in_loop(
            lambda joined: self.submit_fan_out(type, items, session=joined, **options), session
        )

    async def submit_sequence_async(
        self,
        sequence: str,
        payload: Any = None,
        *,
        session: AsyncSession | AsyncConnection | None = None,
        **options: Any,
    ) -> TaskEntity:
        """`submit_sequence` for a coroutine; an async session stays on its own loop."""
        return await self._in_loop(
            lambda joined: self.submit_sequence(sequence, payload, session=joined, **options),
            session,
        )

    async def _in_loop(
        self, submit: Callable[[Any], TaskEntity], session: AsyncSession | AsyncConnection | None
    ) -> TaskEntity:
        if session is None:
            return await in_submitting_thread(lambda: submit(None))
        if not hasattr(session, "run_sync"):
            raise wrong_session(session, "an AsyncSession or AsyncConnection")
        return await session.run_sync(submit)

    def fan_out_own(
        self,
        task_id: str,
        token: str,
        owner: TaskType,
        tenant: str,
        part_type: str,
        items: Iterable[Any],
        options: FanOut,
    ) -> bool:
        """What `ctx.fan_out` does for the run with this claim token; False if it may not.

        Raises InvalidInput for a client that is scoped to tenants: a worker calls it.
        """
        self.scope.require(None)
        drafter = self._drafter()
        name = self.registry.name_of(part_type)
        spec = drafter.fan_out(name, options, owner)
        wish = Wish(tenant=tenant)
        with drafter.keeping_payloads():
            is_done = self.store.fan_out_own(
                task_id, token, lambda: drafter.parts(name, items, wish), spec
            )
        if not is_done:
            drafter.discard_payloads()
        return is_done

    def _drafter(self) -> Drafter:
        return Drafter(self._drafting(), self.registry)

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
            return self.store.get(made.created.id, self.scope, self, connection=connection)  # type: ignore[arg-type]
        self.store.follow(made.after)
        return self.get_task(made.created.id)

    def _make_later(
        self,
        create: Callable[[Connection | None], NewFamily],
        drafter: Drafter,
        announced: tuple[Draft, CallerTransaction],
    ) -> TaskEntity:
        """The transaction is that of another database: its commit is what makes the rows."""
        parent, transaction = announced

        def make(items: Sequence[Draft], *, certain: bool) -> None:  # noqa: ARG001 - it has happened
            self._make(create, drafter, None)

        transaction.after_commit([parent], make)
        return announced_entity(parent, self, self.payloads)  # type: ignore[arg-type]  # a TaskDB is a reader

    def _follow_later(self, transaction: CallerTransaction, after: Aftermath) -> None:
        """Publish what was made once the caller's transaction has committed."""
        transaction.after_commit(after.publications, self._publish_after_commit)
        transaction.after_commit(after.families, self._publish_families)

    def _publish_families(self, items: Sequence[Any], *, certain: bool) -> None:
        for parent_id in items:
            self._background.publish_family(parent_id, certain=certain)

    def _publish_after_commit(self, items: Sequence[Any], *, certain: bool) -> None:
        self._background.publish(items, wait=False, certain=certain)

    def _publish_new(self, ids: Sequence[str], families: Sequence[str]) -> None:
        """Hand over what a committed unit has made; never waits for the broker."""
        if ids:
            self._background.publish(self.store.publications(ids), wait=False)
        for parent_id in families:
            self._background.publish_family(parent_id)

    # --- look ---------------------------------------------------------------------------------

    def sub_task_counts(self, reference: str) -> Counts:
        """How many parts of a fan-out are where, by one indexed query; raises TaskNotFound."""
        return self.store.counts(self._id_of(reference), self.scope)

    def list_sub_tasks(
        self, reference: str, *, after: int = -1, limit: int = 1_000
    ) -> list[TaskEntity]:
        """All of one family in order of their positions, a page at a time.

        `reference` is the parent, or any of its parts, steps and handlers that has no sub-tasks
        of its own. Raises TaskNotFound, InvalidInput.
        """
        found = self.get_task(reference)
        is_leaf = found.spec is None and found.parent_id is not None
        parent_id = found.parent_id if is_leaf else found.id
        return self.sub_tasks(str(parent_id), after=after, limit=limit)

    def sub_task_results(
        self,
        reference: str,
        *,
        after: int = -1,
        limit: int = 1_000,
        role: TaskRole | str | None = TaskRole.PART,
    ) -> list[SubTaskResult]:
        """Results of sub-tasks in the order of their items, a page at a time.

        The next page is the one `after` the position of the last result; an empty one is the end.
        `role` chooses parts, steps or handlers, None all. Raises TaskNotFound, InvalidInput.
        """
        found = self.sub_tasks(reference, after=after, limit=limit, role=role)
        return [one.as_sub_task() for one in found]

    def sub_tasks(
        self,
        reference: str,
        *,
        after: int = -1,
        limit: int = 1_000,
        role: TaskRole | str | None = None,
    ) -> list[TaskEntity]:
        """Sub-tasks of a parent in their order, a page at a time, as `sub_task_results`."""
        if type(limit) is not int or not 1 <= limit <= RESULT_LIMIT:
            raise InvalidInput("the list request", [Fault("limit", f"1 to {RESULT_LIMIT:,}")])
        if type(after) is not int or not -1 <= after <= LARGEST:
            advice = "the position of the last one, or -1 to begin"
            raise InvalidInput("the list request", [Fault("after", advice)])
        try:
            chosen = None if role is None else TaskRole(role)
        except ValueError:
            known = ", ".join(TaskRole)
            raise InvalidInput("the list request", [Fault("role", f"one of {known}")]) from None
        return self.store.sub_tasks(
            self._id_of(reference),
            self.scope,
            after=after,
            limit=limit,
            role=chosen,
            reader=self,  # type: ignore[arg-type]  # a TaskDB is a reader
        )

    def sequence_progress(
        self, reference: str, *, cache: StepCache | None = None
    ) -> SequenceProgress:
        """Where a sequence is; raises TaskNotFound, and InvalidInput for what is no sequence.

        With a cache, a large result of a finished step is fetched from the payload store once.
        """
        parent = self.get_task(reference)
        spec = (parent.spec or {}).get("sequence", {})
        steps = self.sub_tasks(
            parent.id, after=spec.get("base", 0) - 1, limit=RESULT_LIMIT, role=TaskRole.STEP
        )
        return progress_of(parent, steps, Shelf(cache))

    def step_results(
        self, reference: str, *, cache: StepCache | None = None
    ) -> list[SubTaskResult]:
        """The finished steps of a sequence, in order; raises as `sequence_progress`."""
        shown = self.sequence_progress(reference, cache=cache).steps
        return [one for one in shown if one.status is TaskStatus.COMPLETED]
