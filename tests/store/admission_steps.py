"""Steps of the tests of limits, mutexes and pauses."""

from datetime import timedelta

from taskdb.model.entity import TaskEntity
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.store.tasks import LEASE, TOKEN, claim, create, publication, write

ALL = 500


def released(store: Store, limit: int = ALL, **where: list[str]) -> list[str]:
    """Who goes at one pass, in order."""
    return [one.id for one in store.admission.release(limit, LEASE, **where).publications]


def released_at_last(store: Store) -> list[str]:
    """Who goes until a pass lets nobody go."""
    gone: list[str] = []
    for _ in range(100):
        # Who has arrived goes to stand in line at one pass, and out of it at the next.
        now = released(store) or released(store)
        if not now:
            return gone
        gone += now
    raise AssertionError(gone)


def begin(store: Store, task_id: str, token: str = TOKEN) -> None:
    """A worker gets the message and takes the task."""
    assert store.publications.mark_queued([publication(store, task_id)]) == {task_id}
    assert claim(store, task_id, token)


def held_by(store: Store, task_id: str) -> str | None:
    found: TaskEntity = store.tasks.get(task_id, EVERYONE)
    return found.held_by


def slots(store: Store) -> list[tuple[str, int]]:
    """Which slots are taken."""
    return [
        (row["key"], row["n"])
        for row in write(store, "SELECT key, n FROM taskdb_slot ORDER BY 1, 2")
    ]


def with_mutex(store: Store, *keys: str) -> list[str]:
    return [create(store, mutex_key=key) for key in keys]


MINUTE = timedelta(minutes=1)
