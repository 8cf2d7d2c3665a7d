"""The client: the verbs of every day, and the parts for everything else.

A `TaskDB` is safe to share between threads and survives a fork: each process makes its own
connections and its own publisher thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from copy import copy
from datetime import timedelta
from typing import Any, Self, Unpack

from taskdb.celery.configuration import create_celery
from taskdb.celery.publish.publisher import Publisher
from taskdb.celery.refused_control import RefusedControl
from taskdb.client.alarms import Alarms
from taskdb.client.caller.caller import Caller
from taskdb.client.connections import Connections
from taskdb.client.criteria import Criteria
from taskdb.client.explanation import Explanation
from taskdb.client.intervention import Interventions
from taskdb.client.limits import Limits
from taskdb.client.payloads import Payloads
from taskdb.client.queues import Queues
from taskdb.client.schedule.schedules import Schedules
from taskdb.client.submission.drafting import Drafting
from taskdb.client.submission.options import SubmitOptions
from taskdb.client.submission.submissions import Submissions
from taskdb.client.submission.tree_submissions import TreeSubmissions
from taskdb.client.subscriptions import Subscriptions
from taskdb.client.tasks import TaskPage, Tasks
from taskdb.client.trees import Trees
from taskdb.client.twin import in_thread, on_loop
from taskdb.client.types import Types
from taskdb.client.workers import Workers
from taskdb.model.attempt import attempts_of
from taskdb.model.clock import Clock
from taskdb.model.entity import Attempt, TaskEntity, TaskEvent, TaskReader
from taskdb.model.fan_out import FanOut, Join
from taskdb.model.principal.permission import Permission
from taskdb.settings.settings import Settings
from taskdb.store.contract import Scope
from taskdb.store.store import Store
from taskdb.store.task.list import Order
from taskdb.types.registry import Registry, default_registry


class TaskDB:
    """Tasks on one database and one broker.

    Reads the settings of the environment unless some are given; opens nothing before first use.
    An unscoped client is the operator's: it sees every tenant. `for_tenant` narrows it.

    The parts: `schedules`, `limits`, `alarms`, `subscriptions`, `trees`, `types`, `workers` and
    `payloads`. A method `…_async` is its twin for coroutines; coroutines call the methods of parts
    with `asyncio.to_thread`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        registry: Registry | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or Settings.load()
        self._connections = Connections(self.settings, clock)
        known = default_registry if registry is None else registry
        self._compose(Caller(), Types(known, self.settings.task_modules), is_owner=True)

    def _compose(self, caller: Caller, types: Types, *, is_owner: bool) -> None:
        """Make the parts for this caller."""
        settings, connections, store = self.settings, self._connections, self._connections.store
        self._caller, self._is_owner = caller, is_owner
        self._celery_app: Any = None
        self._tasks = Tasks(settings, store, caller, connections.waits)
        drafting = Drafting(settings, types, store.payloads, caller)
        self._submissions = Submissions(connections, drafting, caller, self._tasks)
        self._tree_submissions = TreeSubmissions(connections, types, drafting, caller, self._tasks)
        self._interventions = Interventions(store, connections.background, caller, self._tasks)
        self.types = types
        self.schedules = Schedules(settings, store, types, drafting, caller, self._tasks)
        self.limits = Limits(settings, store, connections.background, types, caller)
        self.alarms = Alarms(settings, store, types, caller)
        self.subscriptions = Subscriptions(settings, store, caller)
        self.trees = Trees(store, caller, self._tasks, self._tree_submissions)
        self.workers = Workers(settings, store, caller)
        self.queues = Queues(settings, store, caller)
        self.payloads = Payloads(self._tasks)

    # --- submit -------------------------------------------------------------------------------

    def submit_task(
        self, type: str, input: Any = None, *, session: Any = None, **options: Unpack[SubmitOptions]
    ) -> TaskEntity:
        """Create a task: first its row, then its message. A submit that returned is never lost.

        `input` is a model or JSON values. With `session` (SQLAlchemy Session, AsyncSession or
        Connection) the row belongs to the caller's transaction and is published after its commit.
        The task is QUEUED if the broker took the message in time, else CREATED (it is
        published later) or SCHEDULED. If `unique_key` finds a task, that task is returned.

        Raises UnknownTaskType, InvalidInput, PayloadStoreUnreachable (nothing was written),
        DatabaseError.
        """
        return self._submissions.one(type, input, options, session)

    def submit_many(
        self,
        type: str,
        inputs: Iterable[Any],
        *,
        session: Any = None,
        **options: Unpack[SubmitOptions],
    ) -> list[TaskEntity]:
        """Create many tasks of one type, all or none; returns one for each input, in order.

        An empty list creates none. Raises as `submit_task` does.
        """
        return self._submissions.many(type, inputs, options, session)

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
        """Create a parent and a part of this type for each item; returns the parent.

        `items` is an iterable of any length: it is read a batch at a time, and no
        part is visible before all exist. See `FanOut` for how they are joined. `run_at`,
        `delay`, `deadline` and `mutex_key` apply to the parts; `name`, `unique_key`, `tags`,
        `attributes` and `notify_id` to the parent. An empty list completes at once. A FAILED
        fan-out of the same `unique_key` retries its failed parts if the items are the same, with
        all options of this call; for other items a new one is created.

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
        return self._tree_submissions.fan_out(type, items, fan_out, options, session)

    def submit_sequence(
        self,
        sequence: str,
        payload: Any = None,
        *,
        timeout: timedelta | float | None = None,
        session: Any = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskEntity:
        """Begin a sequence; returns its task.

        If the sequence is `unique` (or `unique_key` is given), the same payload gives the same
        task: a FAILED one resumes at the failed step, with the options given here; any other is
        returned as it is. Another payload under the key of a FAILED task creates a new task.
        Raises SequenceNotFound, UnknownTaskType, InvalidInput, DatabaseError.
        """
        return self._tree_submissions.sequence(sequence, payload, timeout, options, session)

    submit_task_async = on_loop(submit_task)
    submit_many_async = on_loop(submit_many)
    submit_fan_out_async = on_loop(submit_fan_out)
    submit_sequence_async = on_loop(submit_sequence)

    # --- read ---------------------------------------------------------------------------------

    def get_task(self, reference: str) -> TaskEntity:
        """Return the current task with this id, code or key; raises TaskNotFound.

        An adopted task is also found by the id that its Celery app gave it.
        """
        return self._tasks.get_task(reference)

    def list_tasks(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        order: Order = "newest",
        **criteria: Unpack[Criteria],
    ) -> TaskPage:
        """Return one page of tasks by time of creation, stable while new ones are created.

        `limit` runs from 1 to 1,000. Raises InvalidInput that names every fault.
        """
        return self._tasks.page(criteria, limit=limit, cursor=cursor, order=order)

    def wait_task(self, reference: str, timeout: float | None = None) -> TaskEntity:
        """Block until the task has settled (terminal, or HALTED), and return it.

        `timeout` is in seconds, None waits for ever; the wait outlives an outage of the database.
        Raises WaitTimeout, TaskNotFound, InvalidInput, WaitInterrupted when this client is closed.
        """
        return self._tasks.wait_task(reference, timeout)

    async def wait_task_async(
        self,
        reference: str,
        timeout: float | None = None,  # noqa: ASYNC109 - as its twin
    ) -> TaskEntity:
        """`wait_task` for a coroutine; it holds no thread while it waits."""
        return await self._tasks.wait_task_async(reference, timeout)

    def task_history(self, reference: str) -> list[TaskEvent]:
        """Return every move of a task, oldest first; raises TaskNotFound."""
        return self._tasks.history(reference)

    def task_attempts(self, reference: str) -> list[Attempt]:
        """Return every run of its body, oldest first; raises TaskNotFound."""
        return attempts_of(self._tasks.history(reference))

    def explain_task(self, reference: str) -> Explanation:
        """Explain why a task is where it is, and what to do about it; raises TaskNotFound.

        Asks the broker only where that decides, for three seconds at most. If the task waits for
        sub-tasks, it also explains the first open one, and so on down the tree.
        """
        return self._tasks.explain(reference)

    # --- change -------------------------------------------------------------------------------
    # The history names the actor of each; see `Caller.actor`.

    def cancel_task(self, reference: str, *, by: str | None = None) -> TaskEntity:
        """Cancel a task: at once while it waits; a running body is asked to stop.

        A body that does not stop by itself is ended after the grace of the settings. Raises
        TaskNotFound, and IllegalMove for a task that ended otherwise.
        """
        return self._interventions.cancel(reference, by)

    def retry_task(
        self, reference: str, *, force: bool = False, by: str | None = None
    ) -> TaskEntity:
        """Run a task again, with a whole budget of attempts; its history continues.

        For a task that ended, that waits for a person, or that waits for its time. A fan-out
        retries its failed and canceled parts and joins anew; a sequence resumes at the step that
        failed; a sub-task reopens its FAILED or CANCELED ancestors. With `force` a fan-out runs
        all its parts, and a sequence all its steps. Raises TaskNotFound; IllegalMove for a task
        that is queued or running, and for a sub-task of a parent that COMPLETED;
        SequenceAlreadyCompleted; InvalidInput if this client may not run all of it.
        """
        return self._interventions.retry(reference, force=force, by=by)

    def resume_task(
        self, token: str, output: Any = None, *, error: str | None = None, by: str | None = None
    ) -> TaskEntity:
        """End the task whose body got this token from `ctx.wait_for_callback`; returns the task.

        It is COMPLETED with this output (JSON values or a model), or FAILED with this error; the
        usual ending follows. If its body still runs, the task ends when the body does. A token
        counts once. Raises CallbackRefused; InvalidInput, NotEncodable and PayloadTooLarge, after
        which the token still counts.
        """
        return self._interventions.resume(token, output, error=error, by=by)

    def cancel_tasks(self, *, by: str | None = None, **criteria: Unpack[Criteria]) -> int:
        """Cancel every task that meets the criteria and can be canceled; returns their number.

        Raises InvalidInput without a criterion, so that no caller cancels all tasks by mistake.
        """
        return self._interventions.cancel_all(criteria, by)

    def retry_tasks(
        self, *, force: bool = False, by: str | None = None, **criteria: Unpack[Criteria]
    ) -> int:
        """Retry every task that meets the criteria and ended badly; returns their number.

        These are FAILED, HALTED and CANCELED. With `force` also those that COMPLETED or wait for
        their time, and whole trees. Tasks that this client may not run stay as they are. Raises
        InvalidInput without a criterion, and for a `status` that needs `force`.
        """
        return self._interventions.retry_all(criteria, force=force, by=by)

    get_task_async = in_thread(get_task)
    list_tasks_async = in_thread(list_tasks)
    task_history_async = in_thread(task_history)
    explain_task_async = in_thread(explain_task)
    cancel_task_async = in_thread(cancel_task)
    retry_task_async = in_thread(retry_task)
    resume_task_async = in_thread(resume_task)

    # --- scope and life -----------------------------------------------------------------------

    def for_tenant(
        self,
        *tenants: str,
        queues: Collection[str] | None = None,
        types: Collection[str] | None = None,
        priorities: Collection[int] | None = None,
        request_id: str | None = None,
        created_by: str | None = None,
        created_ip: str | None = None,
    ) -> TaskDB:
        """Return a client that reads and moves tasks of these tenants only; it shares connections.

        It submits and retries only tasks of the listed `types`, `queues` and `priorities`,
        whether a caller names them or a type declares them; None allows all. A `request_id`,
        `created_by` or `created_ip` is recorded with every submit and overrides the caller's value.
        A client made from a scoped client may allow less, not more.

        Only the original client closes the connections. Raises InvalidInput without a
        tenant, for an invalid tenant, and for a tenant that this client does not see.
        """
        asked = Permission.of(
            queues=queues,
            types=types,
            priorities=priorities,
            request_id=request_id,
            created_by=created_by,
            created_ip=created_ip,
        )
        scoped = object.__new__(TaskDB)
        scoped.settings, scoped._connections = self.settings, self._connections
        scoped._compose(self._caller.narrowed(tenants, asked), copy(self.types), is_owner=False)
        return scoped

    @property
    def scope(self) -> Scope:
        """The tenants that this client sees."""
        return self._caller.scope

    @property
    def permission(self) -> Permission:
        """The types, queues and priorities that this client may submit."""
        return self._caller.permission

    @property
    def reader(self) -> TaskReader:
        """The reader that refreshes the entities of this client."""
        return self._tasks

    @property
    def store(self) -> Store:
        """The store under this client. It sees every tenant."""
        return self._connections.store

    @property
    def publisher(self) -> Publisher:
        """The publisher under this client; beat and workers publish with it."""
        return self._connections.publisher

    @property
    def celery_app(self) -> Any:
        """A Celery app on this client: ``AsyncResult(task_id, app=taskdb.celery_app)``.

        State, result and error come from the row, within the scope of this client. It is not
        Celery's current app. The app of a scoped client raises InvalidInput for remote control.
        """
        if self._celery_app is None:
            self._celery_app = create_celery(self.settings)
            if not self._caller.is_operator:
                self._celery_app.control_cls = RefusedControl
            self._celery_app.taskdb_reader = self
        return self._celery_app

    def resting(self) -> AbstractContextManager[None]:
        """Publish nothing inside the block; the relay finds new rows at once; for tests."""
        return self._connections.resting()

    def close(self) -> None:
        """Publish waiting messages for a short time, then close this process's connections.

        A scoped client has none of its own: the shared connections stay open.
        """
        if self._is_owner:
            self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
