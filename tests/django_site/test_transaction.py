"""A submit inside `transaction.atomic()`: the row and the order exist together, or neither."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, transaction

from taskdb import (
    InvalidInput,
    TaskDB,
    TaskNotFound,
    TaskStatus,
    submit_fan_out,
    submit_many,
    submit_sequence,
    submit_task,
)
from taskdb.store.task.create import BATCH_ROWS
from tests.django_site.orders.models import Order
from tests.integration.submit_site import count, ids, messages, until_queued
from tests.store.trees import end, part_ids

LATER = datetime(2200, 1, 1, tzinfo=UTC)


class OrderRefused(Exception):
    pass


@contextmanager
def refused(**options: Any) -> Iterator[None]:
    """An atomic block that an error leaves."""
    with pytest.raises(OrderRefused), transaction.atomic(**options):  # noqa: PT012 - the block is the matter
        yield
        raise OrderRefused


def place() -> str:
    order = Order.objects.create(customer="Ada")
    return submit_task("orders.pack", {"order": order.pk}).id


def committed(place: Callable[[], str]) -> list[str]:
    with transaction.atomic():
        return [place(), place()]


def rolled_back(place: Callable[[], str]) -> list[str]:
    with refused():
        place()
    return []


def marked_for_rollback(place: Callable[[], str]) -> list[str]:
    with transaction.atomic():
        place()
        transaction.set_rollback(True)
    return []


def savepoint_released_then_rolled_back(place: Callable[[], str]) -> list[str]:
    with refused(), transaction.atomic():
        place()
    return []


def savepoint_rolled_back_then_committed(place: Callable[[], str]) -> list[str]:
    with transaction.atomic():
        first = place()
        with refused():
            place()
        with transaction.atomic():
            third = place()
    return [first, third]


def savepoint_by_hand(place: Callable[[], str]) -> list[str]:
    with transaction.atomic():
        first = place()
        # Of the connection: the function of `transaction` has another name from Django 6.1 on.
        savepoint = connection.savepoint()
        place()
        transaction.savepoint_rollback(savepoint)
        released = connection.savepoint()
        second = place()
        transaction.savepoint_commit(released)
        return [first, second, place()]


def without_savepoint(place: Callable[[], str]) -> list[str]:
    with transaction.atomic():
        first = place()
        with transaction.atomic(savepoint=False):
            return [first, place()]


def durable(place: Callable[[], str]) -> list[str]:
    with transaction.atomic(durable=True):
        return [place()]


def in_autocommit(place: Callable[[], str]) -> list[str]:
    return [place()]


def one_after_another(place: Callable[[], str]) -> list[str]:
    return [*committed(place), *rolled_back(place), *committed(place)]


STORIES = [
    committed,
    rolled_back,
    marked_for_rollback,
    savepoint_released_then_rolled_back,
    savepoint_rolled_back_then_committed,
    savepoint_by_hand,
    without_savepoint,
    durable,
    in_autocommit,
    one_after_another,
]


def test_rows_and_messages_are_those_of_the_commits(taskdb: TaskDB) -> None:
    expected: list[str] = []
    for story in STORIES:
        before = len(expected)
        expected += story(place)
        until_queued(taskdb, *expected[before:])
        found = sorted(ids(messages(taskdb)))
        assert found == sorted(expected[before:]), story.__name__
        assert count(taskdb) == Order.objects.count() == len(expected), story.__name__


def test_the_id_is_known_before_the_commit_and_nobody_sees_the_row(taskdb: TaskDB) -> None:
    with transaction.atomic():
        entity = submit_task("orders.pack", session=connection)
        assert entity.status is TaskStatus.CREATED
        with pytest.raises(TaskNotFound):
            taskdb.get_task(entity.id)
    until_queued(taskdb, entity.id)
    assert ids(messages(taskdb)) == [entity.id]


def test_a_connection_outside_of_a_transaction_is_joined_by_nobody(taskdb: TaskDB) -> None:
    entity = submit_task("orders.pack", session=connection)
    assert taskdb.get_task(entity.id).status is TaskStatus.QUEUED


def test_trees_and_bulks_are_in_the_transaction(taskdb: TaskDB) -> None:
    def submit() -> tuple[str, str]:
        submit_many("orders.pack", [{"order": n} for n in range(BATCH_ROWS + 1)])
        fan_out = submit_fan_out("orders.pack", ({"order": n} for n in range(3)))
        sequence = submit_sequence("orders.close", {"order": 1})
        assert [fan_out.status, sequence.status] == [TaskStatus.PROCESSING] * 2
        return fan_out.id, sequence.id

    with refused():
        submit()
    assert count(taskdb) == 0
    with transaction.atomic():
        with refused():
            submit()
        fan_out, sequence = submit()
    (step,) = taskdb.trees.sub_tasks(sequence)
    until_queued(taskdb, step.id, *part_ids(taskdb.store, fan_out))
    assert count(taskdb) == BATCH_ROWS + 1 + 4 + 2


def test_a_tree_that_failed_goes_on_exactly_if_the_transaction_commits(taskdb: TaskDB) -> None:
    items = [{"order": 1}, {"order": 2}]
    first = submit_fan_out("orders.pack", items, unique_key="k").id
    good, bad = part_ids(taskdb.store, first)
    end(taskdb.store, good)
    end(taskdb.store, bad, well=False)
    taskdb.store.joins.join(first)
    with refused():
        again = submit_fan_out("orders.pack", items, unique_key="k", name="again")
        assert (again.id, again.status) == (first, TaskStatus.PROCESSING)
    assert taskdb.get_task(first).status is TaskStatus.FAILED
    with transaction.atomic():
        submit_fan_out("orders.pack", items, unique_key="k", name="again", delay=3600)
    assert taskdb.get_task(first).name == "again"
    assert taskdb.get_task(bad).status is TaskStatus.SCHEDULED
    with transaction.atomic():
        other = submit_task("orders.pack", {"order": 3}, unique_key="other", run_at=LATER)
    assert taskdb.get_task(other.id).run_at == LATER


def test_a_wrong_input_leaves_the_transaction_usable(taskdb: TaskDB) -> None:
    with transaction.atomic():
        with pytest.raises(InvalidInput):
            submit_task("orders.pack", {"order": "many"})
        with pytest.raises(InvalidInput):
            submit_fan_out("orders.pack", [{"order": 1}, {"order": "many"}])
        entity = submit_task("orders.pack")
    assert taskdb.get_task(entity.id).type == "orders.pack"


def test_a_unique_key_finds_the_task_of_this_and_of_an_earlier_transaction(
    taskdb: TaskDB,
) -> None:
    with transaction.atomic():
        first = submit_task("orders.ship", {"reference": "a"})
        assert submit_task("orders.ship", {"reference": "a"}).id == first.id
    with transaction.atomic():
        again = submit_task("orders.ship", {"reference": "a"})
        assert (again.id, again.input) == (first.id, {"reference": "a"})
        assert again.created_at == taskdb.get_task(first.id).created_at
    assert count(taskdb) == 1


def test_who_commits_by_hand_has_the_row_and_the_relay_its_message(taskdb: TaskDB) -> None:
    transaction.set_autocommit(False)
    try:
        place()
        transaction.rollback()
        kept = place()
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert count(taskdb) == Order.objects.count() == 1
    assert taskdb.get_task(kept).status is TaskStatus.CREATED
