"""The relay, pass by pass: what it publishes, in which order, and what it leaves alone."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kombu.messaging import Producer
from tests.cases import each
from tests.integration.submit_site import (
    client,
    count,
    end,
    events,
    ids,
    logged,
    messages,
)
from tests.waiting import wait_until

from taskdb import BrokerUnreachable, TaskDB, TaskStatus
from taskdb.store.store import Store
from taskdb_beat import Relay
from taskdb_beat.loops.loop import Loop

LEASE = timedelta(seconds=30)


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with client(store_url, tmp_path, publish_breaker_seconds=600) as taskdb:
        yield taskdb


def relay(taskdb: TaskDB) -> Relay:
    return Relay(taskdb.settings, taskdb.store, taskdb.publisher)


def leave_to_the_relay(taskdb: TaskDB) -> None:
    """From here on this client publishes nothing, as while its broker is away."""
    taskdb._connections.background._trip("a test", 0)


def due(taskdb: TaskDB, *task_ids: str) -> None:
    """The time of these tasks, or of all, has come."""
    chosen = ", ".join(f"'{one}'" for one in task_ids)
    where = f" WHERE id IN ({chosen})" if task_ids else ""
    past = "'2020-01-01T00:00:00.000Z'"
    if taskdb.store.database.dialect.name == "postgresql":
        past = f"CAST({past} AS TIMESTAMPTZ)"
    with taskdb.store.database.transaction() as connection:
        connection.exec_driver_sql(
            f"UPDATE taskdb_task SET relay_at = {past},"
            f" run_at = CASE WHEN run_at IS NULL THEN NULL ELSE {past} END{where}"
        )


# --- what it publishes ----------------------------------------------------------------------------


def test_a_row_that_was_created_too_long_ago_is_published(taskdb: TaskDB) -> None:
    leave_to_the_relay(taskdb)
    entity = taskdb.submit_task("echo")
    assert entity.status is TaskStatus.CREATED
    wait_until(lambda: relay(taskdb).run_once() or count(taskdb, TaskStatus.QUEUED) == 1, 5)
    assert ids(messages(taskdb)) == [entity.id]


def test_a_fresh_row_is_left_to_the_process_that_submitted_it(
    store_url: str, tmp_path: Path
) -> None:
    with client(store_url, tmp_path, relay_grace_seconds=600) as taskdb:
        leave_to_the_relay(taskdb)
        taskdb.submit_task("echo")
        relay(taskdb).run_once()
        assert count(taskdb, TaskStatus.CREATED) == 1 and messages(taskdb) == []


def test_a_scheduled_row_is_published_when_it_is_due_and_not_before(taskdb: TaskDB) -> None:
    soon = taskdb.submit_task("echo", delay=0.3)
    later = taskdb.submit_task("echo", delay=600)
    relay(taskdb).run_once()
    assert soon.refresh().status is TaskStatus.SCHEDULED
    wait_until(lambda: relay(taskdb).run_once() or count(taskdb, TaskStatus.QUEUED) == 1, 5)
    assert ids(messages(taskdb)) == [soon.id]
    assert later.refresh().status is TaskStatus.SCHEDULED


def test_a_row_that_errored_is_published_when_it_is_due(taskdb: TaskDB) -> None:
    entity = taskdb.submit_task("echo")
    messages(taskdb)
    end(taskdb, entity.id, "ERRORED")
    relay(taskdb).run_once()
    assert messages(taskdb) == []
    due(taskdb)
    relay(taskdb).run_once()
    assert entity.refresh().status is TaskStatus.QUEUED
    assert ids(messages(taskdb)) == [entity.id]


@each("status", ["STARTED", "COMPLETED", "FAILED", "HALTED", "CANCELED"], alone=True)
def test_what_runs_or_is_over_is_left_alone_however_old(taskdb: TaskDB, status: str) -> None:
    entity = taskdb.submit_task("echo")
    messages(taskdb)
    end(taskdb, entity.id, status)
    due(taskdb)
    relay(taskdb).run_once()
    assert entity.refresh().status == status and messages(taskdb) == []


def test_a_row_inserted_by_plain_sql_is_published(taskdb: TaskDB) -> None:
    with taskdb.store.database.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO taskdb_task (type, input) VALUES ('echo', '{\"a\": 1}')"
        )
    wait_until(lambda: relay(taskdb).run_once() or count(taskdb, TaskStatus.QUEUED) == 1, 10)
    [entity] = taskdb.list_tasks()
    assert ids(messages(taskdb)) == [entity.id] and entity.input == {"a": 1}


def test_a_pass_publishes_a_batch_and_tells_whether_there_may_be_more(
    store_url: str, tmp_path: Path
) -> None:
    with client(store_url, tmp_path, relay_batch=10) as taskdb:
        leave_to_the_relay(taskdb)
        made = [one.id for one in taskdb.submit_many("echo", range(25))]
        due(taskdb)
        passes = relay(taskdb)
        assert [passes.run_once() for _ in range(4)] == [True, True, False, False]
        assert ids(messages(taskdb)) == made


# --- leases ---------------------------------------------------------------------------------------


def test_what_another_relay_has_leased_is_not_published_twice(taskdb: TaskDB) -> None:
    leave_to_the_relay(taskdb)
    taskdb.submit_many("echo", range(10))
    due(taskdb)
    leased = taskdb.store.publications.lease_due(4, LEASE)
    assert len(leased) == 4
    relay(taskdb).run_once()
    found = set(ids(messages(taskdb)))
    assert len(found) == 6 and found.isdisjoint(one.id for one in leased)


def test_the_rows_of_a_relay_that_died_come_back_when_its_lease_is_over(taskdb: TaskDB) -> None:
    leave_to_the_relay(taskdb)
    made = [one.id for one in taskdb.submit_many("echo", range(3))]
    due(taskdb)
    assert len(taskdb.store.publications.lease_due(10, timedelta(seconds=0.3))) == 3
    wait_until(lambda: relay(taskdb).run_once() or count(taskdb, TaskStatus.QUEUED) == 3, 5)
    # In any order: the leases of rows end one after another, and a pass may come in between.
    assert sorted(ids(messages(taskdb))) == sorted(made)


def test_a_mark_that_comes_after_the_lease_is_over_changes_nothing(taskdb: TaskDB) -> None:
    leave_to_the_relay(taskdb)
    entity = taskdb.submit_task("echo")
    due(taskdb)
    late = taskdb.store.publications.lease_due(1, LEASE)
    due(taskdb)
    relay(taskdb).run_once()
    end(taskdb, entity.id, "STARTED")
    taskdb.store.outcomes.hand_back(entity.id, "t", "its worker stopped")
    assert taskdb.store.publications.mark_queued(late) == set()
    assert entity.refresh().status is TaskStatus.CREATED


def test_many_relays_beside_each_other_publish_each_row_once(taskdb: TaskDB) -> None:
    leave_to_the_relay(taskdb)
    made = [one.id for one in taskdb.submit_many("echo", range(600))]
    due(taskdb)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with client(taskdb.settings.store_url, taskdb.settings.data_dir) as own:
                passes = Relay(
                    own.settings.model_copy(update={"relay_batch": 25}), own.store, own.publisher
                )
                while passes.run_once():
                    pass
        except BaseException as error:  # noqa: BLE001 - the test tells of it
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    wait_until(lambda: relay(taskdb).run_once() or count(taskdb, TaskStatus.QUEUED) == 600, 5)
    assert sorted(ids(messages(taskdb))) == sorted(made)


# --- a broker that is away ------------------------------------------------------------------------


def test_all_are_published_in_order_of_time_once_the_broker_is_back(
    store_url: str, tmp_path: Path, own_redis: Any
) -> None:
    own_redis.stop()
    with client(store_url, tmp_path, broker_url=own_redis.url, relay_batch=10) as taskdb:
        leave_to_the_relay(taskdb)
        made = [taskdb.submit_task("echo", number).id for number in range(35)]
        wait_until(lambda: taskdb.get_task(made[-1]).created_at < _before_the_grace(taskdb), 5)
        passes = relay(taskdb)
        for _ in range(3):
            with pytest.raises(BrokerUnreachable):
                passes.run_once()
        assert count(taskdb, TaskStatus.CREATED) == 35
        own_redis.start()
        assert [passes.run_once() for _ in range(4)] == [True, True, True, False]
        assert ids(messages(taskdb)) == made


def _before_the_grace(taskdb: TaskDB) -> datetime:
    return datetime.now(UTC) - 2 * timedelta(seconds=taskdb.settings.relay_grace_seconds)


def test_what_was_sent_before_the_broker_failed_is_marked_and_not_sent_again(
    store_url: str, tmp_path: Path, rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(store_url, tmp_path, broker_url=rabbitmq_url) as taskdb:
        leave_to_the_relay(taskdb)
        made = [one.id for one in taskdb.submit_many("echo", range(10))]
        due(taskdb)
        publish = Producer.publish
        sent: list[Any] = []

        def publish_four(producer: Any, *arguments: Any, **options: Any) -> None:
            if len(sent) == 4:
                raise ConnectionResetError
            publish(producer, *arguments, **options)
            sent.append(options)

        monkeypatch.setattr(Producer, "publish", publish_four)
        with pytest.raises(BrokerUnreachable):
            relay(taskdb).run_once()
        assert count(taskdb, TaskStatus.QUEUED) == 4
        monkeypatch.undo()
        # Some were tried one by one, and are tried again later.
        due(taskdb)
        relay(taskdb).run_once()
        assert sorted(ids(messages(taskdb))) == sorted(made)


# --- the loop around it ---------------------------------------------------------------------------


def test_the_pauses_of_a_loop_grow_with_its_errors_and_shrink_after_one_success() -> None:
    broken = True

    def work() -> bool:
        if broken:
            message = "away"
            raise BrokerUnreachable(message)
        return False

    loop = Loop("relay", work, 1.0)
    pauses = []
    with logged() as log:
        for _ in range(12):
            loop.run_once()
            pauses.append(loop._pause())
        broken = False
        loop.run_once()
    assert all(pause <= 5 * 1.2 for pause in pauses) and pauses[-1] >= 5 * 0.8
    assert 2 * 0.8 <= pauses[0] <= 2 * 1.2 and pauses[0] < pauses[3]
    assert 0.8 <= loop._pause() <= 1.2
    assert len(events(log, "loop.failed")) == 1 and len(events(log, "loop.recovered")) == 1


def test_an_error_of_one_loop_does_not_stop_another_nor_itself() -> None:
    calls = {"broken": 0, "sound": 0}

    def broken() -> bool:
        calls["broken"] += 1
        raise RuntimeError

    def sound() -> bool:
        calls["sound"] += 1
        return False

    loops = [Loop("broken", broken, 0.01), Loop("sound", sound, 0.01)]
    with logged() as log:
        for loop in loops:
            loop.start()
        wait_until(lambda: calls["broken"] >= 3 and calls["sound"] >= 10, 10)
        for loop in loops:
            loop.stop(5)
    assert not any(thread.name.startswith("taskdb-") for thread in threading.enumerate())
    assert len(events(log, "loop.crashed")) >= 3


def test_a_loop_that_always_has_more_to_do_can_be_stopped() -> None:
    passes = []
    loop = Loop("busy", lambda: passes.append(1) is None, 60)
    loop.start()
    wait_until(lambda: len(passes) > 100, 5)
    loop.stop(5)
    stopped_at = len(passes)
    assert not loop._thread.is_alive() and len(passes) == stopped_at  # type: ignore[union-attr]


def test_a_loop_survives_a_database_that_is_away(tmp_path: Path, own_postgresql: Any) -> None:
    with client(own_postgresql.url, tmp_path) as taskdb:
        store: Store = taskdb.store
        leave_to_the_relay(taskdb)
        taskdb.submit_task("echo")
        loop = Loop("relay", relay(taskdb).run_once, 0.05)
        own_postgresql.stop()
        with logged() as log:
            loop.start()
            wait_until(lambda: loop.health.errors_in_row >= 2, 20)
            own_postgresql.start()
            wait_until(lambda: events(log, "loop.recovered"), 20)
            wait_until(lambda: count(taskdb, TaskStatus.QUEUED) == 1, 10)
            loop.stop(5)
        store.close()
