"""The client: find, list, cancel, retry; its bases submit, wait, have trees and rules.

A `TaskDB` is safe to share between threads and survives a fork: connections and the publisher's
thread are made anew in the process that uses them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Self, Unpack, get_args

from sqlalchemy.engine import make_url

from taskdb.celery.broker_state import broker_state
from taskdb.celery.configuration import create_celery
from taskdb.celery.publish.background import BackgroundPublisher
from taskdb.celery.publish.publisher import Publisher
from taskdb.celery.refused_control import RefusedControl
from taskdb.client.actor import Acting
from taskdb.client.alarms import AlarmClient
from taskdb.client.explanation import Explanation, explain
from taskdb.client.intervention import InterventionClient
from taskdb.client.limits import GateClient
from taskdb.client.schedules import ScheduleClient
from taskdb.client.submission.options import Criteria, filter_of
from taskdb.client.submit import SubmitClient
from taskdb.client.subscriptions import SubscriptionClient
from taskdb.client.trees import TreeClient
from taskdb.client.wait import WaitClient
from taskdb.client.watcher import Watcher
from taskdb.errors import (
    Fault,
    InvalidInput,
    TaskNotFound,
)
from taskdb.model.attempt import attempts_of
from taskdb.model.bounds import NAME_BYTES, shown, spelled, wrong_text
from taskdb.model.clock import Clock
from taskdb.model.entity import Attempt, Side, TaskEntity, TaskEvent
from taskdb.model.principal.permission import ANYTHING, Permission
from taskdb.model.reference import adopted_id, parse_reference
from taskdb.settings.settings import Settings
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.engine.sqlite.shared_cache import is_shared
from taskdb.store.payload.place import payloads_of
from taskdb.store.store import Store
from taskdb.store.task.list import Cursor, Order
from taskdb.types.registry import Registry, default_registry, import_task_modules
from taskdb.types.surrounding import Surrounded

DEEPEST = 5
"""Levels of a tree that one explanation goes down."""
_SCOPE = "the scope"
PAGE_LIMIT = 1_000
"""Tasks that one page may hold."""


class TaskPage(tuple[TaskEntity, ...]):  # noqa: SLOT001 - it carries the cursor beside the tasks
    """Tasks of one page; `next_cursor` leads to the next one, None where there is none."""

    next_cursor: str | None = None


class TaskDB(
    SubmitClient,
    WaitClient,
    TreeClient,
    ScheduleClient,
    GateClient,
    InterventionClient,
    SubscriptionClient,
    AlarmClient,
    Acting,
    Surrounded,
):
    """Tasks on one database and one broker.

    Reads the settings of the environment unless told otherwise; opens nothing until it is used.
    An unscoped client is the operator's: it sees every tenant. `for_tenant` narrows it.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        registry: Registry | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or Settings.load()
        self.registry = default_registry if registry is None else registry
        self.scope = EVERYONE
        self.permission = ANYTHING
        self.payloads = payloads_of(self.settings)
        self.store = Store(
            self.settings.store_url,
            clock=clock,
            migrates_itself=self.settings.is_embedded_store,
            relay_grace=timedelta(seconds=self.settings.relay_grace_seconds),
            payloads=self.payloads,
        )
        self._watcher = Watcher(self.store)
        self.publisher = Publisher(self.settings, self.store)
        self._background = BackgroundPublisher(
            self.publisher,
            self.settings.publish_budget_seconds,
            self.settings.publish_breaker_seconds,
            # SQLite would refuse what the code under test writes at the same moment.
            rests=is_shared(make_url(self.settings.store_url)),
        )
        self.store.on_new = self._publish_new
        self._discovered = False
        self._celery_app: Any = None
        self._is_owner = True

    @property
    def celery_app(self) -> Any:
        """A Celery app on this client: ``AsyncResult(task_id, app=taskdb.celery_app)``.

        State, result and error come from the row, within the scope of this client. It is not made
        Celery's current app, so that it does not get in the way of another one. That of a scoped
        client sends no remote control: InvalidInput.
        """
        if self._celery_app is None:
            self._celery_app = create_celery(self.settings)
            if self.scope.tenants is not None:
                self._celery_app.control_cls = RefusedControl
            self._celery_app.taskdb_reader = self
        return self._celery_app

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
        """A client that reads and moves tasks of these tenants only; it shares the connections.

        It submits and retries only tasks of the `types`, `queues` and `priorities` that are listed,
        whether a caller names them or a type declares them; None allows all. A `request_id`,
        `created_by` or `created_ip` is recorded with all that it submits, whatever a caller says.
        Made from such a client, another one may allow less, not more.

        Only the client that it was made from closes the connections. Raises InvalidInput without a
        tenant, for one that no task can have, and for what this client does not allow.
        """
        asked = Permission.of(
            queues=queues,
            types=types,
            priorities=priorities,
            request_id=request_id,
            created_by=created_by,
            created_ip=created_ip,
        )
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
        permission = self.permission.narrowed(asked)
        scoped = object.__new__(TaskDB)
        scoped.__dict__.update(self.__dict__)
        scoped._celery_app = None
        scoped._is_owner = False
        scoped.scope = Scope(tuple(tenants))
        scoped.permission = permission
        return scoped

    def discover(self) -> Registry:
        """Import the task modules of the settings, once; answers the registry."""
        if not self._discovered:
            import_task_modules(self.settings.task_modules)
            self._discovered = True
        return self.registry

    # --- read ---------------------------------------------------------------------------------

    def get_task(self, reference: str) -> TaskEntity:
        """The task of this id, code or key, as it is now; raises TaskNotFound.

        An adopted task is also found by what its Celery app calls it.
        """
        place = parse_reference(spelled(reference))
        if place is None:
            return self._adopted(spelled(reference))
        if place.position is not None:
            found = self.store.get_sub_task(place.id, place.position, self.scope, self)
        else:
            found = self.store.get(place.id, self.scope, self)
        if place.key is not None and found.key != place.key:
            raise TaskNotFound(place.key)
        return found

    def _adopted(self, celery_id: str) -> TaskEntity:
        with suppress(TaskNotFound):
            found = self.store.get(adopted_id(celery_id), self.scope, self)
            if found.is_adopted:
                return found
        raise TaskNotFound(celery_id)

    def list_tasks(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        order: Order = "newest",
        **criteria: Unpack[Criteria],
    ) -> TaskPage:
        """One page of tasks by time of creation, stable while new ones come.

        `limit` runs from 1 to 1,000. Raises InvalidInput that names what is wrong.
        """
        if type(limit) is not int or not 1 <= limit <= PAGE_LIMIT:
            raise InvalidInput("the list request", [Fault("limit", f"1 to {PAGE_LIMIT}")])
        if order not in {"newest", "oldest"}:
            raise InvalidInput("the list request", [Fault("order", "newest or oldest")])
        after = None if cursor is None else Cursor.parse(cursor)
        chosen = filter_of(criteria)
        found = self.store.page(
            chosen, self.scope, limit=limit + 1, order=order, after=after, reader=self
        )
        page = TaskPage(found[:limit])
        if len(found) > limit:
            page.next_cursor = str(Cursor(page[-1].created_at, page[-1].id))
        return page

    def task_history(self, reference: str) -> list[TaskEvent]:
        """Every move of a task, oldest first; raises TaskNotFound."""
        return self.store.history(self._id_of(reference), self.scope)

    def task_attempts(self, reference: str) -> list[Attempt]:
        """Every run of its body, oldest first; raises TaskNotFound."""
        return attempts_of(self.task_history(reference))

    def explain_task(self, reference: str) -> Explanation:
        """Why a task is where it is, and what to do about it; raises TaskNotFound.

        Asks the broker, for three seconds at most, where its answer matters. Of a task that waits
        for sub-tasks also why the first open one is where it is, down to the last.
        """
        lease = timedelta(seconds=self.settings.worker_lease_seconds)
        ids = [self._id_of(reference)]
        line: list[Explanation] = []
        for task_id in ids:
            standing = self.store.standing(task_id, self.scope, lease=lease)
            line.append(explain(standing, partial(broker_state, self.settings), lease=lease))
            if standing.first_open is not None and len(ids) < DEEPEST:
                ids.append(standing.first_open)
        below: Explanation | None = None
        for one in reversed(line):
            below = replace(one, below=below)
        return below or line[0]

    def read_payload(self, reference: str, side: Side = "input") -> Any:
        """The input or the result of a task, wherever it is kept.

        Raises TaskNotFound, InvalidInput for another `side`, PayloadMissing and
        PayloadStoreUnreachable.
        """
        if side not in get_args(Side):
            advice = f"{shown(side)} is none of {', '.join(get_args(Side))}"
            raise InvalidInput("the payload request", [Fault("side", advice)])
        found = self.get_task(reference)
        return found.input if side == "input" else found.result

    def _id_of(self, reference: str) -> str:
        place = parse_reference(spelled(reference))
        if place is not None and place.key is None:
            # The verbs themselves say when there is no such task, or none in this scope.
            return self.store.get(place.id, self.scope).id
        return self.get_task(reference).id

    # --- life ---------------------------------------------------------------------------------

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Publish nothing meanwhile, and have the relay find it all at once; for tests."""
        grace, self.store.grace = self.store.grace, timedelta(0)
        try:
            with self._background.resting():
                yield
        finally:
            self.store.grace = grace

    def close(self) -> None:
        """Publish what waits, for a moment, and close this process's connections.

        A client of some tenants has none of its own: those that it shares stay open.
        """
        if not self._is_owner:
            return
        self._watcher.close()
        self._background.close()
        self.publisher.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
