"""Real workers and beats: a failure reaches a receiver at once, or whatever has died meanwhile."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.outgoing.alarm_site import PASSWORD, SECRET, webhook
from tests.integration.worker_site import Site, site_of
from tests.servers import Receiver
from tests.waiting import wait_until

from taskdb import verify_webhook

FAST = {
    "task_modules": "tests.integration.outgoing.alarm_tasks",
    "outbound_private": "127.0.0.0/8",
    "outbound_ports": "1-65535",
    "outbound_http": True,
    "alarm_interval_seconds": 0.2,
    "alarm_watch_interval_seconds": 60,
    "alarm_sources": "failed,halted,join",
    "max_crashes": 1,
}


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[Site]:
    channels = json.dumps({"hook": webhook(receiver.url)})
    with site_of(
        "postgresql+redis", request, tmp_path_factory, alarm_channels=channels, **FAST
    ) as made:
        yield made


def told(receiver: Receiver) -> dict[tuple[str, str], Any]:
    """What arrived, by source and type; each is genuine."""
    assert all(verify_webhook(SECRET, one.headers, one.body) for one in receiver.taken)
    contents = [one.json["content"] for one in receiver.taken]
    return {(one["source"], one["type"]): one for one in contents}


def test_a_worker_tells_at_once_and_a_beat_tells_what_no_worker_did(
    site: Site, receiver: Receiver
) -> None:
    worker = site.start_worker()
    good, quiet = site.submit("alarm.good"), site.submit("alarm.quiet")
    failed = site.submit("alarm.fails", {"password": PASSWORD})
    wait_until(
        lambda: ("failed", "alarm.fails") in told(receiver), 10, lambda: f"it: {worker.tail()}"
    )
    one = told(receiver)["failed", "alarm.fails"]
    assert (one["severity"], one["errorMessage"]) == ("critical", "no [redacted]")
    assert (one["place"], one["taskIds"]) == ("outgoing/alarm_tasks.py in fails", [failed.id])
    assert PASSWORD not in one["traceback"]
    assert "alarm_tasks.py" in one["traceback"]

    # Its process is killed: the main process writes that, and it is a person's matter.
    halted = site.submit("alarm.dies")
    wait_until(
        lambda: ("halted", "alarm.dies") in told(receiver), 20, lambda: f"a HALTED: {worker.tail()}"
    )
    assert site.settled(halted.id).status == "HALTED"
    assert (site.settled(good.id).status, site.settled(quiet.id).status) == ("COMPLETED", "FAILED")

    # A power cut right after failures: nobody is left who saw them.
    receiver.stop()
    tree = site.client.submit_fan_out("alarm.part", [{"n": n} for n in range(5)])
    site.settled(tree.id)
    worker.kill_all()
    receiver.start()
    site.query(
        "UPDATE taskdb_delivery SET next_try_at = '2020-01-01T00:00:00.000Z', lease_until = NULL"
    )
    beat = site.start_beat()
    wait_until(
        lambda: ("join", tree.type) in told(receiver) and not site.client.alarms.undelivered(),
        20,
        lambda: f"parts and their join: {told(receiver)} {beat.tail()}",
    )
    assert told(receiver)["join", tree.type]["errorType"] == "JoinFailed"
    parts = {one.source: one.count for one in site.client.alarms.list(type="alarm.part")}
    assert parts == {"failed": 5, "join": 1}
    assert not [one for one in site.client.alarms.list() if one.type == "alarm.quiet"]
    for process in site.processes.started:
        assert SECRET not in process.output


@pytest.fixture
def people(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[Site]:
    """A site that notifies people, through a library that takes long to import."""
    address = receiver.url.partition("://")[2]
    channels = json.dumps({"mail": {"apprise": f"json://{address}"}})
    with site_of(
        "postgresql+redis", request, tmp_path_factory, alarm_channels=channels, **FAST
    ) as made:
        yield made


def test_no_child_hangs_that_is_forked_while_the_first_alarm_is_sent(
    people: Site, receiver: Receiver
) -> None:
    """Every task gets a child of its own, and the children import what they need."""
    worker = people.start_worker("-c", "2", "--max-tasks-per-child", "1")
    words = [people.submit("alarm.imports", {"n": number}) for number in range(24)]
    statuses = [people.settled(one.id).status for one in words]
    assert statuses.count("FAILED") == statuses.count("COMPLETED") == 12, worker.tail()
    wait_until(lambda: receiver.taken, 20, lambda: f"an alarm: {worker.tail()}")
