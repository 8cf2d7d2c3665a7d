"""The machine in the database is the machine in the code."""

import pytest

from taskdb.errors import ValueRefused
from taskdb.model.status import STARTS, TaskStatus, allowed_pairs
from taskdb.store.store import Store
from tests.cases import each
from tests.store.tasks import create, write


def test_the_history_takes_exactly_the_moves_of_the_code(store: Store) -> None:
    task_id = create(store)
    statuses: list[str | None] = [None, *TaskStatus, "NONSENSE"]
    taken = {
        (source, target)
        for source in statuses
        for target in statuses
        if _is_taken(store, task_id, source, target)
    }
    moves = {(str(source), str(target)) for source, target in allowed_pairs()}
    remarks = {(str(status), str(status)) for status in TaskStatus}
    creations = {(None, str(status)) for status in STARTS}
    assert taken == moves | remarks | creations


@each(
    "source, target",
    [
        ("", "CREATED"),
        ("", ""),
        ("CREATED", "QUEUED][CREATED>STARTED"),
        ("CREATED>QUEUED][CREATED", "STARTED"),
        ("REATED", "QUEUED"),
        ("CREATED>", "QUEUED"),
        ("CREATED", "QUEUE"),
    ],
)
def test_the_history_takes_nothing_that_only_looks_like_a_move(
    store: Store, source: str, target: str
) -> None:
    assert not _is_taken(store, create(store), source, target)


def _is_taken(store: Store, task_id: str, source: str | None, target: str | None) -> bool:
    d = store.database.dialect
    sql = (
        "INSERT INTO taskdb_event (task_id, from_status, to_status)"
        f" VALUES (:id, {d.text('source')}, {d.text('target')})"
    )
    try:
        write(store, sql, id=task_id, source=source, target=target)
    except ValueRefused:
        return False
    return True


@each("status", ["", "created", "DONE"])
def test_a_task_takes_no_status_of_its_own_making(store: Store, status: str) -> None:
    task_id = create(store)
    with pytest.raises(Exception, match="taskdb_task_is_sound"):
        write(
            store,
            "UPDATE taskdb_task SET status = :status WHERE id = :id",
            status=status,
            id=task_id,
        )


def test_no_more_runs_can_be_spared_than_there_were(store: Store) -> None:
    task_id = create(store)
    with pytest.raises(Exception, match="taskdb_task_is_sound"):
        write(store, "UPDATE taskdb_task SET spared = 1 WHERE id = :id", id=task_id)
