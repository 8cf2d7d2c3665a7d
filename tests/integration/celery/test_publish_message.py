"""What goes to the broker: ids and no input, in the order of priorities, each broker its own."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import redis
from tests.integration.submit_site import (
    SECRET,
    client,
    count,
    ids,
    messages,
    seconds,
    settings,
    until_queued,
)
from tests.waiting import wait_until

from taskdb import TaskDB, TaskStatus


@pytest.fixture(params=["embedded", "redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> str:
    if request.param == "embedded":
        return settings(sqlite_url, tmp_path).message_url
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def taskdb(sqlite_url: str, tmp_path: Path, broker: str) -> Iterator[TaskDB]:
    with client(sqlite_url, tmp_path, broker_url=broker) as taskdb:
        yield taskdb


def test_a_message_carries_the_id_and_nothing_of_the_input(taskdb: TaskDB) -> None:
    given = {"secret": SECRET}
    entity = taskdb.submit_task("echo", given, attributes=given, tags=[SECRET], name=SECRET)
    [message] = messages(taskdb)
    assert message["id"] == entity.id and message["task"] == "echo"
    assert SECRET not in f"{message}"
    assert len(message["body"]) < 150 and message["headers"]["ignore_result"] is True


def test_redis_keeps_nothing_of_the_input(sqlite_url: str, tmp_path: Path, redis_url: str) -> None:
    with client(sqlite_url, tmp_path, broker_url=redis_url) as taskdb:
        entity = taskdb.submit_task("echo", {"secret": SECRET})
        until_queued(taskdb, entity.id)
    with redis.Redis.from_url(redis_url) as line:
        by_type = {str(key): line.type(key).decode() for key in line.scan_iter()}
        lists = [key for key in line.scan_iter() if line.type(key) == b"list"]
        [message] = [text for key in lists for text in line.lrange(key, 0, -1)]
    # Beside it there is only what binds the queue.
    assert sorted(by_type.values()) == ["list", "set", "set"], by_type
    assert entity.id in message.decode() and SECRET not in message.decode()


def test_the_highest_priority_is_taken_first_and_arrival_decides_inside_one(
    taskdb: TaskDB,
) -> None:
    order = [5, 0, 9, 3, 9, 1, 5, 8, 0]
    made = [(taskdb.submit_task("echo", priority=priority).id, priority) for priority in order]
    expected = [task_id for task_id, _ in sorted(made, key=lambda one: -one[1])]
    until_queued(taskdb, *expected)
    assert ids(messages(taskdb)) == expected


def test_two_thousand_are_published_in_batches_and_in_order(taskdb: TaskDB) -> None:
    made = []
    took = seconds(lambda: made.extend(taskdb.submit_many("echo", range(2_000))))
    # A broker that is slower than the budget is left to go on by itself.
    wait_until(lambda: count(taskdb, TaskStatus.QUEUED) == 2_000, 30)
    assert ids(messages(taskdb)) == [one.id for one in made]
    assert took < 20


def test_the_broker_keeps_a_message_past_its_deadline_for_the_worker_to_say_so(
    taskdb: TaskDB,
) -> None:
    entity = taskdb.submit_task("echo", deadline=datetime(2020, 1, 1, tzinfo=UTC))
    assert entity.status is TaskStatus.QUEUED
    [message] = messages(taskdb)
    assert message["headers"]["expires"] == "2020-01-01T00:00:00+00:00"


def test_each_queue_gets_its_own(taskdb: TaskDB) -> None:
    one, other = (taskdb.submit_task("echo", queue=queue) for queue in ("one", "größer.other"))
    assert ids(messages(taskdb, "one")) == [one.id]
    assert ids(messages(taskdb, "größer.other")) == [other.id]


def test_two_clients_beside_each_other_close_each_only_its_own(
    taskdb: TaskDB, sqlite_url: str, tmp_path: Path, broker: str
) -> None:
    taskdb.submit_task("echo")
    with client(sqlite_url, tmp_path, broker_url=broker) as other:
        other.submit_task("echo")
    assert taskdb.submit_task("echo").status is TaskStatus.QUEUED
    assert len(messages(taskdb)) == 3


def test_a_closed_client_can_be_used_again(taskdb: TaskDB) -> None:
    taskdb.submit_task("echo")
    taskdb.close()
    assert taskdb.submit_task("echo").status is TaskStatus.QUEUED


def test_a_client_keeps_one_line_to_the_broker(
    sqlite_url: str, tmp_path: Path, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as watching:

        def lines() -> int:
            return len(watching.client_list())

        before = lines()
        with client(sqlite_url, tmp_path, broker_url=redis_url) as taskdb:
            for _ in range(50):
                taskdb.submit_task("echo")
            assert lines() <= before + 2
        open_files = psutil.Process().num_fds()
        for _ in range(5):
            with client(sqlite_url, tmp_path, broker_url=redis_url) as taskdb:
                taskdb.submit_task("echo")
        # Redis takes a moment to see that a connection was closed.
        wait_until(lambda: lines() <= before)
        assert psutil.Process().num_fds() <= open_files + 2
