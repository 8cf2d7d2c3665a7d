"""On the way to the broker: leases, and the mark that may come late."""

from datetime import UTC, datetime, timedelta

from taskdb.model.clock import FixedClock
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE, Publication
from taskdb.store.store import Store
from tests.cases import each
from tests.store.tasks import (
    HOUR,
    LEASE,
    OOPS,
    SOON,
    at_once,
    claim,
    create,
    draft,
    in_status,
    make_due,
    moves,
    publication,
    queued,
    row,
    stray,
)

PUBLISHABLE = [TaskStatus.CREATED, TaskStatus.SCHEDULED, TaskStatus.ERRORED]


@each("status", TaskStatus)
def test_a_mark_moves_what_the_relay_publishes_and_nothing_else(
    store: Store, status: TaskStatus
) -> None:
    run = in_status(store, status)
    before = row(store, run.id)
    marked = store.publications.mark_queued([publication(store, run.id)])
    if status in PUBLISHABLE:
        assert marked == {run.id}
        assert store.tasks.get(run.id, EVERYONE).status is TaskStatus.QUEUED
        assert store.tasks.get(run.id, EVERYONE).queued_at is not None
        assert moves(store, run.id)[-1] == (status, "QUEUED")
    else:
        assert marked == set()
        assert row(store, run.id) == before


def test_a_batch_of_marks_answers_those_that_moved(store: Store) -> None:
    ids = [create(store) for _ in range(5)]
    items = store.publications.find(ids)
    claim(store, ids[2])
    assert store.publications.mark_queued(items) == set(ids) - {ids[2]}
    assert store.publications.mark_queued(items) == set()
    assert store.publications.mark_queued([]) == set()


def test_a_mark_that_comes_after_the_claim_changes_nothing(store: Store) -> None:
    task_id = create(store)
    item = publication(store, task_id)
    claim(store, task_id)
    assert store.publications.mark_queued([item]) == set()
    assert store.tasks.get(task_id, EVERYONE).status is TaskStatus.STARTED


@each("way", ["error", "hand_back", "snooze", "stray", "retry", "lost"])
def test_a_mark_that_comes_after_the_row_came_back_changes_nothing(store: Store, way: str) -> None:
    """The message that it speaks of has been consumed; another one is due."""
    task_id = create(store)
    item = publication(store, task_id)
    if way == "lost":
        store.publications.mark_queued([item])
        store.take_backs.hand_back_unclaimed(task_id, "gone", timedelta(seconds=1))
    elif way == "stray":
        stray(store, task_id, delay=HOUR, limit=5)
    else:
        claim(store, task_id)
        if way == "error":
            store.outcomes.error(task_id, "token-1", OOPS, SOON)
        elif way == "snooze":
            store.outcomes.snooze(task_id, "token-1", HOUR)
        elif way == "hand_back":
            store.outcomes.hand_back(task_id, "token-1", "shutdown")
        else:
            store.outcomes.fail(task_id, "token-1", OOPS)
            store.interventions.retry(task_id, EVERYONE)
    before = store.tasks.get(task_id, EVERYONE).status
    assert before in PUBLISHABLE
    assert store.publications.mark_queued([item]) == set()
    assert store.tasks.get(task_id, EVERYONE).status is before
    assert store.publications.mark_queued([publication(store, task_id)]) == {task_id}


def test_a_lease_takes_what_is_due_and_only_that(store: Store) -> None:
    fresh, scheduled, overdue, errored = (
        create(store),
        create(store, delay=HOUR),
        create(store, delay=HOUR),
        in_status(store, TaskStatus.ERRORED).id,
    )
    for status in set(TaskStatus) - set(PUBLISHABLE):
        make_due(store, in_status(store, status).id)
    make_due(store, overdue)
    make_due(store, errored)
    assert {item.id for item in store.publications.lease_due(100, LEASE)} == {overdue, errored}
    assert {fresh, scheduled}.isdisjoint(
        item.id for item in store.publications.lease_due(100, LEASE)
    )


def test_a_leased_row_says_what_to_publish(store: Store) -> None:
    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    task_id = create(store, queue="slow", priority=2, type="other", deadline_at=deadline)
    make_due(store, task_id)
    (item,) = store.publications.lease_due(1, LEASE)
    assert item == Publication(task_id, "other", "slow", 2, item.relay_at, deadline)
    assert item == publication(store, task_id)


def test_those_due_longest_are_leased_first_and_come_in_order_of_creation(store_url: str) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        ids = []
        for minutes in (3, 1, 2):
            ids.append(create(store, delay=timedelta(minutes=minutes)))
            clock.advance(timedelta(seconds=1))
        assert store.publications.lease_due(10, LEASE) == []
        clock.advance(HOUR)
        assert [item.id for item in store.publications.lease_due(2, LEASE)] == [ids[1], ids[2]]
        assert [item.id for item in store.publications.lease_due(2, LEASE)] == [ids[0]]


def test_a_lease_ends_and_the_mark_of_its_holder_with_it(store_url: str) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        task_id = create(store)
        clock.advance(HOUR)
        (first,) = store.publications.lease_due(10, LEASE)
        clock.advance(LEASE - timedelta(seconds=1))
        assert store.publications.lease_due(10, LEASE) == []
        clock.advance(timedelta(seconds=1))
        (second,) = store.publications.lease_due(10, LEASE)
        assert store.publications.mark_queued([first]) == set()
        assert store.publications.mark_queued([second]) == {task_id}


def test_a_lease_that_is_released_can_be_taken_at_once(store_url: str) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        ids = {create(store) for _ in range(3)}
        clock.advance(HOUR)
        leased = store.publications.lease_due(10, LEASE)
        claim(store, leased[0].id)
        store.publications.end_lease(leased)
        clock.advance(timedelta(seconds=1))
        assert {item.id for item in store.publications.lease_due(10, LEASE)} == ids - {leased[0].id}
        store.publications.end_lease(leased)  # it is another's lease now
        assert store.publications.lease_due(10, LEASE) == []


def test_two_relays_never_lease_the_same_row(store: Store) -> None:
    ids = [
        one.id
        for one in store.submissions.create([draft(delay=HOUR) for _ in range(300)], EVERYONE)
    ]
    for task_id in ids:
        make_due(store, task_id)

    def lease_all(_: int) -> list[str]:
        mine: list[str] = []
        while batch := store.publications.lease_due(20, LEASE):
            mine.extend(item.id for item in batch)
        return mine

    leased = [task_id for mine in at_once(lease_all, 4) for task_id in mine]
    # A relay that found every row locked has stopped early; another pass finds the rest.
    leased += lease_all(0)
    assert sorted(leased) == sorted(ids)


def test_a_relay_leaves_rows_that_are_being_moved(postgresql_store: Store) -> None:
    store = postgresql_store
    first, second = create(store), create(store)
    for task_id in (first, second):
        make_due(store, task_id)
    with store.database.transaction() as connection:
        connection.exec_driver_sql(f"SELECT 1 FROM taskdb_task WHERE id = '{first}' FOR UPDATE")
        assert [item.id for item in store.publications.lease_due(10, LEASE)] == [second]


def test_publications_of_nothing_ask_nothing(store: Store) -> None:
    assert store.publications.find([]) == []
    assert store.publications.find([draft().id]) == []
    assert queued(store)
