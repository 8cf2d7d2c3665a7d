"""How often a process asks which parts are open: once an interval, however many end in it."""

import time
from types import SimpleNamespace
from typing import Any

from tests.waiting import wait_until

from taskdb.settings.settings import Settings
from taskdb.store.tree.join import PartsLeft
from taskdb_worker import chord
from taskdb_worker.run.tracked_task import ENDED, Part

INTERVAL = chord._INTERVAL_SECONDS


class Asked:
    """Stands where the rows are asked: many parts are open, and when that was asked is kept."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.execution = self
        self.taskdb = SimpleNamespace(settings=Settings.load({}))

    def part_ended(self, parent_id: str, *, badly: bool) -> PartsLeft:
        assert parent_id == "parent" and not badly
        self.at.append(time.monotonic())
        return PartsLeft(1_000, is_held=False)


def test_parts_that_end_all_the_time_are_asked_about_once_an_interval() -> None:
    asked = Asked()
    ended: Any = chord._PartEnded(SimpleNamespace(), asked)  # type: ignore[arg-type]
    request = SimpleNamespace(chord=Part("parent", "taskdb"), **{ENDED: True})
    began = last = time.monotonic()
    while last < began + 10 * INTERVAL:
        ended(request, "SUCCESS")
        last = time.monotonic()
    wait_until(lambda: asked.at[-1] > last, 5)
    # Between two looks is an interval; the first part asks at once.
    gaps = [after - before for before, after in zip(asked.at[:-1], asked.at[1:], strict=True)]
    assert all(gap > INTERVAL * 0.9 for gap in gaps[1:]), gaps
    # When nothing ends any more there is no thread that looks.
    wait_until(lambda: ended._thread is None, 5)
