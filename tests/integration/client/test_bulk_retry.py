"""A retry by filter runs again what ended badly, and nothing else unless it is forced."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cases import each
from tests.integration.submit_site import client
from tests.store.tasks import DONE, claim, in_status
from tests.store.trees import end_all, part_ids

from taskdb import InvalidInput, TaskDB, TaskStatus
from taskdb.model.status import MOVES, RETRIED_IN_BULK
from taskdb.store.contract import EVERYONE

S = TaskStatus


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with client(store_url, tmp_path) as taskdb:
        yield taskdb


def test_a_bulk_retry_runs_only_what_ended_badly_unless_it_is_forced(taskdb: TaskDB) -> None:
    runs = {status: in_status(taskdb.store, status, type="plus") for status in TaskStatus}
    done = taskdb.submit_fan_out("plus", [{"a": 1}]).id
    end_all(taskdb.store, part_ids(taskdb.store, done))
    taskdb.store.joins.join(done)
    assert taskdb.retry_tasks(type="plus") == len(RETRIED_IN_BULK)
    for status, run in runs.items():
        is_again = taskdb.get_task(run.id).status is not status
        assert is_again == (status in RETRIED_IN_BULK), status
    assert taskdb.get_task(done).status is S.COMPLETED
    rest = MOVES["retry"].sources - RETRIED_IN_BULK
    assert taskdb.retry_tasks(type="plus", force=True) == len(rest) + 1
    for status in rest:
        assert taskdb.get_task(runs[status].id).status in {S.CREATED, S.QUEUED}
    assert taskdb.get_task(done).status is S.PROCESSING


@each("status", ["COMPLETED", "ERRORED", ["FAILED", "SCHEDULED"]], alone=True)
def test_a_status_that_only_force_runs_again_is_refused_by_name(
    taskdb: TaskDB, status: str | list[str]
) -> None:
    with pytest.raises(InvalidInput, match="force it"):
        taskdb.retry_tasks(status=status)


def test_what_completes_after_it_was_chosen_is_not_run_again(
    taskdb: TaskDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = taskdb.store
    run = in_status(store, S.FAILED, type="plus", queue="taskdb")
    in_trees = store.bulk._in_trees

    def complete_first(ids: list[str]) -> set[str]:
        store.interventions.retry(run.id, EVERYONE)
        assert claim(store, run.id, "token-2")
        store.outcomes.complete(run.id, "token-2", DONE)
        return in_trees(ids)

    monkeypatch.setattr(store.bulk, "_in_trees", complete_first)
    assert taskdb.retry_tasks(type="plus") == 0
    assert taskdb.get_task(run.id).status is S.COMPLETED
