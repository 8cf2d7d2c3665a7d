"""Pruning and sweeping with a row among them that cannot go: all others go."""

from datetime import timedelta
from typing import Any

import pytest

from taskdb.model.retention import Retention
from taskdb.model.status import TaskStatus as S
from taskdb.store.contract import EVERYONE
from taskdb.store.retention.prune import PruneRounds
from taskdb.store.retention.sweep import Leftovers
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep
from tests.store.alarms import alarms, fail, fold
from tests.store.poison import POISON, allow, aside, let_be_due, refuse
from tests.store.tasks import in_status, write
from tests.store.trees import fan_out

LONG = timedelta(days=400)


def old(store: Store) -> None:
    past = store.database.dialect.later("-:ago")
    for column in ("created_at", "updated_at", "ended_at"):
        write(store, f"UPDATE taskdb_task SET {column} = {past}", ago=LONG.total_seconds())


def pruning(store: Store) -> PruneRounds:
    return StoreUpkeep(store).prune_rounds(Retention.parse([]))


def left(store: Store) -> set[str]:
    return {str(one["id"]) for one in write(store, "SELECT id FROM taskdb_task")}


def test_a_task_that_cannot_be_deleted_keeps_no_other(store: Store) -> None:
    runs = [in_status(store, S.COMPLETED, name=name).id for name in ("a", POISON, "b", "c")]
    old(store)
    refuse(store, verb="DELETE")
    loop = pruning(store)
    assert loop.run(60).tasks == 3
    assert left(store) == {runs[1]}
    assert aside(store) == {("prune", runs[1])}
    assert loop.run(60).tasks == 0
    allow(store)
    let_be_due(store)
    assert loop.run(60).tasks == 1
    assert aside(store) == set()


def test_a_tree_that_cannot_be_deleted_keeps_no_other(store: Store) -> None:
    bad, good = fan_out(store, 2), fan_out(store, 2)
    write(store, "UPDATE taskdb_task SET status = 'COMPLETED', waits_for = NULL")
    write(store, "UPDATE taskdb_task SET name = 'poison' WHERE parent_id = :id", id=bad)
    old(store)
    refuse(store, verb="DELETE")
    assert pruning(store).run(60).tasks == 1
    assert good not in left(store)
    assert aside(store) == {("prune", bad)}


def test_a_worker_that_cannot_be_deleted_keeps_no_other(store: Store) -> None:
    for name in ("a", "bad", "b"):
        write(
            store,
            "INSERT INTO taskdb_worker (id, name, host, pid, seen_at, started_at, stopped_at)"
            " VALUES (:name, :name, 'h', 1, :at, :at, :at)",
            name=name,
            at="2020-01-01T00:00:00.000Z",
        )
    refuse(store, "OLD.id = 'bad'", "taskdb_worker", "DELETE")
    sweeping = StoreUpkeep(store).leftovers(None)
    assert [sweeping.workers() for _ in range(2)] == [2, 0]
    assert aside(store) == {("sweep", "bad")}


def test_a_firing_that_cannot_be_deleted_keeps_no_other(store: Store) -> None:
    ids = [f"01936e4b-7c00-7000-8000-00000000000{number}" for number in range(3)]
    for schedule_id in ids:
        write(
            store,
            "INSERT INTO taskdb_schedule_run (schedule_id, due_at, outcome)"
            " VALUES (:id, :at, 'fired')",
            id=schedule_id,
            at="2020-01-01T00:00:00.000Z",
        )
    refuse(store, f"OLD.schedule_id = '{ids[1]}'", "taskdb_schedule_run", "DELETE")
    sweeping = StoreUpkeep(store).leftovers(None)
    assert [sweeping.schedule_runs() for _ in range(2)] == [2, 0]
    assert aside(store) == {("sweep", ids[1])}


def test_a_file_that_cannot_be_removed_keeps_no_other(store: Store) -> None:
    removed: list[str] = []

    class Files:
        def older_than(self, _age: timedelta) -> Any:
            return iter(f"{part}/.part-1" for part in ("a", "bad", "b"))

        def remove(self, reference: str) -> None:
            if reference.startswith("bad"):
                raise PermissionError(reference)
            removed.append(reference)

    sweeping = Leftovers(store.database, store.aside, Files(), None)  # type: ignore[arg-type]
    assert sweeping.payloads() == (3, False)
    assert removed == ["a/.part-1", "b/.part-1"]
    assert aside(store) == {("sweep", "bad/.part-1")}


@pytest.mark.parametrize("table", ["taskdb_alarm", "taskdb_delivery"])
def test_an_alarm_that_cannot_be_deleted_keeps_no_other(store: Store, table: str) -> None:
    for kind in ("a", "bad", "b"):
        fail(store, type=kind)
    fold(store)
    desk = store.alarms
    for one in alarms(store):
        desk.resolve(one.id, EVERYONE, None, None)
    write(store, "UPDATE taskdb_alarm SET resolved_at = :at", at="2020-01-01T00:00:00.000Z")
    bad = next(one.id for one in alarms(store) if one.type == "bad")
    refuse(
        store, f"OLD.{'id' if table == 'taskdb_alarm' else 'alarm_id'} = '{bad}'", table, "DELETE"
    )
    while desk.prune(timedelta(days=1)):
        pass
    assert [one.id for one in alarms(store)] == [bad]
    assert aside(store) == {("prune_alarms", bad)}
