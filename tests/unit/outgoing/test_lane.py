"""Threads that serve targets, and the pauses between two tries."""

import threading
from datetime import timedelta

from taskdb.outgoing.lane import Lane
from taskdb.outgoing.turn import Terms
from taskdb.redaction.redaction import Redaction


def test_a_lane_runs_so_many_at_once_and_knows_its_room() -> None:
    may_end, ran = threading.Event(), []

    def work(number: int) -> None:
        may_end.wait(10)
        ran.append(number)

    lane = Lane("test", 2)
    assert lane.room == 2
    assert [lane.start(work, number) for number in range(3)] == [True, True, False]
    assert lane.room == 0
    assert not lane.join(0.05)
    may_end.set()
    assert lane.join(10)
    assert lane.room == 2
    assert sorted(ran) == [0, 1]


def test_the_pauses_grow_from_a_second_to_an_hour() -> None:
    second, hour = timedelta(seconds=1), timedelta(hours=1)
    terms = Terms(second, second, hour, hour, Redaction.parse())
    seconds = [
        [terms.delay_of(attempt).total_seconds() for _ in range(50)] for attempt in range(1, 40)
    ]
    assert all(0.8 <= one <= 1.2 for one in seconds[0])
    assert all(3.2 <= one <= 4.8 for one in seconds[2])
    assert all(2_880 <= one <= 4_320 for one in seconds[-1])
    assert len(set(seconds[-1])) > 1
