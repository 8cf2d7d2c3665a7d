"""Notifications from the row to real receivers: each down for a while, slow, and answering 500."""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
from structlog.testing import capture_logs
from tests.integration.notify_site import (
    deliver_all,
    delivering,
    hook,
    run_tasks,
    site,
    told,
)
from tests.processes import Processes, RunningProcess
from tests.servers import Answer, Received, Receiver, Redis, Sns
from tests.store.tasks import OOPS, write
from tests.waiting import wait_until

from taskdb import TaskDB, verify_webhook
from taskdb.errors import DeliveryFailed
from taskdb.outgoing import deliverer
from taskdb.outgoing.turn import Terms
from taskdb_beat.loops.deliver import Deliver
from taskdb_beat.loops.loop import Loop

REPOSITORY = Path(__file__).parents[3]
REFERENCE = REPOSITORY / "docs" / "reference"
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((REFERENCE / "notification.schema.json").read_text()),
    format_checker=jsonschema.FormatChecker(),
)
_BEAT = (
    "from taskdb import Settings\n"
    "from taskdb_beat import run_beat\n"
    "raise SystemExit(run_beat(Settings.load()))\n"
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after a failure that a test can wait for."""

    def terms(**given: Any) -> Terms:
        delays = {"first_delay": timedelta(seconds=0.02), "longest_delay": timedelta(seconds=0.2)}
        return Terms(**{**given, **delays})

    monkeypatch.setattr(deliverer, "Terms", terms)


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with site(store_url, tmp_path) as taskdb:
        yield taskdb


def histories(taskdb: TaskDB, ids: list[str]) -> dict[str, list[str]]:
    return {one: [f"{one}-{event.id}" for event in taskdb.task_history(one)] for one in ids}


def by_task(requests: list[Received]) -> dict[str, list[str]]:
    """The events of each task in the order of their first arrival; every envelope is sound."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for request in requests:
        SCHEMA.validate(request.json)
        assert request.headers["webhook-id"] == request.json["eventId"]
        found[request.json["taskId"]][request.json["eventId"]] = None
    return {task: list(events) for task, events in found.items()}


def test_nothing_is_lost_and_all_is_in_order_whatever_the_receiver_does(
    taskdb: TaskDB, receiver: Receiver, quick: None
) -> None:
    """Now it answers 500, now it takes too long, now it cuts the line, now it is down."""
    hook(taskdb, receiver)

    def moody(request: Received) -> Answer:
        number = len(receiver.received)
        if number % 7 == 3:
            return Answer(500)
        if number % 11 == 5:
            return Answer(503, {"retry-after": "0"})
        if number == 20:
            receiver.hold(3)  # longer than one attempt may take
        return Answer()

    receiver.answer = moody
    ids = [taskdb.submit_task("work", {}).id for _ in range(20)]
    with delivering(taskdb) as deliver:
        loop = Loop("deliver", deliver.run_once, 0.02)
        loop.start()
        wait_until(lambda: len(receiver.taken) > 5, 20)
        receiver.stop()
        run_tasks(taskdb, *ids)
        wait_until(lambda: "no answer" in (taskdb.subscriptions.get("hook").last_error or ""), 20)
        receiver.start()
        wait_until(lambda: by_task(receiver.taken) == histories(taskdb, ids), 40)
        loop.stop(10)
    found = taskdb.subscriptions.get("hook")
    assert (found.state, found.attempts, found.last_error) == ("active", 0, None)
    # At least once: what was taken and not known to be is all that came twice.
    assert 60 <= len(receiver.taken) <= 60 + 5


def test_a_slow_target_and_a_dead_one_keep_nobody_else_waiting(
    store_url: str, tmp_path: Path, quick: None
) -> None:
    good_has_all = threading.Event()

    def slow(_: Received) -> Answer:
        good_has_all.wait(30)
        return Answer()

    with (
        site(store_url, tmp_path, notify_threads=1, outbound_total_seconds=30) as taskdb,
        Receiver() as good,
        Receiver() as stuck,
        Receiver() as dead,
    ):
        dead.stop()
        stuck.answer = lambda _: Answer(500)
        for number in range(3):
            hook(taskdb, stuck, f"slow-{number}")
            hook(taskdb, dead, f"dead-{number}")
        ids = [taskdb.submit_task("work", {}).id]
        with delivering(taskdb) as deliver:
            wait_until(lambda: deliver_all(deliver) or _all_have_failed(taskdb), 20)
            stuck.answer, known = slow, len(stuck.received)
            hook(taskdb, good, "good", start="beginning")
            loop = Loop("deliver", deliver.run_once, 0.02)
            loop.start()
            wait_until(lambda: len(stuck.received) > known, 20)
            ids += [taskdb.submit_task("work", {}).id for _ in range(5)]
            run_tasks(taskdb, *ids)
            wait_until(lambda: by_task(good.taken) == histories(taskdb, ids), 20)
            assert not stuck.taken
            good_has_all.set()
            loop.stop(10)


def _all_have_failed(taskdb: TaskDB) -> bool:
    return all(one.attempts for one in taskdb.subscriptions.list())


def test_a_final_answer_ends_a_subscription_and_a_resume_goes_on_where_it_stopped(
    taskdb: TaskDB, receiver: Receiver
) -> None:
    receiver.answer = lambda _: Answer(410)
    hook(taskdb, receiver)
    ids = [taskdb.submit_task("work", {}).id]
    with delivering(taskdb) as deliver, capture_logs() as logs:
        deliver_all(deliver)
        dead = taskdb.subscriptions.get("hook")
        assert dead.state == "dead" and dead.last_error is not None and "410" in dead.last_error
        assert [one["event"] for one in logs] == ["subscription.stopped"]
        ids.append(taskdb.submit_task("work", {}).id)
        deliver_all(deliver)
        assert len(receiver.received) == 1
        receiver.answer = lambda _: Answer()
        taskdb.subscriptions.resume("hook")
        deliver_all(deliver)
        assert by_task(receiver.taken) == histories(taskdb, ids)


def test_a_transport_that_breaks_is_seen_to_fail_and_keeps_its_secrets(
    sqlite_url: str, tmp_path: Path
) -> None:
    url = "redis://:hunter2@127.0.0.1:port/0"
    with site(sqlite_url, tmp_path, redis_channel_url=url) as taskdb, delivering(taskdb) as deliver:
        taskdb.subscriptions.create("broken", "redis")
        taskdb.submit_task("work", {})
        with capture_logs() as logs:
            deliver_all(deliver)
        found = taskdb.subscriptions.get("broken")
    assert (found.state, found.attempts) == ("active", 1)
    assert found.last_error is not None and "unexpected ValueError" in found.last_error
    assert [one["event"] for one in logs] == ["delivery.raised", "delivery.failed"]
    assert "hunter2" not in found.last_error


def test_a_receiver_says_when_it_may_be_asked_again(
    taskdb: TaskDB, receiver: Receiver, quick: None
) -> None:
    receiver.answer = lambda _: Answer(429, {"retry-after": "3600"})
    hook(taskdb, receiver)
    taskdb.submit_task("work", {})
    with delivering(taskdb) as deliver:
        deliver_all(deliver)
        found = taskdb.subscriptions.get("hook")
        assert found.next_try_at is not None and found.failing_since is not None
        assert (found.next_try_at - found.failing_since).total_seconds() > 3_500
        deliver_all(deliver)
    assert len(receiver.received) == 1


def test_a_target_that_the_settings_do_not_allow_any_more_gets_nothing_and_says_why(
    taskdb: TaskDB, receiver: Receiver
) -> None:
    hook(taskdb, receiver)
    taskdb.submit_task("work", {})
    closed = taskdb.settings.model_copy(update={"outbound_http": False})
    with closing(Deliver(closed, taskdb.store)) as deliver:
        deliver_all(deliver)
    found = taskdb.subscriptions.get("hook")
    assert found.last_error is not None and "TASKDB_OUTBOUND_HTTP" in found.last_error
    assert (found.state, receiver.received) == ("active", [])


def test_a_receiver_verifies_with_nothing_but_the_recipe_of_the_docs(
    taskdb: TaskDB, receiver: Receiver
) -> None:
    page = (REPOSITORY / "docs" / "how-to" / "get-notified.md").read_text()
    code = re.findall(r"<!-- recipe -->\n```python\n(.*?)```", page, re.DOTALL)[0]
    recipe: dict[str, Any] = {}
    exec(code, recipe)  # noqa: S102 - the page's own words
    verify: Callable[[str, dict[str, str], bytes], bool] = recipe["verify"]
    first = hook(taskdb, receiver)
    with delivering(taskdb) as deliver:
        taskdb.submit_task("work", {"name": "Ünal"}, attributes={"city": "Łódź"})
        deliver_all(deliver)
        second = taskdb.subscriptions.rotate_secret("hook")
        taskdb.submit_task("work", {})
        deliver_all(deliver)
    assert first.secret and second.secret and first.secret != second.secret
    before, after = receiver.taken
    for secret, request in [
        (first.secret, before), (first.secret, after), (second.secret, after),
    ]:  # fmt: skip
        assert verify(secret, request.headers, request.body)
        assert verify_webhook(secret, request.headers, request.body)
        assert request.headers["webhook-id"] == request.json["eventId"]
    for secret, headers, body in (
        (second.secret, before.headers, before.body),
        (first.secret, before.headers, before.body + b" "),
        (first.secret, {**before.headers, "webhook-id": "other"}, before.body),
        (first.secret, {**before.headers, "webhook-timestamp": "1700000000"}, before.body),
        (first.secret, {**before.headers, "webhook-timestamp": "9" * 5_000}, before.body),
        (first.secret, {**before.headers, "webhook-timestamp": "\ud800"}, before.body),
        (first.secret, {**before.headers, "webhook-id": "\ud800"}, before.body),
        (first.secret, {**before.headers, "webhook-signature": "v1,\ud800"}, before.body),
        (first.secret, {}, before.body),
    ):
        assert verify(secret, headers, body) is False
        assert verify_webhook(secret, headers, body) is False


def test_an_envelope_tells_of_a_task_without_its_secrets(
    taskdb: TaskDB, receiver: Receiver
) -> None:
    hook(taskdb, receiver, with_sub_tasks=True)
    one = taskdb.submit_task("work", {}, tenant="acme", notify_id="mine", attributes={"token": "x"})
    assert taskdb.get_task(one.id).notify_id == one.notify_id == "mine"
    taskdb.store.runs.claim(one.id, token="t", worker="w", max_attempts=1)
    taskdb.store.outcomes.fail(one.id, "t", OOPS)
    parent = taskdb.submit_fan_out("part", [1], notify_id="whole")
    with delivering(taskdb) as deliver:
        deliver_all(deliver)
    envelopes = [request.json for request in receiver.taken]
    failed = envelopes[2]
    assert (failed["id"], failed["pk"], failed["sk"]) == ("mine", one.pk, one.sk)
    assert (failed["tenantCode"], failed["from"]) == ("acme", "STARTED")
    assert failed["content"] == {
        "status": "FAILED",
        "attributes": {
            "token": "[redacted]",
            "error": {"type": "ValueError", "message": "oops"},
        },
    }
    parts = [one for one in envelopes if one["action"] == "sub-task-status"]
    assert by_task(receiver.taken).keys() == {one.id, parent.id, parts[0]["taskId"]}
    assert {one["parentId"] for one in parts} == {parent.id}
    assert {one["id"] for one in parts} == {f"{one['pk']}#{one['sk']}" for one in parts}
    assert {one["id"] for one in envelopes if one["taskId"] == parent.id} == {"whole"}


def test_a_trial_message_says_whether_a_target_works(taskdb: TaskDB, receiver: Receiver) -> None:
    made = hook(taskdb, receiver)
    assert made.secret is not None
    message_id = taskdb.subscriptions.test("hook")
    (request,) = receiver.taken
    SCHEMA.validate(request.json)
    assert verify_webhook(made.secret, request.headers, request.body)
    assert request.headers["webhook-id"] == message_id
    assert request.json["action"] == "subscription-test"
    receiver.stop()
    with pytest.raises(DeliveryFailed, match="no answer"):
        taskdb.subscriptions.test("hook")


def test_redis_that_was_down_is_told_what_it_missed(
    store_url: str, tmp_path: Path, own_redis: Redis, quick: None
) -> None:
    with (
        site(store_url, tmp_path, broker_url=own_redis.url, outbound_total_seconds=1) as taskdb,
        delivering(taskdb) as deliver,
    ):
        taskdb.subscriptions.create("channel", "redis", status=["CREATED"])
        first = taskdb.submit_task("mail:send", {}, tenant="ac me")
        own_redis.stop()
        deliver_all(deliver)
        assert taskdb.subscriptions.get("channel").attempts == 1
        own_redis.start()
        second = taskdb.submit_task("other", {}, tenant="")
        with redis.Redis.from_url(own_redis.url) as client, client.pubsub() as listener:
            listener.psubscribe("taskdb:task:*")
            listener.subscribe("taskdb:type:ac%20me:mail%3Asend")
            assert all(listener.get_message(timeout=5) for _ in range(2))
            wait_until(lambda: deliver.run_once() or (deliver.settle(5) and _sent(taskdb) == 2), 20)
            heard = [wait_until(lambda: listener.get_message(timeout=1)) for _ in range(3)]
    assert [one["channel"].decode() for one in heard] == [
        "taskdb:type:ac%20me:mail%3Asend",
        f"taskdb:task:ac%20me:{first.id}",
        f"taskdb:task::{second.id}",
    ]
    for one in heard:
        SCHEMA.validate(json.loads(one["data"]))


def _sent(taskdb: TaskDB) -> int:
    return taskdb.subscriptions.get("channel").sent


def test_a_topic_and_the_log_are_told_too(
    sqlite_url: str, tmp_path: Path, sns_server: Sns, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sns_server.environment.items():
        monkeypatch.setenv(name, value)
    arn, queue = sns_server.create_topic("notifications")
    with site(sqlite_url, tmp_path) as taskdb, delivering(taskdb) as deliver:
        taskdb.subscriptions.create("topic", "sns", arn)
        taskdb.subscriptions.create("log", "log")
        one = taskdb.submit_task("work", {}, tenant="acme")
        with capture_logs() as logs:
            deliver_all(deliver)
    (taken,) = wait_until(lambda: sns_server.read(queue))
    envelope = json.loads(taken["Body"])
    SCHEMA.validate(envelope)
    assert envelope["taskId"] == one.id
    assert taken["MessageAttributes"]["status"]["StringValue"] == "CREATED"
    assert [(one["event"], one["task_id"], one["status"]) for one in logs] == [
        ("notification.logged", one.id, "CREATED")
    ]


@pytest.fixture
def on_postgresql(postgresql_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with site(postgresql_url, tmp_path) as taskdb:
        yield taskdb


def start_beat(processes: Processes, taskdb: TaskDB) -> RunningProcess:
    settings = taskdb.settings
    given = {
        "TASKDB_DATABASE_URL": settings.store_url,
        "TASKDB_DATA_DIR": str(settings.data_dir),
        "TASKDB_OUTBOUND_PRIVATE": ",".join(settings.outbound_private),
        "TASKDB_OUTBOUND_PORTS": "1-65535",
        "TASKDB_OUTBOUND_HTTP": "true",
        "TASKDB_NOTIFY_INTERVAL_SECONDS": "0.05",
    }
    process = processes.python("-c", _BEAT, env=given, cwd=REPOSITORY)
    process.wait_for_output("beat.started")
    return process


def test_a_beat_that_is_killed_between_send_and_cursor_loses_nothing(
    on_postgresql: TaskDB, receiver: Receiver, processes: Processes
) -> None:
    """Then two beats at once go on: what was sent and not noted comes again, the rest once."""
    taskdb = on_postgresql
    has_come, may_answer = threading.Event(), threading.Event()

    def answer(_: Received) -> Answer:
        if len(receiver.received) == 5:
            has_come.set()
            may_answer.wait(30)
        return Answer()

    receiver.answer = answer
    hook(taskdb, receiver, status=["CREATED"])
    ids = [one.id for one in taskdb.submit_many("work", [{}] * 200)]
    beat = start_beat(processes, taskdb)
    assert has_come.wait(30)
    beat.kill()
    may_answer.set()
    assert taskdb.subscriptions.get("hook").sent < 5
    # Its lease would be over soon; the test does not wait for that.
    write(taskdb.store, "UPDATE taskdb_subscription SET lease_until = NULL")
    beats = [start_beat(processes, taskdb) for _ in range(2)]
    expected = [(one, "CREATED") for one in ids]
    wait_until(lambda: list(dict.fromkeys(told(receiver))) == expected, 30)
    for beat in beats:
        assert beat.terminate() == 0, beat.tail()
    assert len(receiver.taken) <= 205
    assert taskdb.subscriptions.get("hook").sent <= 200
