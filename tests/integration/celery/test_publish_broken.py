"""A broker that refuses, is gone or is frozen costs a submit almost nothing, and loses nothing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy.orm import Session
from tests.integration import submit_site
from tests.integration.celery.test_publish_refused import due
from tests.integration.submit_site import (
    count,
    engine_on,
    events,
    ids,
    logged,
    messages,
    seconds,
    statuses,
    until_queued,
)
from tests.servers import Blackhole, Server
from tests.servers.server import free_port
from tests.waiting import wait_until

from taskdb import BrokerUnreachable, Settings, SettingsError, TaskDB, TaskStatus
from taskdb.celery.configuration import create_celery
from taskdb_beat import Relay

FIRST_SECONDS = 2.0
LATER_SECONDS = 0.05


def relay(taskdb: TaskDB) -> Relay:
    return Relay(taskdb.settings, taskdb.store, taskdb.publisher)


def relay_all(taskdb: TaskDB, expected: int) -> None:
    """The relay's passes until every row is QUEUED."""

    def queued() -> bool:
        try:
            relay(taskdb).run_once()
        except BrokerUnreachable:
            return False
        return count(taskdb, TaskStatus.QUEUED) == expected

    wait_until(queued, 30, lambda: f"the relay to publish; {statuses(taskdb)[:5]}")


def assert_submits_are_quick(taskdb: TaskDB, name: str, record: Any) -> list[str]:
    """A hundred submits that no broker takes; their ids."""
    found: list[str] = []

    def submit() -> None:
        entity = taskdb.submit_task("echo")
        assert entity.status is TaskStatus.CREATED
        found.append(entity.id)

    with logged() as log:
        times = [seconds(submit) for _ in range(100)]
    record(f"{name} first", f"{times[0]:.3f} s")
    record(f"{name} hundredth", f"{times[-1]:.4f} s")
    assert times[0] < FIRST_SECONDS and times[-1] < LATER_SECONDS
    assert sum(times[1:]) < 100 * LATER_SECONDS
    assert set(statuses(taskdb)) == {"CREATED"}
    [warning] = events(log, "publish.postponed")
    assert warning["log_level"] == "warning"
    return found


@dataclass
class Broker:
    server: Any

    def break_(self, how: str) -> None:
        getattr(self.server, how)()

    def mend(self, how: str) -> None:
        if how == "freeze":
            self.server.thaw()
        else:
            self.server.start()


@pytest.fixture
def redis_broker(own_redis: Server) -> Broker:
    return Broker(own_redis)


@pytest.fixture
def rabbitmq_broker(own_rabbitmq: Server) -> Broker:
    return Broker(own_rabbitmq)


def client(url: str, folder: Path, **values: Any) -> AbstractContextManager[TaskDB]:
    """A client with the budget that users have."""
    return submit_site.client(url, folder, publish_budget_seconds=1, **values)


@contextmanager
def used_client(url: str, folder: Path, broker: str, **values: Any) -> Iterator[TaskDB]:
    """A client whose line to the broker is open, with one task published and taken."""
    with client(url, folder, broker_url=broker, **values) as taskdb:
        first = taskdb.submit_task("echo")
        until_queued(taskdb, first.id)
        assert ids(messages(taskdb)) == [first.id]
        with taskdb.store.database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM taskdb_task")
        yield taskdb


# --- one kind of brokenness after another ---------------------------------------------------------


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_was_never_there(
    sqlite_url: str, tmp_path: Path, scheme: str, record_property: Any
) -> None:
    url = f"{scheme}://guest:guest@127.0.0.1:{free_port()}//"
    with client(sqlite_url, tmp_path, broker_url=url.replace("//", "//", 1)) as taskdb:
        assert_submits_are_quick(taskdb, f"{scheme} refused", record_property)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
@pytest.mark.parametrize("kind", ["silent", "unreachable"])
def test_a_broker_that_never_answers(
    sqlite_url: str,
    tmp_path: Path,
    scheme: str,
    kind: str,
    record_property: Any,
) -> None:
    with Blackhole(accepting=kind == "silent") as hole:
        url = f"{scheme}://guest:guest@127.0.0.1:{hole.port}//"
        with client(sqlite_url, tmp_path, broker_url=url) as taskdb:
            assert_submits_are_quick(taskdb, f"{scheme} {kind}", record_property)


@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_a_redis_that_breaks_while_in_use_and_comes_back(
    sqlite_url: str, tmp_path: Path, redis_broker: Broker, how: str, record_property: Any
) -> None:
    with used_client(sqlite_url, tmp_path, redis_broker.server.url) as taskdb:
        redis_broker.break_(how)
        found = assert_submits_are_quick(taskdb, f"redis {how}", record_property)
        redis_broker.mend(how)
        relay_all(taskdb, 100)
        # What a frozen broker had in its ears already comes twice; the claim makes it harmless.
        received = ids(messages(taskdb))
        assert set(received) == set(found) and len(received) <= 2 * len(found)


def test_a_redis_that_is_full_is_away_for_all_and_is_used_again_when_it_has_room(
    sqlite_url: str, tmp_path: Path, own_redis: Any
) -> None:
    with (
        used_client(sqlite_url, tmp_path, own_redis.url, publish_breaker_seconds=30) as taskdb,
        redis.Redis(host="127.0.0.1", port=own_redis.port) as operator,
        logged() as log,
    ):
        operator.config_set("maxmemory", "1")
        many = taskdb.submit_many("echo", [{}] * 200)
        assert set(statuses(taskdb)) == {"CREATED"}
        with pytest.raises(BrokerUnreachable, match="maxmemory"):
            taskdb.publisher.publish(taskdb.store.publications.find([one.id for one in many]))
        assert len(events(log, "publish.postponed")) == 1
        assert events(log, "publish.refused") == []

        operator.config_set("maxmemory", "0")
        relay_all(taskdb, 200)
        assert set(ids(messages(taskdb))) == {one.id for one in many}


def test_a_rabbitmq_that_breaks_while_in_use_and_comes_back(
    sqlite_url: str, tmp_path: Path, rabbitmq_broker: Broker, record_property: Any
) -> None:
    url = rabbitmq_broker.server.url
    with used_client(sqlite_url, tmp_path, url, publish_breaker_seconds=30) as taskdb:
        rabbitmq_broker.break_("freeze")
        found = assert_submits_are_quick(taskdb, "rabbitmq freeze", record_property)
        with pytest.raises(BrokerUnreachable):
            taskdb.publisher.publish(taskdb.store.publications.find(found[:1]))
        rabbitmq_broker.mend("freeze")
        relay_all(taskdb, 100)
        received = ids(messages(taskdb))
        assert set(received) == set(found) and len(received) <= 2 * len(found)
    with used_client(sqlite_url, tmp_path, url) as taskdb:
        rabbitmq_broker.break_("stop")
        found = assert_submits_are_quick(taskdb, "rabbitmq stop", record_property)
        rabbitmq_broker.mend("stop")
        relay_all(taskdb, 100)
        assert set(ids(messages(taskdb))) == set(found)


# --- the breaker ----------------------------------------------------------------------------------


def test_a_broker_that_restarted_is_used_again_at_once(
    sqlite_url: str, tmp_path: Path, redis_broker: Broker
) -> None:
    with used_client(sqlite_url, tmp_path, redis_broker.server.url) as taskdb, logged() as log:
        redis_broker.break_("stop")
        redis_broker.mend("stop")
        assert taskdb.submit_task("echo").status is TaskStatus.QUEUED
    assert events(log, "publish.postponed") == []


def test_the_breaker_closes_after_its_time(sqlite_url: str, tmp_path: Path, own_redis: Any) -> None:
    own_redis.stop()
    with (
        client(
            sqlite_url, tmp_path, broker_url=own_redis.url, publish_breaker_seconds=0.5
        ) as taskdb,
        logged() as log,
    ):
        left = taskdb.submit_task("echo")
        own_redis.start()
        # While it is open, a healthy broker is left alone too.
        statuses_seen: list[str] = []

        def taken() -> bool:
            statuses_seen.append(taskdb.submit_task("echo").status)
            return statuses_seen[-1] == "QUEUED"

        wait_until(taken, 5)
        assert left.refresh().status is TaskStatus.CREATED
    assert len(events(log, "publish.postponed")) == 1


def test_what_was_handed_over_behind_a_frozen_broker_is_left_to_the_relay(
    sqlite_url: str, tmp_path: Path, own_redis: Any
) -> None:
    with used_client(sqlite_url, tmp_path, own_redis.url) as taskdb:
        own_redis.freeze()
        engine = engine_on(sqlite_url)
        found = []
        for _ in range(50):
            with Session(engine) as session, session.begin():
                found.append(taskdb.submit_task("echo", session=session).id)
        engine.dispose()
        own_redis.thaw()
        relay_all(taskdb, 50)
        received = ids(messages(taskdb))
        assert set(received) == set(found) and len(received) <= 2 * len(found)


# --- what is said about it ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["redis://:hunter2@127.0.0.1:{0}/0", "amqp://ada:hunter2@127.0.0.1:{0}//"]
)
def test_the_password_of_the_broker_is_never_told(
    sqlite_url: str, tmp_path: Path, url: str
) -> None:
    urls = [url, f"{url};{url}"]
    for one in urls:
        broker = one.format(free_port())
        with client(sqlite_url, tmp_path, broker_url=broker) as taskdb, logged() as log:
            entity = taskdb.submit_task("echo")
            with pytest.raises(BrokerUnreachable, match="TASKDB_BROKER_URL") as caught:
                taskdb.publisher.publish(taskdb.store.publications.find([entity.id]))
            [warning] = events(log, "publish.postponed")
        assert "hunter2" not in f"{caught.value} {warning} {taskdb.settings!r}"
        assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("reddis://:hunter2@localhost", "reddis://; did you mean 'redis'"),
        ("kafkaesque://:hunter2@localhost", "no broker is known for kafkaesque://"),
        ("localhost:6379/hunter2", "a URL without a scheme"),
        ("redis://localhost;reddis://hunter2", "reddis://"),
    ],
)
def test_a_broker_that_nobody_knows_is_a_wrong_setting(
    tmp_path: Path, url: str, words: str
) -> None:
    settings = Settings(broker_url=url, data_dir=tmp_path)
    for make in (TaskDB, create_celery):
        with pytest.raises(SettingsError, match="TASKDB_BROKER_URL") as caught:
            make(settings)  # type: ignore[operator]
        assert words in str(caught.value) and "hunter2" not in str(caught.value)


# --- one queue among others -----------------------------------------------------------------------


def test_a_queue_that_rabbitmq_refuses_holds_up_no_other(
    sqlite_url: str, tmp_path: Path, rabbitmq_url: str
) -> None:
    with client(sqlite_url, tmp_path, broker_url=rabbitmq_url) as taskdb:
        with create_celery(taskdb.settings) as app, app.connection_for_write() as connection:
            connection.channel().queue_declare("taken", durable=False, auto_delete=False)
        with logged() as log:
            refused = taskdb.submit_many("echo", range(3), queue="taken")
            taken = taskdb.submit_many("echo", range(3))
        assert {one.refresh().status for one in taken} == {TaskStatus.QUEUED}
        assert {one.refresh().status for one in refused} == {TaskStatus.CREATED}
        [warning] = events(log, "publish.refused")
        assert warning["queue"] == "taken" and "PreconditionFailed" in warning["reason"]
        assert events(log, "publish.postponed") == []

        # In one batch of the relay too, before and after the others.
        mixed = [taskdb.submit_task("echo", queue=queue).id for queue in ("taken", "more")]
        assert len(mixed) == 2
        with create_celery(taskdb.settings) as app, app.connection_for_write() as connection:
            connection.channel().queue_delete("taken")
        due(taskdb)
        relay_all(taskdb, 8)
        assert len(messages(taskdb, "taken")) == 4 and len(messages(taskdb, "more")) == 1


def test_a_queue_deleted_behind_our_back_swallows_nothing(
    sqlite_url: str, tmp_path: Path, rabbitmq_url: str
) -> None:
    with used_client(sqlite_url, tmp_path, rabbitmq_url) as taskdb:
        with create_celery(taskdb.settings) as app, app.connection_for_write() as connection:
            connection.channel().queue_delete("taskdb")
        entity = taskdb.submit_task("echo")
        assert entity.status is TaskStatus.CREATED
        due(taskdb)
        relay_all(taskdb, 1)
        assert ids(messages(taskdb)) == [entity.id]
