"""`taskdb beat --http`: health, readiness and figures of real beats beside a real worker."""

import json
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_metrics
from tests.integration.worker_site import Site, site_of
from tests.processes import RunningProcess
from tests.servers import PostgreSQL, Redis
from tests.servers.server import free_port
from tests.waiting import wait_until

from taskdb_beat.observation.catalog import METRICS

Sample = tuple[str, frozenset[tuple[str, str]]]
AWAY = {"webhook": "https://127.0.0.1:9/", "secret": "whsec_" + "QUFB" * 8}
QUICK = {"metrics_interval_seconds": 0.2}


class Page:
    """What one beat serves."""

    def __init__(self, beat: RunningProcess, port: int) -> None:
        self.beat = beat
        self._port = port

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        response, body = self.ask(path, method, **headers)
        return response.status, body

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, str]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response, response.read().decode()
        finally:
            connection.close()

    def figures(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """Every sample, by name and labels in the order of their names."""
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_metrics(self.get("/metrics")[1]):
            for sample in family.samples:
                key = tuple(sorted(sample.labels.items()))
                found.setdefault(sample.name, {})[key] = sample.value
        return found

    def figure(self, name: str, **labels: str) -> float | None:
        return self.figures().get(name, {}).get(tuple(sorted(labels.items())))


def start_beat(site: Site, *, ready: bool = True, **settings: str) -> Page:
    port = free_port()
    beat = site.start_beat(TASKDB_HTTP=str(port), ready=ready, **settings)
    return Page(beat, port)


@pytest.fixture(params=["postgresql+redis", "embedded"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site_of(request.param, request, tmp_path_factory, **QUICK) as site:
        yield site


@pytest.fixture
def fragile(own_postgresql: PostgreSQL, own_redis: Redis, tmp_path: Path) -> Iterator[Site]:
    """A site whose servers may be stopped."""
    site = Site(tmp_path, database_url=own_postgresql.url, broker_url=own_redis.url, **QUICK)
    with ExitStack() as ending:
        ending.callback(site.client.close)
        ending.callback(site.processes.close)
        yield site


def test_the_figures_agree_with_the_rows(site: Site) -> None:
    channels = json.dumps({"ops": "log", "away": AWAY})
    page = start_beat(site, TASKDB_ALARM_CHANNELS=channels)
    wait_until(lambda: page.figure("taskdb_reporter") == 1)
    site.client.subscriptions.create("hook", "log")
    worker = site.start_worker("-c", "1")
    kinds = ["ends.returns"] * 3 + ["ends.raises"] + ["ends.raises_once"]
    tasks = [site.submit(kind) for kind in kinds]
    for one in tasks:
        site.settled(one.id)
    later = site.submit("ends.returns", delay=3_600)

    def agrees() -> bool:
        return page.figure("taskdb_tasks", **told("SCHEDULED", later.type)) == 1

    wait_until(agrees, describe=lambda: page.get("/metrics")[1])
    rows = {key: count for key, count in history_of(site).items() if key[2] != "QUEUED"}
    # Counters come behind the oldest transaction that is open, which gauges do not wait for.
    wait_until(lambda: moves_of(page) == rows, describe=lambda: f"{rows}, not {moves_of(page)}")
    figures = page.figures()
    assert value(figures, "taskdb_tasks_created_total", "ends.returns") == 4
    assert value(figures, "taskdb_retries_total", "ends.raises_once") == 1
    assert value(figures, "taskdb_retries_total", "ends.returns") == 0
    assert value(figures, "taskdb_task_run_seconds_count", "ends.raises_once") == 2
    assert value(figures, "taskdb_task_wait_seconds_count", "ends.returns") == 3
    assert figures["taskdb_workers"] == {(("state", "live"),): 1, (("state", "stale"),): 0}
    assert figures["taskdb_queue_workers"] == {(("queue", "taskdb"),): 1}
    assert figures["taskdb_queue_backlog_tasks"] == {(("queue", "taskdb"),): 0}
    assert page.get("/healthz") == page.get("/readyz") == (200, "ok\n")

    check_who_is_told(page)

    worker.signal(signal.SIGSTOP)
    one = site.submit("ends.returns")
    wait_until(lambda: (page.figure("taskdb_queue_oldest_seconds", queue="taskdb") or 0) > 0.5)
    assert page.figure("taskdb_queue_backlog_tasks", queue="taskdb") == 1
    worker.signal(signal.SIGCONT)
    site.settled(one.id)
    wait_until(lambda: page.figure("taskdb_queue_backlog_tasks", queue="taskdb") == 0)
    check_form(page)


def check_who_is_told(page: Page) -> None:
    """One task failed; one channel took the message, and one cannot."""
    wait_until(lambda: page.figure("taskdb_alarm_messages", channel="ops") == 0)
    wait_until(lambda: page.figure("taskdb_alarm_messages", channel="away") == 1)
    wait_until(
        lambda: (page.figure("taskdb_alarm_message_oldest_seconds", channel="away") or 0) > 0
    )
    figures = page.figures()
    told = {dict(key)["state"]: value for key, value in figures["taskdb_subscriptions"].items()}
    assert told == {"active": 1, "failing": 0, "paused": 0, "dead": 0}
    some = {key: value for key, value in figures["taskdb_alarms"].items() if value}
    assert some == {(("severity", "error"), ("state", "open")): 1}
    assert figures["taskdb_alarms_unrouted"] == {(): 0}
    wait_until(lambda: page.figure("taskdb_subscription_lag_seconds") == 0)


def check_form(page: Page) -> None:
    """Everything of ours stands in the catalog, in either format, and says nothing else."""
    known = {metric.name: set(metric.labels) for metric in METRICS}
    response, body = page.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert response.getheader("Content-Type", "").startswith("application/openmetrics-text")
    families = [one for one in open_metrics(body) if one.name.startswith("taskdb_")]
    for family in families:
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == known[family.name], sample
    always = {"taskdb_tasks_held"}  # nothing is held
    assert {family.name for family in families} == set(known)
    assert {one.name for one in families if not one.samples} <= always
    assert "s3cret" not in body and "127.0.0.1" not in body
    assert page.get("/nothing")[0] == page.get("/")[0] == 404
    assert page.get("/metrics", "POST")[0] == page.get("/healthz", "DELETE")[0] == 405
    head, empty = page.ask("/healthz", "HEAD")
    assert (head.status, empty, head.getheader("Server")) == (200, "", "taskdb")
    assert not re.search(r"python|psycopg|postgres", str(head.headers), re.IGNORECASE)


def moves_of(page: Page) -> dict[tuple[str, str, str], float]:
    moves = page.figures().get("taskdb_task_moves_total", {})
    return {
        (labels["type"], labels["queue"], labels["status"]): value
        for labels, value in ((dict(key), value) for key, value in moves.items())
        if labels["status"] != "QUEUED"
    }


def told(status: str, kind: str) -> dict[str, str]:
    return {"status": status, "type": kind, "queue": "taskdb"}


def value(figures: Mapping[str, Any], name: str, kind: str) -> float | None:
    found: float | None = figures[name].get((("queue", "taskdb"), ("type", kind)))
    return found


def history_of(site: Site) -> Counter[tuple[str, str, str]]:
    rows = site.query(
        "SELECT t.type, t.queue, e.to_status FROM taskdb_event AS e"
        " JOIN taskdb_task AS t ON t.id = e.task_id"
        " WHERE e.from_status IS NULL OR e.from_status <> e.to_status"
    )
    return Counter((row["type"], row["queue"], row["to_status"]) for row in rows)


def test_of_two_beats_one_reports_and_the_other_follows_it(site: Site) -> None:
    first = start_beat(site)
    wait_until(lambda: first.figure("taskdb_reporter") == 1)
    second = start_beat(site)
    site.submit("ends.returns")
    wait_until(lambda: created(first) == 1)
    assert second.figure("taskdb_reporter") == 0
    of_its_own = {metric.name for metric in METRICS if metric.whose == "every beat"}
    wait_until(lambda: {one for one in second.figures() if one.startswith("taskdb_")} == of_its_own)
    first.beat.terminate()
    site.submit("ends.returns")
    wait_until(lambda: second.figure("taskdb_reporter") == 1)
    # What it counted is what the first one has not.
    wait_until(lambda: created(second) == 1)


def created(page: Page) -> float:
    return sum(page.figures().get("taskdb_tasks_created_total", {}).values())


def test_a_beat_without_its_database_is_alive_and_not_ready(
    fragile: Site, own_postgresql: PostgreSQL
) -> None:
    page = start_beat(fragile)
    wait_until(lambda: page.figure("taskdb_reporter") == 1)
    own_postgresql.freeze()
    wait_until(lambda: page.get("/readyz")[0] == 503)
    began = time.monotonic()
    assert page.get("/readyz") == (503, "database is not ready\n")
    assert page.get("/healthz") == (200, "ok\n")
    assert page.figure("taskdb_dependency_up", dependency="database") == 0
    assert page.figure("taskdb_dependency_up", dependency="broker") == 1
    assert time.monotonic() - began < 5
    own_postgresql.thaw()
    wait_until(lambda: page.get("/readyz") == (200, "ok\n"))
    wait_until(lambda: page.figure("taskdb_reporter") == 1)
    assert "dependency.recovered" in page.beat.output


def test_a_beat_without_its_broker_or_its_schema_is_not_ready(
    fragile: Site, own_redis: Redis
) -> None:
    page = start_beat(fragile)
    own_redis.stop()
    wait_until(lambda: page.get("/readyz") == (503, "broker is not ready\n"))
    own_redis.start()
    wait_until(lambda: page.get("/readyz") == (200, "ok\n"))
    fragile.query("DELETE FROM taskdb_version")
    wait_until(lambda: page.get("/readyz") == (503, "database is not ready\n"))
    assert "run `taskdb migrate`" in page.beat.output
    check_taken_port(fragile)


def check_taken_port(site: Site) -> None:
    """A port that somebody has is an error before anything begins."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        beat = site.start_beat(TASKDB_HTTP=f"127.0.0.1:{port}", ready=False)
        assert beat.wait() != 0
    assert f"cannot serve HTTP on 127.0.0.1:{port} (Address already in use)" in beat.output
    assert "beat.started" not in beat.output
