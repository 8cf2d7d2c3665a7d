"""A rehearsal: tasks are submitted as usual, and a test decides when they run in its process.

Nothing is published meanwhile, and time stands still. A test checks the submitted tasks, runs all
due tasks (`drain`), moves the clock, and runs the tasks that have become due.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from taskdb.client.default import replaced_default
from taskdb.client.taskdb import TaskDB
from taskdb.client.twin import in_thread
from taskdb.errors import Fault, InvalidInput
from taskdb.model.entity import TaskEntity, TaskKind
from taskdb.model.principal.origin import submitting_as_nobody
from taskdb.model.status import TaskStatus
from taskdb.role import load_role
from taskdb.settings.settings import Settings
from taskdb.testing.clock import RehearsalClock
from taskdb.testing.expectation import ANYTHING, difference, matches, wanted_text
from taskdb.testing.memory import memory_database
from taskdb.types.registry import Registry

T = TypeVar("T")

RUN_LIMIT = 1_000
"""The most bodies of one `drain`; more count as an endless chain."""
WORKER = "rehearsal"
"""The name of the worker in attempts of a rehearsal."""
_PAGE = 500
_ENDED_BADLY = frozenset({TaskStatus.FAILED, TaskStatus.HALTED})


class DrainLimitReached(AssertionError):
    """`drain` has run too many bodies: probably a task submits or retries itself without end."""


@dataclass(frozen=True, slots=True)
class Drained:
    """The result of a `drain`: each task that ran, in order of its first run, in its last state."""

    tasks: tuple[TaskEntity, ...] = ()
    runs: int = 0

    @property
    def failed(self) -> tuple[TaskEntity, ...]:
        """The tasks that are FAILED or HALTED."""
        return tuple(task for task in self.tasks if task.status in _ENDED_BADLY)


class Rehearsal:
    """Test helpers around one client. `rehearse` or the fixture `rehearsal` makes it.

    `taskdb` is the client, `clock` is the clock of its store.
    """

    before_look: Callable[[], None] = staticmethod(lambda: None)
    """A framework creates the tasks here that wait for a commit which its tests never make."""

    def __init__(self, taskdb: TaskDB, clock: RehearsalClock) -> None:
        self.taskdb = taskdb
        self.clock = clock
        clock.before_tick = self.declare_schedules
        self._bodies = load_role("rehearse-bodies")(taskdb, WORKER)
        self._passes = load_role("rehearse-passes")(taskdb)

    # --- run ----------------------------------------------------------------------------------

    def run_task(
        self, /, type: str | Callable[..., Any], input: Any = None, **options: Any
    ) -> TaskEntity:
        """Submit a task of this type (by name or body) and run its body once, as a worker would.

        Input and result are validated and converted to JSON; the body gets its context and its
        surroundings. Returns the TaskEntity after the attempt: an exception of the body is in
        `error`, and the status is ERRORED if another attempt follows. `drain` runs parts and
        handlers. The options are those of `submit_task`.

        Raises UnknownTaskType and InvalidInput, and IllegalMove for a task that may not run now.
        """
        name = self.taskdb.types.discover().name_of(type)
        submitted = self.taskdb.submit_task(name, input, **options)
        self.before_look()
        if submitted.held_by is not None:
            self._passes.release()
        if self._run(submitted.id) is None:
            raise self._bodies.refusal(submitted.id)
        return self.taskdb.get_task(submitted.id)

    run_task_async = in_thread(run_task)

    def drain(self, *, retries: bool = False, limit: int = RUN_LIMIT) -> Drained:
        """Run all due tasks, and the tasks that become due meanwhile, until none is due.

        This thread runs parts of fan-outs and their joins, steps, handlers, due schedules and due
        retries, the most urgent first. A retry with a backoff is due only after the clock moves;
        with `retries` the clock moves to it. Raises DrainLimitReached after `limit` runs,
        UnknownTaskType for a task without a body here, and AssertionError for a schedule that
        cannot fire.
        """
        ran: list[str] = []
        while True:
            self._run_due(ran, limit)
            if not (retries and self._wait_for_retry()):
                break
        tasks = tuple(self.taskdb.get_task(one) for one in dict.fromkeys(ran))
        return Drained(tasks, len(ran))

    drain_async = in_thread(drain)

    def _run_due(self, ran: list[str], limit: int) -> None:
        while True:
            self.before_look()
            self._fire_schedules()
            due = self._passes.due()
            if not due:
                return
            for one in due:
                if len(ran) >= limit:
                    raise DrainLimitReached(self._endless(ran))
                if self._run(one.id) is not None:
                    ran.append(one.id)

    def _run(self, task_id: str) -> str | None:
        """Run a body without a request or a running event loop, as in a worker."""
        with submitting_as_nobody():
            status: str | None = _beside_loop(lambda: self._bodies.run(task_id))
        return status

    def _wait_for_retry(self) -> bool:
        waiting = self._all(status=TaskStatus.ERRORED)
        moments = [one.run_at for one in waiting if one.run_at is not None]
        if not moments:
            return False
        self.clock.at = max(min(moments), self.clock.at)
        return True

    def _endless(self, ran: list[str]) -> str:
        most = Counter(ran).most_common(1)[0]
        types = Counter(self.taskdb.get_task(one).type for one in set(ran))
        listed = ", ".join(f"{name} ({number} tasks)" for name, number in types.most_common(5))
        return (
            f"{len(ran):,} bodies have run and more is due: {listed}; task {most[0]} alone ran "
            f"{most[1]:,} times. Does one retry or snooze without a pause, or submit itself? If "
            "there are that many, call drain(limit=...)"
        )

    # --- schedules ----------------------------------------------------------------------------

    def declare_schedules(self) -> None:
        """Store the schedules that code and settings declare, as a beat does at its start.

        The first `tick` calls it too, so that they start before it. Raises InvalidInput that
        names every refused declaration.
        """
        declared = any(known.schedules for known in self.taskdb.types.discover())
        if declared or self.taskdb.settings.schedules:
            synced = self.taskdb.schedules.sync()
            refused = (*synced.code.refused, *synced.settings.refused)
            if refused:
                faults = [Fault(one.name, one.reason) for one in refused]
                raise InvalidInput("the declared schedules", faults)

    def _fire_schedules(self) -> None:
        if self.taskdb.scope.tenants is not None:
            # Firing is for all tenants; a scoped client may not do it.
            return
        while True:
            fired = self.taskdb.schedules.fire()
            for schedule_id, reason in fired.broken.items():
                name = self.taskdb.schedules.get(schedule_id).name
                raise AssertionError(f"schedule {name!r} cannot be fired: {reason}")
            if not fired.is_full:
                return

    # --- look ---------------------------------------------------------------------------------

    def submitted(
        self,
        /,
        type: str | Callable[..., Any] | None = None,
        input: Any = ANYTHING,
        **criteria: Any,
    ) -> list[TaskEntity]:
        """Return the submitted tasks of this type (None: of any type), oldest first.

        If `input` is a mapping or a model, all its fields must be equal; the task may have more.
        Sub-tasks are included. The parent that `submit_fan_out` makes is left out unless
        `kind="FAN_OUT"` asks for it. Further criteria are those of `list_tasks`.
        """
        return [one for one in self._of(type, criteria) if matches(one, input)]

    def assert_submitted(
        self,
        /,
        type: str | Callable[..., Any],
        input: Any = ANYTHING,
        *,
        count: int | None = None,
        **criteria: Any,
    ) -> list[TaskEntity]:
        """Raise AssertionError unless such a task was submitted, or exactly `count` of them.

        The error lists the tasks that exist, and their differences. Returns the tasks.
        """
        name = self.taskdb.types.discover().name_of(type)
        found = self.submitted(name, input, **criteria)
        if len(found) == count or (count is None and found):
            return found
        known = {one.id for one in found}
        others = [one for one in self._of(None, {}) if one.id not in known]
        there = f"there {'is' if len(found) == 1 else 'are'} {len(found)}"
        wanted = wanted_text(name, input, count)
        raise AssertionError(f"{wanted}, {there}\n{difference(name, input, found, others)}")

    def _of(
        self, type: str | Callable[..., Any] | None, criteria: dict[str, Any]
    ) -> list[TaskEntity]:
        name = None if type is None else self.taskdb.types.discover().name_of(type)
        found = self._all(type=name, **criteria)
        return [one for one in found if "kind" in criteria or not _is_mere_parent(one)]

    def _all(self, **criteria: Any) -> list[TaskEntity]:
        self.before_look()
        found: list[TaskEntity] = []
        cursor: str | None = None
        while True:
            page = self.taskdb.list_tasks(
                limit=_PAGE, order="oldest", cursor=cursor, **{"with_sub_tasks": True, **criteria}
            )
            found += page
            cursor = page.next_cursor
            if cursor is None:
                return found


@contextmanager
def rehearse(
    taskdb: TaskDB | None = None,
    *,
    at: datetime | None = None,
    connection: Connection | Callable[[], Connection] | None = None,
    registry: Registry | None = None,
    **settings: Any,
) -> Iterator[Rehearsal]:
    """Rehearse on a client until the end of the block; the module functions use it too.

    Without a client, one is made on its own database in memory, with the settings of the
    environment and `settings` on top. The clock stands at `at` (an aware datetime), by default now.
    With a SQLAlchemy `connection` (or a function that returns one), all work happens in its
    transaction, which is never ended here: for test suites that roll back after a test.
    Raises TypeError for a client with `registry` or settings: a client has its own.
    """
    if taskdb is not None and (registry is not None or settings):
        raise TypeError("a client has its registry and its settings: pass them when you create it")
    # SQLite stores whole milliseconds: so the moments of a row equal those of the clock.
    now = datetime.now(UTC)
    clock = RehearsalClock(at or now.replace(microsecond=now.microsecond // 1_000 * 1_000))
    with ExitStack() as stack:
        if taskdb is None:
            taskdb = stack.enter_context(_on_memory(clock, registry, settings))
        else:
            before = taskdb.store.database.keep_time(clock)
            stack.callback(taskdb.store.database.keep_time, before)
        if connection is not None:
            found = connection
            over = (lambda: found) if isinstance(found, Connection) else found
            stack.enter_context(taskdb.store.database.over(over))
        stack.enter_context(replaced_default(taskdb))
        stack.enter_context(taskdb.resting())
        rehearsal = Rehearsal(taskdb, clock)
        stack.enter_context(_current_is(rehearsal))
        yield rehearsal


def current() -> Rehearsal:
    """Return the current rehearsal; raises RuntimeError if there is none."""
    if not _stack:
        raise RuntimeError(
            "no rehearsal is on: ask for the fixture `rehearsal`, or use `with rehearse() as ...`"
        )
    return _stack[-1]


_stack: list[Rehearsal] = []


@contextmanager
def _current_is(rehearsal: Rehearsal) -> Iterator[None]:
    _stack.append(rehearsal)
    try:
        yield
    finally:
        _stack.remove(rehearsal)


@contextmanager
def _on_memory(
    clock: RehearsalClock, registry: Registry | None, settings: dict[str, Any]
) -> Iterator[TaskDB]:
    with ExitStack() as stack:
        if "database_url" not in settings:
            settings = {**settings, "database_url": stack.enter_context(memory_database())}
        if "data_dir" not in settings:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="taskdb-"))
            settings = {**settings, "data_dir": Path(folder)}
        # No broker is used; the URL of the production broker is not even loaded.
        loaded = Settings.load(**{"broker_url": "", **settings})
        yield stack.enter_context(TaskDB(loaded, registry=registry, clock=clock))


def _is_mere_parent(entity: TaskEntity) -> bool:
    """Whether it has no body of its own: `submit_fan_out` made it as the parent of its parts."""
    return entity.kind is TaskKind.FAN_OUT and entity.attempt == 0


def _beside_loop(work: Callable[[], T]) -> T:
    """Run it in this thread, or in a new one if this has a running event loop: bodies may be async.

    An exception of the new thread is raised here.
    """
    if not _has_running_loop():
        return work()
    with ThreadPoolExecutor(1, thread_name_prefix="taskdb-rehearsal") as threads:
        return threads.submit(copy_context().run, work).result()


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
