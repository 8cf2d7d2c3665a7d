"""How often a worker looks who may go next."""

import pytest

from taskdb.store.admission.release import Released
from taskdb_worker.run.slot_release import (
    _LONGEST_PAUSE_SECONDS,
    _PAUSE_SECONDS,
    _pause_after,
    _rest_after,
)


def test_looks_that_find_little_become_rare_but_not_too_rare() -> None:
    pause = _PAUSE_SECONDS
    for _ in range(10):
        before, pause = pause, _pause_after(Released(share=0.01), pause)
        assert before < pause or pause == _LONGEST_PAUSE_SECONDS
    assert pause == _LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize("share", [1 / 8, 1.0])
def test_looks_that_find_much_become_frequent(share: float) -> None:
    """A mutex has one place, and waits for its next holder."""
    pause = _LONGEST_PAUSE_SECONDS
    for _ in range(10):
        pause = _pause_after(Released(share=share), pause)
    assert pause == _PAUSE_SECONDS


def test_a_look_that_came_late_is_followed_by_the_next_however_long_it_took() -> None:
    assert _rest_after(Released(share=0.5)) < _rest_after(Released(share=0.4))
