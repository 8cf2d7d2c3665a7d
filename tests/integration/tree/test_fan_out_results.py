"""A fan-out as Celery shows it: results, groups, messages and events, all from the rows."""

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from celery.result import AsyncResult, GroupResult
from kombu import Queue
from tests.integration.tree.fan_site import ended, fan_site, parts_of
from tests.integration.worker_site import COMBINATIONS, REPOSITORY, Site
from tests.servers.server import free_port
from tests.waiting import wait_until

from taskdb.celery.publish.publisher import FINALIZE
from taskdb.model.entity import TaskError
from taskdb_beat.loops.relay import Relay

GOOD = {"what": "returns", "value": 1}
BAD = {"what": "fails"}
NOWHERE = "nowhere"
"""A queue that no worker consumes."""


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with fan_site(request.param, request, tmp_path_factory) as site:
        site.start_worker("-c", "2", "-E")
        yield site


# --- results --------------------------------------------------------------------------------------


def test_a_parent_and_its_parts_are_results_of_celery(site: Site) -> None:
    app = site.client.celery_app
    items = [{"what": "returns", "value": number} for number in range(5)]
    parent = site.client.submit_fan_out("fan.does", items)

    counted = {"total": 5, "succeeded": 5, "failed": 0, "canceled": 0}
    assert AsyncResult(parent.id, app=app).get(timeout=20) == counted
    parts = parts_of(site, parent.id)
    assert AsyncResult(parts[3].id, app=app).get(timeout=5) == {"got": 3}
    restored = GroupResult.restore(parent.id, app=app)
    assert [one.id for one in restored.children] == [part.id for part in parts]
    assert restored.completed_count() == 5
    assert restored.ready() and restored.successful()
    assert restored.join(timeout=5) == restored.get(timeout=5)
    assert restored.join(timeout=5) == [{"got": number} for number in range(5)]


def test_a_parent_that_waits_is_started_and_its_group_is_not_ready(site: Site) -> None:
    app = site.client.celery_app
    parent = site.client.submit_fan_out("fan.waits", [{"number": 1}, {"number": 2}])
    first, second = parts_of(site, parent.id)
    site.let_go(first.id)
    site.wait_for(first.id, "COMPLETED")

    result, group = AsyncResult(parent.id, app=app), GroupResult.restore(parent.id, app=app)
    assert (result.state, result.ready()) == ("STARTED", False)
    assert (group.completed_count(), group.ready(), group.waiting()) == (1, False, True)
    site.let_go(second.id)
    assert result.get(timeout=20)["succeeded"] == 2
    assert group.ready()


def test_a_parent_that_is_finished_is_started(site: Site) -> None:
    app = site.client.celery_app
    parent = site.client.submit_fan_out("fan.does", [GOOD], on_join="fan.joins_when_let")
    site.wait_for(parent.id, "FINISHED")

    assert AsyncResult(parent.id, app=app).state == "STARTED"
    site.let_go(parent.id)
    assert ended(site, parent.id).status == "COMPLETED"


def test_a_handler_is_no_child_of_the_group(site: Site) -> None:
    app = site.client.celery_app
    parent = site.client.submit_fan_out("fan.does", [GOOD, GOOD], on_join="fan.joins")

    assert AsyncResult(parent.id, app=app).get(timeout=20)["counts"] == [2, 2, 0, 0]
    parts = [part.id for part in parts_of(site, parent.id)]
    assert [one.id for one in GroupResult.restore(parent.id, app=app).children] == parts


def test_a_parent_that_failed_raises_what_happened_to_its_parts(site: Site) -> None:
    app = site.client.celery_app
    parent = site.client.submit_fan_out("fan.does", [GOOD, BAD])

    with pytest.raises(Exception, match="1 of 2") as raised:
        AsyncResult(parent.id, app=app).get(timeout=20)
    assert not isinstance(raised.value, TimeoutError)
    group = GroupResult.restore(parent.id, app=app)
    assert group.failed() and group.ready()
    with pytest.raises(Exception, match="enough"):
        group.join(timeout=5)
    assert group.join(timeout=5, propagate=False)[0] == {"got": 1}


def test_what_has_no_parts_is_no_group(site: Site) -> None:
    single = site.submit("ends.returns")
    assert GroupResult.restore(single.id, app=site.client.celery_app) is None
    assert GroupResult.restore("any text", app=site.client.celery_app) is None


# --- messages -------------------------------------------------------------------------------------


def messages_of(site: Site, number: int) -> list[tuple[dict[str, Any], Any]]:
    """Headers and bodies of so many messages, in order of their task's id."""
    found: list[Any] = []

    def take() -> bool:
        with site.celery.connection_for_read() as connection, connection.channel() as channel:
            queue = site.celery.amqp.queues[NOWHERE]
            bound: Queue = queue(channel)
            while (message := bound.get(no_ack=True)) is not None:
                found.append((dict(message.headers), message.payload))
        return len(found) >= number

    wait_until(take, describe=lambda: f"{number} messages: {found}")
    assert len(found) == number
    return sorted(found, key=lambda one: str(one[0]["id"]))


def same(found: list[tuple[dict[str, Any], Any]]) -> list[tuple[dict[str, Any], Any]]:
    """Without the name of the process that sent it."""
    return [
        ({name: value for name, value in headers.items() if name != "origin"}, body)
        for headers, body in found
    ]


def test_a_message_is_the_same_whoever_publishes_it(site: Site) -> None:
    store = site.client.store
    parent = site.client.submit_fan_out("fan.does", [GOOD, GOOD], queue=NOWHERE)
    ids = [part.id for part in parts_of(site, parent.id)]
    first = messages_of(site, 2)
    for headers, (_, _, embedded) in first:
        assert (headers["group"], headers["parent_id"], headers["root_id"]) == (parent.id,) * 3
        assert headers["id"] in ids and headers["task"] == "fan.does"
        # What follows, the row says.
        assert embedded["chord"] is None

    # The relay, of rows that are as they were before they were published.
    for task_id in ids:
        assert store.take_backs.hand_back_unclaimed(task_id, "a test", timedelta(0))
    relay = Relay(site.settings, store, site.client.publisher)
    wait_until(lambda: relay.run_once() or queued(site, ids))
    assert same(messages_of(site, 2)) == same(first)

    # A person, once one has failed.
    assert store.runs.claim(ids[0], token="t", worker="w", max_attempts=1).granted
    store.outcomes.fail(ids[0], "t", TaskError("builtins.ValueError", "no"))
    site.client.retry_task(ids[0])
    assert same(messages_of(site, 1)) == same(first)[:1]
    site.client.cancel_task(parent.id)


def queued(site: Site, ids: list[str]) -> bool:
    return all(site.client.get_task(task_id).status == "QUEUED" for task_id in ids)


# --- events ---------------------------------------------------------------------------------------


def test_events_of_parts_name_their_parent(site: Site) -> None:
    found: dict[str, dict[str, Any]] = {}
    listening = threading.Event()
    over = threading.Event()

    def listen() -> None:
        with site.celery.connection_for_read() as connection:
            receiver = site.celery.events.Receiver(
                connection,
                handlers={"task-received": lambda event: found.setdefault(event["uuid"], event)},
            )
            with receiver.consumer_context() as (line, *_):
                while not over.is_set():
                    # Redis is told of a subscription by the first look only.
                    with suppress(TimeoutError):
                        line.drain_events(timeout=0.2)
                    listening.set()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert listening.wait(10)
        parent = site.client.submit_fan_out("fan.does", [GOOD, GOOD])
        ids = {part.id for part in parts_of(site, parent.id)}
        wait_until(lambda: ids <= set(found), 10, lambda: str(found))
    finally:
        over.set()
        thread.join()
    for task_id in ids:
        assert found[task_id]["parent_id"] == found[task_id]["root_id"] == parent.id
    ended(site, parent.id)


def test_flower_shows_the_parts_with_their_parent(site: Site) -> None:
    port = free_port()
    flower = site.processes.python(
        *("-m", "celery", "-A", "taskdb_worker.app", "flower"),
        *("--address=127.0.0.1", f"--port={port}"),
        env={**site.env, "FLOWER_UNAUTHENTICATED_API": "true"},
        cwd=REPOSITORY,
    )

    def shown(path: str) -> str:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
        return ""

    # It knows of a worker once it hears events.
    wait_until(lambda: "@site" in shown("/api/workers"), 30, flower.tail)
    parent = site.client.submit_fan_out("fan.does", [GOOD, GOOD, BAD], join="all_settled")
    ids = {part.id for part in parts_of(site, parent.id)}
    ended(site, parent.id)
    wait_until(lambda: ids <= set(json.loads(shown("/api/tasks"))), 10, flower.tail)
    known = json.loads(shown("/api/tasks"))
    assert sorted(known[task_id]["state"] for task_id in ids) == ["FAILURE", "SUCCESS", "SUCCESS"]
    assert {known[task_id]["name"] for task_id in ids} == {"fan.does"}
    for task_id in ids:
        assert parent.id in shown(f"/task/{task_id}")
    wait_until(lambda: FINALIZE in shown("/api/tasks"), 10, flower.tail)
    assert flower.terminate() == 0
