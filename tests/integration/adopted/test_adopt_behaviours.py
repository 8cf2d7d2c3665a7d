"""An adopted app behaves as it did: everything it can do, tried before `track` and after it."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from tests.integration.adopted.adopted_site import Adopted, outcomes, project, tracked_store
from tests.servers import PostgreSQL, RabbitMQ, Redis
from tests.waiting import wait_until

from taskdb.model.entity import TaskEntity
from taskdb.model.status import TaskStatus as S
from taskdb.model.status import allowed_pairs

# What each broker does in its own way; the rest has nothing to do with the broker. RabbitMQ itself
# drops what has expired, or gives it out: that is a race with or without track.
ON_RABBITMQ = (
    "add", "retries", "countdown", "priority", "unknown", "chain", "chord", "group", "link_error",
    "acks_late", "own serializer", "Reject", "terminate", "dead child", "replace",
)  # fmt: skip
OPEN = {S.CREATED, S.SCHEDULED, S.QUEUED, S.STARTED, S.ERRORED}


class Both(NamedTuple):
    """The same project twice, and what became of everything that was tried on each."""

    before: dict[str, Any]
    after: dict[str, Any]
    tracked: Adopted


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    postgresql: PostgreSQL = request.getfixturevalue("postgresql_server")
    redis: Redis = request.getfixturevalue("redis_server")
    with ExitStack() as stack:
        brokers = ["", ""]
        if request.param == "rabbitmq":
            rabbitmq: RabbitMQ = request.getfixturevalue("rabbitmq_server")
            for number in range(2):
                brokers[number] = rabbitmq.create_vhost(f"adopt-{number}")
                stack.callback(rabbitmq.delete_vhost, f"adopt-{number}")
        store = stack.enter_context(tracked_store(postgresql))
        folder = tmp_path_factory.mktemp
        plain = stack.enter_context(project(folder("plain"), redis, broker=brokers[0]))
        tracked = stack.enter_context(
            project(folder("tracked"), redis, broker=brokers[1], store=store)
        )
        workers = [one.start_worker(ready=False) for one in (plain, tracked)]
        for worker in workers:
            worker.wait_for_output(" ready.")
        names = ON_RABBITMQ if request.param == "rabbitmq" else ()
        halves = [names[::2], names[1::2]] if names else _halves()
        clients = [[one.start_client(half) for half in halves] for one in (plain, tracked)]
        found = [outcomes(some) for some in clients]
        yield Both(found[0], found[1], tracked)


def _halves() -> list[list[str]]:
    """Every name there is, for two clients; the app itself cannot be imported here."""
    return [["--half", "0"], ["--half", "1"]]


def test_everything_leads_to_what_it_did_before(both: Both) -> None:
    assert len(both.before) >= len(ON_RABBITMQ)
    assert "TimeoutError" not in json.dumps(both.before)
    assert both.after == both.before


def test_every_task_has_a_row_that_ended_with_a_legal_history(both: Both) -> None:
    def still_open() -> list[TaskEntity]:
        return [task for task in both.tracked.tasks() if task.status in OPEN]

    def described() -> str:
        return ", ".join(f"{task.type} {task.status} {task.attempt}" for task in still_open())

    wait_until(lambda: not still_open(), 10, described)
    rows = both.tracked.tasks()
    assert all(task.is_adopted for task in rows)
    assert "adopted.unwatched" not in {task.type for task in rows}
    for task in rows:
        events = both.tracked.taskdb.task_history(task.id)
        assert events[0].from_status is None
        for one, next_one in pairwise(events):
            assert next_one.from_status is one.to_status
            if one.to_status is next_one.to_status:
                # A remark: the error of an earlier attempt, told after the next one.
                assert next_one.detail
                assert next_one.attempt <= task.attempt
            else:
                assert (one.to_status, next_one.to_status) in allowed_pairs()


def test_rows_tell_what_became_of_their_tasks(both: Both) -> None:
    ends = Counter((task.type.partition(".")[2], str(task.status)) for task in both.tracked.tasks())
    for name, status in (
        ("rejects", "FAILED"),
        ("nowhere", "FAILED"),
        ("sleeps", "CANCELED"),
        ("exits", "FAILED"),
        ("total", "COMPLETED"),
        ("replaced", "COMPLETED") if ("replaced", "COMPLETED") in ends else ("add", "COMPLETED"),
    ):
        assert ends[name, status] >= 1, (name, status, ends)
    retried = next(
        task
        for task in both.tracked.tasks(type="adopted.retries")
        if task.status is S.COMPLETED and "celery_is_eager" not in task.attributes
    )
    assert retried.attempt == 3
    events = both.tracked.taskdb.task_history(retried.id)
    # Who published may have told of it last, and so may the child that ran an attempt.
    moves = [str(one.to_status) for one in events if one.from_status is not one.to_status]
    assert [status for status in moves if status != "QUEUED"] == [
        "CREATED", *["STARTED", "ERRORED"] * 2, "STARTED", "COMPLETED",
    ]  # fmt: skip
    errors = [one.attempt for one in events if one.detail and "error" in one.detail]
    assert sorted(errors) == [1, 2]
    late = [task for task in both.tracked.tasks() if task.run_at and task.type == "adopted.add"]
    assert any("SCHEDULED" in both.tracked.history(task) for task in late)


def test_tasks_of_a_chain_and_a_group_know_of_each_other(both: Both) -> None:
    groups = Counter(
        task.attributes["celery_group_id"]
        for task in both.tracked.tasks()
        if "celery_group_id" in task.attributes
    )
    # The five of the chord, and whatever belongs to them.
    assert max(groups.values()) >= 5
    (chained, *_) = both.tracked.tasks(type="adopted.shared")
    root = chained.attributes.get("celery_root_id")
    if root is not None:
        parts = both.tracked.tasks(attributes={"celery_root_id": root})
        assert len(parts) >= 2


def test_secrets_of_arguments_are_nowhere_in_the_database(both: Both) -> None:
    rows = both.tracked.tasks(type="adopted.sees")
    assert rows
    if "request" in both.after:
        told = [task.input["kwargs"] for task in rows]
        assert {"password": "[redacted]"} in told
    with both.tracked.taskdb.store.database.transaction() as connection:
        for table in ("taskdb_task", "taskdb_event"):
            dump = connection.exec_driver_sql(
                f"SELECT CAST({table} AS TEXT) FROM {table}"
            ).scalars()
            assert "hunter2" not in "".join(dump)
