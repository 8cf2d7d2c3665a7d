"""Loops: no pass for ever, no pass unnoticed, and how each of them does."""

import threading
import time

from structlog.testing import capture_logs
from tests.waiting import wait_until

from taskdb.errors import BrokerUnreachable
from taskdb_beat.loops.loop import Health, Loop


def test_a_loop_tells_how_it_does() -> None:
    fails = threading.Event()

    def work() -> bool:
        if fails.is_set():
            message = "away"
            raise BrokerUnreachable(message)
        return False

    loop = Loop("relay", work, 1.0)
    assert loop.health == Health(None, 0, None)
    began = time.monotonic()
    loop.run_once()
    good = loop.health
    assert good.last_success_at is not None and good.last_success_at >= began
    assert good.errors_in_row == 0
    assert good.last_pass_seconds is not None and 0 <= good.last_pass_seconds < 5
    fails.set()
    for _ in range(3):
        loop.run_once()
    assert (loop.health.last_success_at, loop.health.errors_in_row) == (good.last_success_at, 3)
    fails.clear()
    loop.run_once()
    assert loop.health.errors_in_row == 0
    assert (loop.health.last_success_at or 0) > good.last_success_at


def test_a_pass_past_its_time_limit_is_logged_also_when_it_fails() -> None:
    def fail() -> bool:
        raise RuntimeError

    with capture_logs() as said:
        Loop("quick", lambda: False, 1.0).run_once()
        Loop("slow", lambda: False, 1.0, time_limit_seconds=-1.0).run_once()
        Loop("broken", fail, 1.0, time_limit_seconds=-1.0).run_once()
    slow = [line for line in said if line["event"] == "loop.overrun"]
    assert [line["loop"] for line in slow] == ["slow", "broken"]
    assert all(line["seconds"] >= 0 for line in slow)


def test_a_loop_that_always_has_more_to_do_pauses_now_and_then() -> None:
    passes = []
    loop = Loop("busy", lambda: passes.append(1) is None, 60, busy_seconds=0.0)
    paused = threading.Event()
    wait = loop._stop.wait

    def noted(seconds: float | None = None) -> bool:
        assert seconds is not None and seconds <= 5
        paused.set()
        return wait(seconds)

    loop._stop.wait = noted  # type: ignore[method-assign]
    loop.start()
    assert paused.wait(5)
    loop.stop(5)
    assert passes == [1]
    assert loop._thread is not None and not loop._thread.is_alive()


def test_passes_with_more_to_do_follow_each_other_at_once() -> None:
    left = iter([True] * 50 + [False] * 1_000)
    passes: list[bool] = []

    def work() -> bool:
        passes.append(next(left))
        return passes[-1]

    loop = Loop("busy", work, 60)
    loop.start()
    wait_until(lambda: False in passes, 5)
    loop.stop(5)
    assert passes == [True] * 50 + [False]
