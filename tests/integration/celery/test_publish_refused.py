"""A message that cannot be made, or that the broker does not take, concerns its row alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import signals
from tests.integration.submit_site import client, count, events, ids, logged, messages
from tests.waiting import wait_until

from taskdb import BrokerUnreachable, Registry, Settings, SettingsError, TaskDB, TaskStatus, task
from taskdb.celery.configuration import create_celery
from taskdb.celery.embedded.broker import broker_url
from taskdb.cli.database.doctor import diagnose
from taskdb.store.contract import EVERYONE
from taskdb_beat import Relay
from taskdb_worker.app import create_app

BROKERS = ("redis", "rabbitmq", "embedded")


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each broker in turn."""
    if request.param == "embedded":
        return broker_url(tmp_path / "messages.sqlite3")
    return str(request.getfixturevalue(f"{request.param}_url"))


@contextmanager
def changed(change: Callable[[dict[str, Any]], None], name: str = "plus") -> Iterator[None]:
    """A receiver of the user's changes each message of one task before it is published."""

    def receiver(sender: str, **given: Any) -> None:
        if sender == name:
            change(given)

    signals.before_task_publish.connect(receiver, weak=False)
    try:
        yield
    finally:
        signals.before_task_publish.disconnect(receiver)


def assert_only(taskdb: TaskDB, refused: list[str], taken: list[str], log: list[Any]) -> None:
    """These rows wait with a reason, all others are queued, and nothing was taken for an outage."""
    assert {taskdb.get_task(one).status for one in taken} == {TaskStatus.QUEUED}
    assert {taskdb.get_task(one).status for one in refused} == {TaskStatus.CREATED}
    assert events(log, "publish.postponed") == [] and events(log, "publish.refused")
    for one in refused:
        told = taskdb.explain_task(one)
        assert told.cause == "publish_refused", told
        assert told.facts["reason"] and told.facts["reason"][:20] in told.sentence
    [drift] = [one for one in diagnose(taskdb) if one.name == "publish_refused"]
    assert drift.count == len(refused) and set(drift.examples) <= set(refused)


def submit_mixed(taskdb: TaskDB, *, queue: str | None = None) -> tuple[list[str], list[str]]:
    """Tasks of a type whose messages are refused among others of the same and another queue."""
    with taskdb._connections.background.resting():
        pairs = [
            (
                taskdb.submit_task("plus", {"a": 1}, queue=queue).id,
                [taskdb.submit_task("echo").id, taskdb.submit_task("echo", queue="other").id],
            )
            for _ in range(3)
        ]
    refused = [one for one, _ in pairs]
    taken = [one for _, others in pairs for one in others]
    taskdb.publisher.publish(taskdb.store.publications.find([*refused, *taken]))
    return refused, taken


def raiser(error: BaseException) -> Callable[..., Any]:
    def router(name: str, *_: Any, **__: Any) -> None:
        if name == "plus":
            raise error

    return router


# --- what makes a message -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        KeyError("no such route"),
        ConnectionRefusedError("the router's own database"),
        TimeoutError("the router's own service"),
        ImportError("the router's own driver"),
        ValueError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_router_that_raises_holds_up_no_other_task(
    store_url: str, tmp_path: Path, broker: str, error: Exception
) -> None:
    settings = {"task_routes": [raiser(error)]}
    with (
        client(store_url, tmp_path, broker_url=broker, celery=settings) as taskdb,
        logged() as log,
    ):
        refused, taken = submit_mixed(taskdb)
        assert_only(taskdb, refused, taken, log)
        assert type(error).__name__ in taskdb.explain_task(refused[0]).sentence


def test_a_router_that_exits_does_not_end_the_publisher(
    sqlite_url: str, tmp_path: Path, broker: str
) -> None:
    settings = {"task_routes": [raiser(SystemExit(3))]}
    with (
        client(sqlite_url, tmp_path, broker_url=broker, celery=settings) as taskdb,
        logged() as log,
    ):
        refused = [taskdb.submit_task("plus", {"a": 1}).id]
        taken = [taskdb.submit_task("echo").id]
        assert_only(taskdb, refused, taken, log)


def test_a_queue_that_may_not_be_made_holds_up_no_other_queue(
    store_url: str, tmp_path: Path, broker: str
) -> None:
    settings = {"task_create_missing_queues": False, "task_queues": {"taskdb": {}, "other": {}}}
    with (
        client(store_url, tmp_path, broker_url=broker, celery=settings) as taskdb,
        logged() as log,
    ):
        refused, taken = submit_mixed(taskdb, queue="unknown")
        assert_only(taskdb, refused, taken, log)


def test_a_worker_says_which_queue_of_a_type_may_not_be_made(tmp_path: Path) -> None:
    known = Registry()
    task("late", registry=known, queue="unknown")(lambda: None)
    celery = {"task_create_missing_queues": False, "task_queues": {"taskdb": {}}}
    settings = Settings(data_dir=tmp_path, celery=celery)
    with (
        TaskDB(settings, registry=known) as taskdb,
        pytest.raises(SettingsError, match="'unknown', which a task type names"),
    ):
        create_app(taskdb=taskdb, as_current=False)


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "a header of no type": lambda given: given["headers"].update(own=object()),
    "a header with a surrogate": lambda given: given["headers"].update(own="\ud800"),
    "a priority of no number": lambda given: given["properties"].update(correlation_id=object()),
    "a body of no type": lambda given: given["body"][1].update(own=object()),
    "no headers": lambda given: given["headers"].clear(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_receiver_that_spoils_a_message_holds_up_no_other_task(
    sqlite_url: str, tmp_path: Path, broker: str, change: Callable[[dict[str, Any]], None]
) -> None:
    with (
        changed(change),
        client(sqlite_url, tmp_path, broker_url=broker) as taskdb,
        logged() as log,
    ):
        spoiled, taken = submit_mixed(taskdb)
        assert {taskdb.get_task(one).status for one in taken} == {TaskStatus.QUEUED}
        assert events(log, "publish.postponed") == []
        # Some brokers take what others cannot spell.
        refused = [one for one in spoiled if taskdb.get_task(one).status is TaskStatus.CREATED]
        assert not refused or len(refused) == len(spoiled)
        if refused:
            assert_only(taskdb, refused, taken, log)


@pytest.mark.parametrize("serializer", ["unheard-of", "pickle", "yaml"])
def test_a_serializer_that_no_worker_reads_concerns_its_own_route(
    sqlite_url: str, tmp_path: Path, broker: str, serializer: str
) -> None:
    settings = {"task_routes": {"plus": {"serializer": serializer}}}
    with (
        client(sqlite_url, tmp_path, broker_url=broker, celery=settings) as taskdb,
        logged() as log,
    ):
        refused, taken = submit_mixed(taskdb)
        assert_only(taskdb, refused, taken, log)


# --- what a broker does not take ------------------------------------------------------------------


def test_a_key_of_another_type_on_redis_concerns_its_own_queue(
    store_url: str, tmp_path: Path, redis_url: str
) -> None:
    with (
        redis.Redis.from_url(redis_url) as server,
        client(store_url, tmp_path, broker_url=redis_url) as taskdb,
        logged() as log,
    ):
        server.set("taken", "a string")
        refused, taken = submit_mixed(taskdb, queue="taken")
        assert_only(taskdb, refused, taken, log)
        assert "WRONGTYPE" in taskdb.explain_task(refused[0]).sentence

        server.delete("taken")
        due(taskdb)
        relay(taskdb).run_once()
        assert count(taskdb, TaskStatus.CREATED) == 0


def test_a_user_of_redis_who_may_not_write_one_queue_writes_the_others(
    sqlite_url: str, tmp_path: Path, own_redis: Any
) -> None:
    with redis.Redis(host="127.0.0.1", port=own_redis.port) as operator:
        operator.acl_setuser(  # type: ignore[no-untyped-call]
            "app",
            enabled=True,
            passwords=["+secret"],
            keys=["taskdb*", "other*", "_kombu*", "unacked*"],
            commands=["+@all"],
        )
    url = own_redis.url.replace("redis://", "redis://app:secret@")
    with client(sqlite_url, tmp_path, broker_url=url) as taskdb, logged() as log:
        refused, taken = submit_mixed(taskdb, queue="forbidden")
        assert_only(taskdb, refused, taken, log)
        assert "secret" not in str(log)


def test_a_message_too_long_for_redis_concerns_its_own_row(
    sqlite_url: str, tmp_path: Path, own_redis: Any
) -> None:
    with redis.Redis(host="127.0.0.1", port=own_redis.port) as operator:
        operator.config_set("proto-max-bulk-len", "1mb")
    with (
        changed(lambda given: given["headers"].update(own="x" * 3_000_000)),
        client(sqlite_url, tmp_path, broker_url=own_redis.url) as taskdb,
        logged() as log,
    ):
        refused, taken = submit_mixed(taskdb)
        assert_only(taskdb, refused, taken, log)


RABBITMQ: dict[str, Callable[[Any], None]] = {
    "of other arguments": lambda channel: channel.queue_declare(
        "taken", durable=False, auto_delete=False
    ),
    "that is full": lambda channel: channel.queue_declare(
        "taken",
        durable=True,
        auto_delete=False,
        arguments={"x-max-priority": 9, "x-max-length": 0, "x-overflow": "reject-publish"},
    ),
}


@pytest.mark.parametrize("prepare", RABBITMQ.values(), ids=RABBITMQ.keys())
def test_a_queue_of_rabbitmq_holds_up_no_other(
    store_url: str, tmp_path: Path, rabbitmq_url: str, prepare: Callable[[Any], None]
) -> None:
    with (
        client(store_url, tmp_path, broker_url=rabbitmq_url) as taskdb,
        logged() as log,
    ):
        with create_celery(taskdb.settings) as app, app.connection_for_write() as connection:
            prepare(connection.channel())
        refused, taken = submit_mixed(taskdb, queue="taken")
        assert_only(taskdb, refused, taken, log)


ROUTES = {
    "an exchange that is not there": {"exchange": "missing", "routing_key": "taskdb"},
    "a routing key that leads nowhere": {"exchange": "amq.topic", "routing_key": "nowhere"},
    "a fanout that nobody hears": {"exchange": "amq.fanout", "exchange_type": "fanout"},
}


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES.keys())
def test_a_route_that_leads_nowhere_concerns_its_own_type(
    sqlite_url: str, tmp_path: Path, broker: str, route: dict[str, str]
) -> None:
    settings = {"task_routes": {"plus": route}}
    with (
        client(sqlite_url, tmp_path, broker_url=broker, celery=settings) as taskdb,
        logged() as log,
    ):
        refused, taken = submit_mixed(taskdb)
        assert_only(taskdb, refused, taken, log)


@pytest.mark.parametrize("header", [200_000, 5_000_000])
def test_headers_too_long_for_a_frame_of_rabbitmq_concern_their_own_row(
    sqlite_url: str, tmp_path: Path, rabbitmq_url: str, header: int
) -> None:
    with (
        changed(lambda given: given["headers"].update(own="x" * header)),
        client(sqlite_url, tmp_path, broker_url=rabbitmq_url) as taskdb,
        logged() as log,
    ):
        refused, taken = submit_mixed(taskdb)
        assert_only(taskdb, refused, taken, log)


def test_a_broker_that_drops_every_connection_is_unreachable(
    sqlite_url: str, tmp_path: Path, own_redis: Any
) -> None:
    with redis.Redis(host="127.0.0.1", port=own_redis.port) as operator:
        operator.config_set("proto-max-bulk-len", "1mb")
    with (
        changed(lambda given: given["headers"].update(own="x" * 3_000_000), "echo"),
        client(sqlite_url, tmp_path, broker_url=own_redis.url) as taskdb,
        taskdb._connections.background.resting(),
    ):
        many = [taskdb.submit_task("echo").id for _ in range(10)]
        with pytest.raises(BrokerUnreachable):
            taskdb.publisher.publish(taskdb.store.publications.find(many))
        # It goes on behind those that it has tried.
        refused = [one for one in many if taskdb.explain_task(one).cause == "publish_refused"]
        assert 0 < len(refused) < len(many)


# --- and then -------------------------------------------------------------------------------------


def relay(taskdb: TaskDB) -> Relay:
    return Relay(taskdb.settings, taskdb.store, taskdb.publisher)


def due(taskdb: TaskDB) -> None:
    """The time of every row has come."""
    past = "'2020-01-01T00:00:00.000Z'"
    if taskdb.store.database.dialect.name == "postgresql":
        past = f"CAST({past} AS TIMESTAMPTZ)"
    with taskdb.store.database.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE taskdb_task SET relay_at = {past}")


def test_the_relay_tries_a_refused_row_again_later_and_others_go_on(
    store_url: str, tmp_path: Path, broker: str
) -> None:
    reasons: list[Exception] = [KeyError("gone")]

    def router(name: str, *_: Any, **__: Any) -> None:
        if name == "plus" and reasons:
            raise reasons[0]

    settings = {"task_routes": [router]}
    with client(store_url, tmp_path, broker_url=broker, celery=settings) as taskdb:
        refused, _ = submit_mixed(taskdb)
        assert len(messages(taskdb)) == 3
        # Not due yet, and so in nobody's way.
        assert relay(taskdb).run_once() is False
        with taskdb._connections.background.resting():
            later = taskdb.submit_task("echo").id
        due(taskdb)
        relay(taskdb).run_once()
        assert taskdb.get_task(later).status is TaskStatus.QUEUED
        told = [one for one in taskdb.task_history(refused[0]) if "refused" in (one.detail or {})]
        assert len(told) == 2 and {one.to_status for one in told} == {TaskStatus.CREATED}

        reasons.clear()
        due(taskdb)
        relay(taskdb).run_once()
        assert set(ids(messages(taskdb))) == {later, *refused}
        assert taskdb.explain_task(refused[0]).cause != "publish_refused"
        assert not [one for one in diagnose(taskdb) if one.name == "publish_refused"]


def test_the_pauses_of_a_refused_row_grow_up_to_five_minutes(
    store_url: str, tmp_path: Path
) -> None:
    with client(store_url, tmp_path) as taskdb, taskdb._connections.background.resting():
        task_id = taskdb.submit_task("echo").id
        pauses = []
        for waited in (0, 60, 86_400):
            later = taskdb.store.database.dialect.later(str(-waited))
            with taskdb.store.database.transaction() as connection:
                connection.exec_driver_sql(f"UPDATE taskdb_task SET updated_at = {later}")
            [item] = taskdb.store.publications.find([task_id])
            taskdb.store.publications.refuse([(item, "no")])
            standing = taskdb.store.situations.get(task_id, EVERYONE, lease=timedelta(seconds=30))
            pauses.append((standing.relay_at - standing.now).total_seconds())
        assert 4 < pauses[0] <= 5.1 and 55 < pauses[1] <= 62 and 295 < pauses[2] <= 300.1


def test_a_row_that_has_moved_is_not_refused_any_more(store_url: str, tmp_path: Path) -> None:
    with client(store_url, tmp_path) as taskdb, taskdb._connections.background.resting():
        task_id = taskdb.submit_task("echo").id
        before = taskdb.store.publications.find([task_id])
        taskdb.store.publications.mark_queued(before)
        taskdb.store.publications.refuse([(before[0], "no")])
        assert not [one for one in taskdb.task_history(task_id) if "refused" in (one.detail or {})]


def test_a_tenant_reads_that_its_message_was_refused_and_not_in_which_words(
    store_url: str, tmp_path: Path
) -> None:
    def router(*_: Any, **__: Any) -> None:
        raise KeyError("opsecret-queue")

    with client(store_url, tmp_path, celery={"task_routes": [router]}) as taskdb:
        acme = taskdb.for_tenant("acme")
        task_id = acme.submit_task("echo").id
        wait_until(lambda: len(taskdb.task_history(task_id)) > 1, 10, lambda: "the refusal")
        own, all_of_it = acme.explain_task(task_id), taskdb.explain_task(task_id)
        assert own.cause == all_of_it.cause == "publish_refused"
        assert "opsecret" not in f"{own} {acme.task_history(task_id)}"
        assert acme.task_history(task_id)[-1].detail.keys() == {"refused"}
        assert "opsecret" in all_of_it.sentence
        assert "opsecret" in str(taskdb.task_history(task_id))
