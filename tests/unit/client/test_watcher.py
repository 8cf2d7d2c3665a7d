"""The watcher: one query for all who wait, none while nobody does."""

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import wait
from itertools import pairwise

import pytest
from structlog.testing import capture_logs
from tests.waiting import wait_until

from taskdb.client.wait.watcher import LOOK_SECONDS, Watcher
from taskdb.errors import DatabaseUnreachable, WaitInterrupted
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Scope


class Rows:
    """Statuses that a test sets; it notes each look, and when."""

    def __init__(self) -> None:
        self.known: dict[str, TaskStatus] = {}
        self.looks: list[tuple[float, int]] = []
        self.error: Exception | None = None

    def statuses(self, ids: Iterable[str], scope: Scope) -> Mapping[str, TaskStatus]:
        wanted = list(ids)
        self.looks.append((time.monotonic(), len(wanted)))
        if self.error is not None:
            raise self.error
        return {one: self.known[one] for one in wanted if one in self.known}


@pytest.fixture
def rows() -> Rows:
    return Rows()


def is_at_rest(watcher: Watcher) -> bool:
    return not any(one.name == "taskdb-watcher" for one in threading.enumerate())


def test_a_thousand_who_wait_cost_one_query_a_look(rows: Rows) -> None:
    watcher = Watcher(rows)
    ids = [f"task-{number}" for number in range(1_000)]
    rows.known = dict.fromkeys(ids, TaskStatus.STARTED)
    futures = [watcher.watch(one) for one in ids]
    # On a busy machine the first look comes before the last of them waits.
    wait_until(lambda: [count for _, count in rows.looks].count(1_000) == 3)
    rows.known = dict.fromkeys(ids, TaskStatus.COMPLETED)
    done, _ = wait(futures, timeout=10)
    assert {one.result() for one in done} == {TaskStatus.COMPLETED} and len(done) == 1_000
    counts = [count for _, count in rows.looks]
    assert counts[counts.index(1_000) :] == [1_000] * counts.count(1_000)
    moments = [at for at, _ in rows.looks]
    assert all(later - sooner >= LOOK_SECONDS for sooner, later in pairwise(moments))
    wait_until(lambda: is_at_rest(watcher))


def test_nobody_looks_once_nobody_waits(rows: Rows) -> None:
    watcher = Watcher(rows)
    rows.known = {"a": TaskStatus.QUEUED}
    first, second = watcher.watch("a"), watcher.watch("a")
    wait_until(lambda: rows.looks)
    watcher.leave("a", first)
    looks = len(rows.looks)
    wait_until(lambda: len(rows.looks) > looks)
    watcher.leave("a", second)
    wait_until(lambda: is_at_rest(watcher))
    assert not first.done() and not second.done()


def test_a_task_that_is_gone_is_told_as_none_and_halted_counts_as_settled(rows: Rows) -> None:
    watcher = Watcher(rows)
    rows.known = {"halted": TaskStatus.HALTED}
    assert watcher.watch("gone").result(5) is None
    assert watcher.watch("halted").result(5) is TaskStatus.HALTED


def test_the_database_may_be_away_for_a_while(rows: Rows) -> None:
    watcher = Watcher(rows)
    rows.error = DatabaseUnreachable("away")
    with capture_logs() as logs:
        future = watcher.watch("a")
        wait_until(lambda: len(rows.looks) >= 3)
        rows.known = {"a": TaskStatus.FAILED}
        rows.error = None
        assert future.result(5) is TaskStatus.FAILED
    assert [one["event"] for one in logs] == ["wait.delayed"]


def test_an_error_that_nobody_expects_is_told_to_all_who_wait(rows: Rows) -> None:
    watcher = Watcher(rows)
    rows.error = ZeroDivisionError()
    for future in [watcher.watch("a"), watcher.watch("b")]:
        with pytest.raises(ZeroDivisionError):
            future.result(5)


def test_closing_ends_every_wait_and_the_next_begins_anew(rows: Rows) -> None:
    watcher = Watcher(rows)
    future = watcher.watch("a")
    watcher.close()
    assert is_at_rest(watcher)
    with pytest.raises(WaitInterrupted, match="is not affected"):
        future.result(0)
    rows.known = {"a": TaskStatus.CANCELED}
    assert watcher.watch("a").result(5) is TaskStatus.CANCELED
    watcher.close()


def test_who_gave_up_does_not_disturb_the_others(rows: Rows) -> None:
    watcher = Watcher(rows)
    rows.known = {"a": TaskStatus.COMPLETED}
    gone, there = watcher.watch("a"), watcher.watch("a")
    assert gone.cancel()
    assert there.result(5) is TaskStatus.COMPLETED
