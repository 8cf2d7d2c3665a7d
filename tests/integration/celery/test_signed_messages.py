"""Signed messages: without a key nobody makes a worker run anything, nor repeats what was run."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.celery.hostile import (
    BROKERS,
    MODULES,
    admin_ran,
    began,
    has_run,
    noted,
    parked,
    raw,
    row,
    send,
    site_with_strangers,
    still_works,
)
from tests.integration.worker_site import Site, site_of

from taskdb.celery.message_signature import SIGNATURE_HEADER, MessageKeys, Subject
from taskdb.celery.publish.publisher import CHUNK_HEADER, FINALIZE, end_of

KEY, OLD, STRANGE = "k" * 32, "o" * 32, "s" * 32
SETTINGS = {"task_modules": MODULES, "message_keys": f"{KEY},{OLD}"}


@pytest.fixture(scope="module", params=BROKERS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site_with_strangers(request, tmp_path_factory, **SETTINGS) as site:
        site.start_beat()
        yield site


def signed(
    task_id: str, key: str = KEY, *, type: str = "public.greet", attempt: int = 0, items: int = 0
) -> dict[str, Any]:
    return dict(MessageKeys([key], 60).sign(Subject(task_id, type, items), attempt))


def test_what_publishers_of_the_site_send_runs(site: Site) -> None:
    inputs = [{"name": str(number)} for number in range(4)]
    one = site.submit("public.greet", {"name": "one"}, delay=0.2)
    whole = site.client.submit_fan_out("public.greet", inputs, delay=0.2)
    chunks = site.client.submit_fan_out("public.greet", inputs, chunk_size=2)
    for task in (one, whole, chunks):
        assert site.settled(task.id).status == "COMPLETED"
    assert "message.refused" not in site.workers[0].output


FORGED: dict[str, Callable[[str], dict[str, Any]]] = {
    "no signature": lambda _: {},
    "nothing": lambda _: {SIGNATURE_HEADER: ""},
    "rubbish": lambda _: {SIGNATURE_HEADER: {"v1": [1]}},
    "a strange key": lambda task_id: signed(task_id, STRANGE),
    "another task": lambda _: signed(str(uuid4())),
    "another type": lambda task_id: signed(task_id, type="admin.exec"),
    "another count": lambda task_id: signed(task_id, items=2),
}
"""The headers of a message for a task."""


def test_a_message_without_a_signature_of_ours_runs_nothing(site: Site) -> None:
    before = {name: row(site, parked(site)) for name in FORGED}
    for name, forge in FORGED.items():
        task_id = str(before[name]["id"])
        send(site, "public.greet", task_id, headers=forge(task_id))
    still_works(site)
    assert {name: row(site, one["id"]) for name, one in before.items()} == before
    assert "message.refused" in site.workers[0].output
    # The same messages, signed.
    for one in before.values():
        send(site, "public.greet", str(one["id"]), headers=signed(str(one["id"])))
    for name, one in before.items():
        assert site.settled(str(one["id"])).status == "COMPLETED", name


def test_an_earlier_key_is_taken_while_keys_are_changed(site: Site) -> None:
    task_id = parked(site)
    send(site, "public.greet", task_id, headers=signed(task_id, OLD))
    assert site.settled(task_id).status == "COMPLETED"


def test_a_copy_of_a_message_runs_no_later_attempt(site: Site) -> None:
    task_id = parked(site, "public.waits")
    (headers, body) = taken(site, "parked", task_id)
    raw(site, "", body, headers=headers)
    began(site, task_id)
    site.let_go(task_id)
    site.settled(task_id)
    site.query("UPDATE taskdb_task SET queue = 'held' WHERE CAST(id AS TEXT) = :id", id=task_id)
    site.client.retry_task(task_id)
    site.wait_for(task_id, "QUEUED")
    before = row(site, task_id)
    for _ in range(3):
        raw(site, "", body, headers=headers)
    still_works(site)
    assert row(site, task_id) == before
    send(site, "public.waits", task_id, headers=signed(task_id, type="public.waits", attempt=1))
    assert site.settled(task_id).attempt == 2


def test_a_copy_of_a_message_stands_for_no_other_task_nor_type(site: Site) -> None:
    task_id, other = parked(site), parked(site)
    headers, body = taken(site, "parked", task_id)
    before = row(site, task_id), row(site, other)
    changes: list[dict[str, Any]] = [{"id": other}, {"task": "admin.exec"}, {CHUNK_HEADER: 2}]
    for changed in changes:
        raw(site, "", body, headers={**headers, **changed})
    raw(site, "", json.dumps([[], {}, {"id": other}]), headers={**headers, "task": "admin.exec"})
    still_works(site)
    assert not admin_ran(site)
    assert (row(site, task_id), row(site, other)) == before


def test_what_is_not_signed_neither_counts_nor_remarks(site: Site) -> None:
    task_id = parked(site)
    site.query(
        "UPDATE taskdb_task SET queue = 'elsewhere' WHERE CAST(id AS TEXT) = :id", id=task_id
    )
    before = row(site, task_id), site.client.task_history(task_id)
    for _ in range(12):
        send(site, "public.greet", task_id, queue="elsewhere")
        raw(site, "", b"\xff", headers={"id": task_id})
        raw(site, "", b"\xff", headers={"id": task_id, "task": "x", "compression": "gzip"})
    site.workers[1].wait_for_output("message.refused")
    still_works(site)
    assert (row(site, task_id), site.client.task_history(task_id)) == before


def test_no_plain_task_runs_and_no_parent_ends_without_a_signature(site: Site) -> None:
    whole = site.client.submit_fan_out("public.greet", [{"name": "a"}], queue="parked")
    send(site, "plain.notes", str(uuid4()))
    for name in ("celery.map", "celery.group", "celery.backend_cleanup"):
        send(site, name, str(uuid4()))
    send(site, FINALIZE, end_of(whole.id), headers={"parent_id": whole.id})
    still_works(site)
    assert not noted(site)


def taken(site: Site, queue: str, task_id: str) -> tuple[dict[str, Any], Any]:
    """Take the message of a task out of a queue that nobody consumes."""
    with site.celery.connection_for_read() as connection:
        bound = site.celery.amqp.queues[queue](connection.default_channel)
        while (message := bound.get(no_ack=True)) is not None:
            if message.headers["id"] == task_id:
                return dict(message.headers), message.body
    raise AssertionError(f"no message of {task_id} in {queue}")


@pytest.mark.parametrize("mode", ["plain", "accept"])
def test_a_setting_lets_messages_without_a_signature_run(
    mode: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    given = {**SETTINGS, "message_unsigned": mode}
    with site_of("embedded", request, tmp_path_factory, **given) as site:
        site.start_worker("-c", "1", "-Q", "taskdb", via="run_worker")
        task_id, forged = parked(site), parked(site)
        before = row(site, task_id)
        send(site, "plain.notes", str(uuid4()))
        send(site, "public.greet", task_id)
        send(site, "public.greet", forged, headers=signed(forged, STRANGE))
        still_works(site)
        assert noted(site)
        assert (row(site, task_id) == before) == (mode == "plain")
        assert not has_run(site, forged)
