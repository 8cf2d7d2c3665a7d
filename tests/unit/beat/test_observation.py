"""What a beat shows of itself: labels in bounds, loops that turn, questions that hang."""

import socket
import threading
import time
from contextlib import ExitStack, closing
from http import HTTPStatus
from http.client import HTTPConnection

import pytest
from tests.waiting import wait_until

from taskdb.errors import BrokerUnreachable, SettingsError
from taskdb.model.status import TaskStatus as S
from taskdb.settings.location import Address
from taskdb.settings.settings import Settings
from taskdb.store.doctor.statistics import RUN_SECONDS, WAIT_SECONDS, Durations, MoveCounts
from taskdb_beat.loops.loop import Loop
from taskdb_beat.observation import health as health_module
from taskdb_beat.observation import readiness as readiness_module
from taskdb_beat.observation import server as server_module
from taskdb_beat.observation.catalog import METRICS
from taskdb_beat.observation.health import Health
from taskdb_beat.observation.label import Labels
from taskdb_beat.observation.readiness import Probe
from taskdb_beat.observation.server import Answer, Server
from taskdb_beat.observation.totals import Totals


def none(bounds: tuple[float, ...]) -> Durations:
    return Durations(0, 0.0, (0,) * len(bounds))


def happened(type: str, number: int = 1, **values: object) -> MoveCounts:
    given = {
        "type": type,
        "queue": "taskdb",
        "tenant": "acme",
        "source": S.CREATED,
        "target": S.QUEUED,
        "is_rescue": False,
        "is_crash": False,
        "number": number,
        "waits": none(WAIT_SECONDS),
        "runs": none(RUN_SECONDS),
    }
    return MoveCounts(**{**given, **values})  # type: ignore[arg-type]


# --- labels and sums ------------------------------------------------------------------------------


def test_the_first_values_of_a_label_keep_their_names() -> None:
    labels = Labels(2)
    assert [labels.named("type", name) for name in "abcab"] == ["a", "b", "other", "a", "b"]
    assert labels.named("queue", "c") == "c"
    assert labels.known("type") == {"a", "b"}


def test_what_is_beyond_the_bound_is_counted_together() -> None:
    totals = Totals(Labels(2), tenants=False)
    totals.add([happened(name, number=2) for name in ("a", "b", "c", "d")])
    totals.add([happened("c")])
    assert totals.counters["taskdb_task_moves"] == {
        ("QUEUED", "a", "taskdb"): 2,
        ("QUEUED", "b", "taskdb"): 2,
        ("QUEUED", "other", "taskdb"): 5,
    }


def test_tenants_are_labels_only_where_they_are_wanted() -> None:
    totals = Totals(Labels(9), tenants=True)
    totals.add([happened("a", source=None, target=S.CREATED)])
    assert totals.counters["taskdb_tasks_created"] == {("a", "taskdb", "acme"): 1}
    assert totals.counters["taskdb_retries"] == {("a", "taskdb"): 0}


def test_a_histogram_adds_up() -> None:
    totals = Totals(Labels(9), tenants=False)
    spread = Durations(3, 7.5, (0, 1, *(3,) * (len(WAIT_SECONDS) - 2)))
    totals.add([happened("a", waits=spread), happened("a", waits=spread)])
    waits = totals.histograms["taskdb_task_wait_seconds"]["a", "taskdb"]
    assert waits.seconds == 15
    assert waits.buckets()[:3] == [("0.1", 0.0), ("0.5", 2.0), ("1.0", 6.0)]
    assert waits.buckets()[-1] == ("+Inf", 6)


def test_names_are_those_that_prometheus_recommends() -> None:
    for metric in METRICS:
        assert metric.name.startswith("taskdb_")
        assert not metric.name.endswith("_total")
        assert set(metric.labels).isdisjoint({"le", "instance", "job"})
        if metric.kind == "histogram":
            assert metric.name.endswith("_seconds")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


# --- health ---------------------------------------------------------------------------------------


def test_loops_that_turn_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop("relay", lambda: False, 0.5)
    health = Health([loop], lambda: True)
    assert health.stalled() == []
    loop.run_once()
    monkeypatch.setattr(health_module, "LONG_SECONDS", -1.5)
    (line,) = health.stalled()
    assert line.startswith("loop relay has not succeeded for 0 s")


def test_a_pass_that_does_not_end_is_told_apart_from_passes_that_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> bool:
        raise ZeroDivisionError

    hangs, fails = Loop("hangs", lambda: False, 0.001), Loop("fails", fail, 0.001)
    health = Health([hangs, fails], lambda: False)
    fails.run_once()
    fails.run_once()
    monkeypatch.setattr(health_module, "LONG_SECONDS", -1.0)
    first, second = health.stalled()
    assert "loop hangs" in first and "does not end" in first
    assert "loop fails" in second and "2 passes failed" in second


def test_an_outage_is_no_reason_to_start_a_beat_anew_unless_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away() -> bool:
        message = "away"
        raise BrokerUnreachable(message)

    is_up = threading.Event()
    loop = Loop("relay", away, 0.001)
    health = Health([loop], is_up.is_set)
    loop.run_once()
    monkeypatch.setattr(health_module, "LONG_SECONDS", -1.0)
    assert health.stalled() == []
    is_up.set()
    assert len(health.stalled()) == 1


def test_a_loop_that_seldom_runs_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "LONG_SECONDS", 0.0)
    assert Health([Loop("prune", lambda: False, 3_600)], lambda: True).stalled() == []


# --- readiness ------------------------------------------------------------------------------------


def test_an_answer_counts_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    # Longer than any pause of a busy machine between two lines of this test.
    monkeypatch.setattr(readiness_module, "_KEPT_SECONDS", 60.0)
    asked: list[int] = []
    probe = Probe(lambda: asked.append(1))
    assert probe.is_up_lately() is None
    assert probe.wrong() is None
    assert probe.wrong() is None
    assert probe.is_up_lately() is True
    assert len(asked) == 1


def test_a_question_that_hangs_is_asked_by_one_thread_and_answered_in_time() -> None:
    go, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        go.wait(20)

    probe = Probe(hang, 0.05)
    began = time.monotonic()
    for _ in range(3):
        assert probe.wrong() == "no answer within 0.05 s"
        probe._answered_at = float("-inf")
    assert time.monotonic() - began < 5
    assert asked == [1]
    go.set()
    wait_until(lambda: probe.wrong() is None)


def test_whatever_is_raised_is_what_is_wrong() -> None:
    def fail() -> None:
        raise OSError(5, "broken")

    probe = Probe(fail)
    assert probe.wrong() == "OSError: [Errno 5] broken"
    assert probe.is_up_lately() is False


# --- the server ---------------------------------------------------------------------------------


def test_who_says_nothing_and_who_comes_in_crowds_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module._Handler, "timeout", 1.0)
    server = Server(
        Address("127.0.0.1", 0), {"/a": lambda _: Answer.of(HTTPStatus.OK, "a" * 9_000)}
    )
    server.start()

    def status() -> int:
        line = HTTPConnection("127.0.0.1", server.port, timeout=5)
        with closing(line):
            line.request("GET", "/a?x=1")
            return line.getresponse().status

    try:
        with ExitStack() as silent:
            for _ in range(16):
                line = silent.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                line.sendall(b"GET /")
            wait_until(lambda: status() == 503)
            # Those who are silent are hung up on.
            wait_until(lambda: status() == 200)
    finally:
        server.stop()
    with pytest.raises(ConnectionRefusedError):
        status()


def test_a_page_that_breaks_breaks_nothing_else() -> None:
    def broken(_accept: str) -> Answer:
        raise ZeroDivisionError

    server = Server(Address("127.0.0.1", 0), {"/broken": broken})
    server.start()
    try:
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=5)) as line:
            line.request("GET", "/broken")
            answer = line.getresponse()
            assert (answer.status, answer.read()) == (500, b"broken: see the log\n")
    finally:
        server.stop()


# --- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9540", ("127.0.0.1", 9540)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("beat-1.local:65535", ("beat-1.local", 65535)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text: str, address: tuple[str, int]) -> None:
    assert Settings.load({"TASKDB_HTTP": text}).http_address == address
    assert Address.parse(str(Address(*address))) == address


@pytest.mark.parametrize("text", ["abc", "host:", ":80", "1.2.3.4:70000", "::1:80", "80/x", "-1"])
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(SettingsError, match=r"TASKDB_HTTP.*write PORT, HOST:PORT or \[IPv6\]:PORT"):
        Settings.load({"TASKDB_HTTP": text})
