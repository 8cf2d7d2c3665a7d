"""Every class of drift: provoked, found with its example, and none where all is well."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from taskdb.model.adopted import AdoptedReport, ReportKind
from taskdb.model.outcome import NO_REPORT
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.doctor.finding import Drift
from taskdb.store.store import Store
from taskdb.store.tree.callback import digest_of
from tests.cases import each
from tests.store.task.test_situation import HOLDER, held, set_limit_row, take_slot, worker
from tests.store.tasks import LEASE, create, draft, queued, running, write
from tests.store.trees import fan_out


def drifts(store: Store) -> dict[str, Drift]:
    return {one.name: one for one in store.doctor.drifts(lease=LEASE)}


def ago(store: Store, table: str, column: str, seconds: float = 1_000.0) -> None:
    """Let a moment of every row of a table have been so long ago."""
    later = store.database.dialect.later("-:ago")
    write(store, f"UPDATE {table} SET {column} = {later}", ago=seconds)


def _unpublished(store: Store) -> str:
    task_id = create(store)
    ago(store, "taskdb_task", "relay_at")
    return task_id


def _publish_refused(store: Store) -> str:
    task_id = create(store)
    [item] = store.publications.find([task_id])
    store.publications.refuse([(item, "KeyError: 'no such queue'")])
    return task_id


def _message_lost(store: Store) -> str:
    worker(store)
    lost = queued(store).id
    ago(store, "taskdb_task", "queued_at")
    later = queued(store).id
    assert store.runs.claim(later, token="t", worker="w-1", max_attempts=1).granted
    return lost


def _worker_lost(store: Store) -> str:
    return running(store).id


def _worker_stale(store: Store) -> str:
    worker(store)
    running(store)
    ago(store, "taskdb_worker", "seen_at")
    return "w-1@host"


def _worker_waits(store: Store) -> str:
    worker(store)
    write(store, "UPDATE taskdb_worker SET waiting = 'complete: the disk is full'")
    return "w-1@host: complete: the disk is full"


def _finished_alone(store: Store) -> str:
    task_id = create(store)
    write(store, "UPDATE taskdb_task SET status = 'FINISHED' WHERE id = :id", id=task_id)
    return task_id


def _callback_late(store: Store) -> str:
    run = running(store)
    store.callbacks.expect(run.id, run.token, digest_of("t"), timedelta(seconds=1))
    store.callbacks.wait(run.id, run.token, NO_REPORT, [])
    ago(store, "taskdb_task", "callback_until")
    return run.id


def _slot_stale(store: Store) -> str:
    take_slot(store, "mutex:acme/stock")
    return "mutex:acme/stock"


def _held_by_a_free_mutex(store: Store) -> str:
    task_id = held(store, "mutex:acme/stock")
    ago(store, "taskdb_task", "updated_at")
    return task_id


def _held_by_a_limit_that_is_not_reached(store: Store) -> str:
    task_id = held(store, "running:type:sum")
    store.submissions.create([draft(id=HOLDER)], EVERYONE)
    take_slot(store, "running:type:sum")
    set_limit_row(store, "type", "sum", max_running=2)
    ago(store, "taskdb_task", "updated_at")
    return task_id


def _held_by_a_pause_that_is_over(store: Store) -> str:
    task_id = held(store, "paused:queue:taskdb")
    ago(store, "taskdb_task", "updated_at")
    return task_id


def _join_missing(store: Store) -> str:
    parent = fan_out(store, 1)
    write(store, "UPDATE taskdb_task SET status = 'COMPLETED' WHERE parent_id = :id", id=parent)
    return parent


def _claim_unlisted(store: Store) -> str:
    worker(store)
    run, listed = running(store), running(store)
    write(store, "UPDATE taskdb_task SET claim_token = 'mine' WHERE id = :id", id=listed.id)
    d = store.database.dialect
    write(
        store,
        f"UPDATE taskdb_worker SET claims = {d.json('claims')},"
        f" listed_before_at = {d.later(':ahead')}",
        claims=json.dumps(["mine"]),
        ahead=1.0,
    )
    return run.id


def _adopted_lost(store: Store) -> str:
    worker(store)
    lost, kept = str(uuid4()), str(uuid4())
    for task_id, runner in ((lost, "w-dead"), (kept, "w-1")):
        store.adopted.see([_begun(task_id, runner)])
    ago(store, "taskdb_task", "updated_at")
    return lost


def _begun(task_id: str, runner: str) -> AdoptedReport:
    return AdoptedReport(
        id=task_id,
        kind=ReportKind.BEGUN,
        status=TaskStatus.STARTED,
        at=datetime.now(UTC),
        attempt=1,
        type="shop.pack",
        token="t",
        worker=runner,
    )


def _queue_without_consumer(store: Store) -> str:
    worker(store, queues=("other",))
    queued(store)
    return "taskdb"


def _type_unknown(store: Store) -> str:
    worker(store, types=("other",))
    queued(store)
    return "sum"


CLASSES: dict[str, tuple[str, Callable[[Store], str]]] = {
    make.__name__.removeprefix("_"): (name or make.__name__.removeprefix("_"), make)
    for name, make in (
        ("", _unpublished),
        ("", _publish_refused),
        ("", _message_lost),
        ("", _worker_lost),
        ("", _worker_stale),
        ("", _worker_waits),
        ("", _finished_alone),
        ("", _callback_late),
        ("", _slot_stale),
        ("held_for_nothing", _held_by_a_free_mutex),
        ("held_for_nothing", _held_by_a_limit_that_is_not_reached),
        ("held_for_nothing", _held_by_a_pause_that_is_over),
        ("", _join_missing),
        ("", _claim_unlisted),
        ("", _adopted_lost),
        ("", _queue_without_consumer),
        ("", _type_unknown),
    )
}


@each("name", CLASSES, alone=True)
def test_a_class_is_found_with_its_example(store: Store, name: str) -> None:
    drift, provoke = CLASSES[name]
    assert drift not in drifts(store)
    example = provoke(store)
    found = drifts(store)[drift]
    assert (found.examples, found.count) == ((example,), 1)


def test_nothing_has_drifted_where_all_is_well(store: Store) -> None:
    worker(store)
    fan_out(store, 2)
    queued(store)
    running(store)
    create(store)
    set_limit_row(store, "queue", "taskdb")
    held(store, "paused:queue:taskdb")
    held_by_one = held(store, "mutex:acme/stock")
    ago(store, "taskdb_task", "updated_at")
    take_slot(store, "mutex:acme/stock")
    store.submissions.create([draft(id=HOLDER)], EVERYONE)
    assert held_by_one
    store.beats.renew("host/1", LEASE)
    # A database from the template has the partitions of the day it was made.
    store.partitions.create()
    assert set(drifts(store)) <= {"type_unknown"}


def test_a_message_that_a_live_worker_lists_is_not_lost(store: Store) -> None:
    lost = _message_lost(store)
    write(
        store,
        f"UPDATE taskdb_worker SET messages = {store.database.dialect.json('m')}",
        m=f'["{lost}"]',
    )
    assert "message_lost" not in drifts(store)


def test_a_message_that_others_passed_is_lost_also_when_they_are_over(store: Store) -> None:
    lost = _message_lost(store)
    write(store, "UPDATE taskdb_task SET status = 'COMPLETED' WHERE status = 'STARTED'")
    assert drifts(store)["message_lost"].examples == (lost,)


def test_a_count_goes_on_where_the_examples_end(store: Store) -> None:
    for _ in range(7):
        running(store)
    found = drifts(store)["worker_lost"]
    assert (found.count, len(found.examples)) == (7, 5)


def test_days_without_a_partition_and_what_came_for_them(postgresql_store: Store) -> None:
    store = postgresql_store
    store.partitions.create()
    assert "partition_missing" not in drifts(store)
    (last,) = write(
        store,
        "SELECT to_char((now() AT TIME ZONE 'UTC')::date + 6, 'YYYYMMDD') AS day",
    )
    write(store, f"DROP TABLE taskdb_event_{last['day']}")
    assert drifts(store)["partition_missing"].examples == (f"taskdb_event_{last['day']}",)
