"""Tasks for the tests of the store: made, and brought to a status by the store's own verbs."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from threading import Barrier
from typing import Any, TypeVar

from uuid_utils import uuid7

from taskdb.model.entity import TaskError
from taskdb.model.outcome import Report
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE, Draft, Publication
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store

T = TypeVar("T")

OOPS = TaskError("ValueError", "oops", "a traceback", 1)
DONE = Payload({"sum": 3}, '{"sum":3}')
HOUR = timedelta(hours=1)
SOON = timedelta(0)
LEASE = timedelta(seconds=30)


@dataclass(frozen=True)
class Run:
    """A task and the token of the claim that has, or had, it."""

    id: str
    token: str = "token-1"


def draft(**values: Any) -> Draft:
    given = {
        "id": str(uuid7()),
        "tenant": "acme",
        "type": "sum",
        "name": "sum",
        "status": TaskStatus.CREATED,
        "queue": "taskdb",
        "priority": 5,
        "input": {"a": 1, "b": 2},
    }
    return Draft(**{**given, **values})


def create(store: Store, **values: Any) -> str:
    """One task; its id."""
    return store.submissions.create([draft(**values)], EVERYONE)[0].id


TOKEN = "token-1"


def claim(store: Store, task_id: str, token: str = TOKEN, worker: str = "w-1") -> bool:
    return store.runs.claim(task_id, token=token, worker=worker, max_attempts=3).granted


def stray(
    store: Store,
    task_id: str,
    *,
    delay: timedelta,
    limit: int,
    type: str = "sum",
    queues: tuple[str, ...] = ("taskdb",),
) -> TaskStatus | None:
    """A worker of these queues gets a message of a type that it does not know."""
    given: dict[str, Any] = {"delay": delay, "limit": limit, "lease": LEASE}
    return store.take_backs.stray(task_id, OOPS, type=type, queues=queues, **given)


def running(store: Store, **values: Any) -> Run:
    """A task that a worker has claimed."""
    run = Run(create(store, **values))
    assert claim(store, run.id, run.token)
    return run


def publication(store: Store, task_id: str) -> Publication:
    return store.publications.find([task_id])[0]


def queued(store: Store, **values: Any) -> Run:
    run = Run(create(store, **values))
    assert store.publications.mark_queued([publication(store, run.id)]) == {run.id}
    return run


def in_status(store: Store, status: TaskStatus, **values: Any) -> Run:
    """A task in a status, on the way that tasks take."""
    if status is TaskStatus.SCHEDULED:
        return Run(create(store, **{"delay": HOUR, **values}))
    if status is TaskStatus.CREATED:
        return Run(create(store, **values))
    if status is TaskStatus.QUEUED:
        return queued(store, **values)
    run = running(store, **values)
    _ENDS[status](store, run)
    assert store.tasks.get(run.id, EVERYONE).status is status
    return run


def _finish(store: Store, run: Run) -> None:
    # No verb leads here yet.
    write(store, "UPDATE taskdb_task SET status = 'FINISHED' WHERE id = :id", id=run.id)


def _progress(store: Store, run: Run) -> None:
    store.runs.progress(run.id, run.token, Report(current=1))


_ENDS: Mapping[TaskStatus, Callable[[Store, Run], object]] = {
    TaskStatus.STARTED: lambda _store, _run: None,
    TaskStatus.PROCESSING: _progress,
    TaskStatus.FINISHED: _finish,
    TaskStatus.COMPLETED: lambda store, run: store.outcomes.complete(run.id, run.token, DONE),
    TaskStatus.ERRORED: lambda store, run: store.outcomes.error(run.id, run.token, OOPS, HOUR),
    TaskStatus.FAILED: lambda store, run: store.outcomes.fail(run.id, run.token, OOPS),
    TaskStatus.HALTED: lambda store, run: store.outcomes.halt(run.id, run.token, OOPS),
    TaskStatus.CANCELED: lambda store, run: store.outcomes.cancel(run.id, run.token, OOPS),
}


def write(store: Store, sql: str, **parameters: Any) -> list[Mapping[str, Any]]:
    """What only a test does to a database."""
    return list(store.database.query(sql, parameters))


def make_late(store: Store, task_id: str) -> None:
    """Let the moment have passed by which a task, or the items of a chunk, were to start."""
    past = store.database.dialect.later("-:ago")
    sql = f"UPDATE taskdb_task SET deadline_at = {past} WHERE id = :id OR chunk = :id RETURNING id"
    write(store, sql, id=task_id, ago=1.0)


def make_due(store: Store, task_id: str) -> None:
    """Let the time of a task have come."""
    d = store.database.dialect
    write(
        store,
        f"UPDATE taskdb_task SET run_at = {d.later('-:ago')}, relay_at = {d.later('-:ago')}"
        " WHERE id = :id",
        id=task_id,
        ago=1.0,
    )


def row(store: Store, task_id: str) -> dict[str, Any]:
    """Every column of a task."""
    return dict(write(store, "SELECT * FROM taskdb_task WHERE id = :id", id=task_id)[0])


def moves(store: Store, task_id: str) -> list[tuple[str | None, str]]:
    """The history of a task as pairs of statuses."""
    return [
        (event.from_status and str(event.from_status), str(event.to_status))
        for event in store.tasks.history(task_id, EVERYONE)
    ]


def at_once(work: Callable[[int], T], count: int) -> list[T]:
    """Do it in so many threads that start together; every answer, in order of the threads."""
    barrier = Barrier(count)

    def wait_and_work(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_work, range(count)))
