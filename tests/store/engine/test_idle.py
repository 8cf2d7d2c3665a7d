"""A transaction of our own that says nothing for long is ended by the server, and keeps no lock."""

import threading
from collections.abc import Iterator

import pytest

from taskdb.errors import DatabaseUnreachable
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.status import TaskStatus as S
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.store.tasks import draft
from tests.store.trees import end, sub_tasks


@pytest.fixture
def store(postgresql_store: Store) -> Store:
    postgresql_store.database.idle_seconds = 0.3
    return postgresql_store


def test_who_stands_still_in_a_join_keeps_nobody_waiting(store: Store) -> None:
    parent = store.submissions.create_fan_out(
        draft(), [draft()], FanOutSpec(part_type="sum"), EVERYONE
    ).created.id
    end(store, sub_tasks(store, parent)[0].id)
    locked, may_go_on = threading.Event(), threading.Event()
    said: list[Exception] = []

    def stand_still() -> None:
        try:
            with store.units.open() as unit:
                unit.lock(parent)
                locked.set()
                may_go_on.wait(20)
                unit.counts(parent)
        except DatabaseUnreachable as error:
            said.append(error)

    other = threading.Thread(target=stand_still)
    other.start()
    assert locked.wait(20)
    # Waits for the lock until the server has taken it away.
    store.joins.join(parent)
    assert store.tasks.get(parent, EVERYONE).status is S.COMPLETED
    may_go_on.set()
    other.join(20)
    assert len(said) == 1
    # The pool got rid of that connection.
    assert store.fan_outs.counts(parent, EVERYONE).total == 1


def test_who_reads_items_slowly_is_left_in_peace(store: Store) -> None:
    def slowly() -> Iterator[object]:
        yield draft()
        threading.Event().wait(0.6)
        yield draft()

    made = store.submissions.create_fan_out(
        draft(), slowly(), FanOutSpec(part_type="sum"), EVERYONE
    )  # type: ignore[arg-type]
    assert store.fan_outs.counts(made.created.id, EVERYONE).total == 2
