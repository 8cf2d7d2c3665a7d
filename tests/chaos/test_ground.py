"""The ground of a cell starts again what ended by itself, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.chaos.ground import Ground
from tests.processes import RunningProcess

ENDS, STAYS = "raise SystemExit(3)", "import time; time.sleep(60)"


class _Ground(Ground):
    """Its workers run a line of Python instead of tasks."""

    line = ENDS

    def start(self, role: str, *_words: str, **_env: str) -> RunningProcess:
        assert role == "worker"
        return self.processes.python("-c", self.line)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[_Ground]:
    nowhere: Any = SimpleNamespace(port=1)
    ground = _Ground(tmp_path, nowhere, nowhere, {}, "postgresql://nowhere", "redis://nowhere/0")
    yield ground
    ground.close()


def test_a_worker_that_ended_by_itself_is_started_again_and_counted(ground: _Ground) -> None:
    assert ground.start_worker().wait() == 3
    ground.line = STAYS
    assert ground.start_again() == 1
    assert [one.is_running for one in ground.processes.started] == [False, True]
    assert ground.start_again() == 0


def test_a_worker_that_the_cell_has_killed_is_the_cells_to_replace(ground: _Ground) -> None:
    ground.line = STAYS
    ground.start_worker().kill()
    assert ground.start_again() == 0
    assert len(ground.processes.started) == 1
