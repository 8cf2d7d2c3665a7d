"""Sweeping: workers long gone, empty days of history, and files that no row names."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from uuid_utils import uuid7

from taskdb.model.clock import FixedClock
from taskdb.model.status import TaskStatus as S
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.types import as_moment
from taskdb.store.payload.payload import FolderPayloadStore, Payload, Payloads
from taskdb.store.retention import sweep as module
from taskdb.store.retention.sweep import Leftovers
from taskdb.store.store import Store
from taskdb.store.task.worker import Held, WorkerRecord
from tests.store.tasks import OOPS, claim, create, draft, write

DAY = timedelta(days=1)
MONTH = 30 * DAY


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def payloads(tmp_path: Path) -> Payloads:
    return Payloads(FolderPayloadStore(tmp_path / "payloads"), 10, 10_000)


@pytest.fixture
def store(store_url: str, clock: FixedClock) -> Iterator[Store]:
    with Store(store_url, clock=clock).closing() as opened:
        yield opened


@pytest.fixture
def sweeping(store: Store, payloads: Payloads) -> Leftovers:
    return Leftovers(store.database, store.aside, payloads, MONTH)


# --- workers --------------------------------------------------------------------------------------


def test_a_worker_unseen_for_a_week_is_forgotten_once_nothing_names_it(
    store: Store, clock: FixedClock, sweeping: Leftovers
) -> None:
    workers = store.workers
    for name in ("stopped", "lost", "busy", "alive"):
        workers.announce(WorkerRecord(name, name, "host", 1))
    workers.stopped("stopped")
    task_id = create(store)
    assert claim(store, task_id, worker="busy")
    clock.advance(7 * DAY)
    assert sweeping.workers() == 0
    clock.advance(timedelta(seconds=1))
    workers.renew(WorkerRecord("alive", "alive", "host", 1), Held())
    assert sweeping.workers() == 2
    assert {row["id"] for row in write(store, "SELECT id FROM taskdb_worker")} == {"busy", "alive"}
    store.outcomes.complete(task_id, "token-1", Payload(None, None))
    assert sweeping.workers() == 1


def test_old_firings_are_forgotten_but_for_the_last_one(
    store: Store, clock: FixedClock, sweeping: Leftovers
) -> None:
    kept, gone = str(uuid7()), str(uuid7())
    write(
        store,
        "INSERT INTO taskdb_schedule (id, name, type, kind, interval_seconds)"
        " VALUES (:id, 'often', 'sum', 'interval', 60)",
        id=kept,
    )
    days = [clock.bound() + n * DAY for n in range(3)]
    for schedule_id in (kept, gone):
        for day in days:
            write(
                store,
                "INSERT INTO taskdb_schedule_run (schedule_id, due_at, outcome)"
                f" VALUES (:id, {store.database.dialect.moment('at')}, 'fired')",
                id=schedule_id,
                at=store.database.dialect.spell(day),
            )
    clock.advance(91 * DAY)
    assert sweeping.schedule_runs() == 2
    clock.advance(MONTH)
    assert sweeping.schedule_runs() == 3
    assert sweeping.schedule_runs() == 0
    (left,) = write(store, "SELECT schedule_id, due_at FROM taskdb_schedule_run")
    assert (str(left["schedule_id"]), as_moment(left["due_at"])) == (kept, days[-1])


# --- days of history ------------------------------------------------------------------------------


@pytest.fixture
def days(postgresql_url: str, clock: FixedClock) -> Iterator[Store]:
    """A history with partitions of three days, of which the second has an event."""
    with Store(postgresql_url, clock=clock).closing() as store:
        for number in (1, 2, 3):
            write(
                store,
                f"CREATE TABLE taskdb_event_2025010{number} PARTITION OF taskdb_event"
                f" FOR VALUES FROM ('2025-01-0{number}') TO ('2025-01-0{number + 1}')",
            )
        write(
            store,
            "INSERT INTO taskdb_event (task_id, to_status, at)"
            " VALUES (gen_random_uuid(), 'CREATED', '2025-01-02T12:00Z')",
        )
        yield store


def partitions_of_sweep(store: Store, payloads: Payloads) -> list[str]:
    return Leftovers(store.database, store.aside, payloads, MONTH).partitions()


def test_an_empty_day_past_the_longest_keep_is_dropped(
    days: Store, clock: FixedClock, payloads: Payloads
) -> None:
    clock.at = datetime(2025, 1, 31, 12, tzinfo=UTC)
    assert partitions_of_sweep(days, payloads) == []
    clock.advance(DAY)
    assert partitions_of_sweep(days, payloads) == ["taskdb_event_20250101"]
    clock.advance(MONTH)
    assert partitions_of_sweep(days, payloads) == ["taskdb_event_20250103"]
    write(days, "DELETE FROM taskdb_event")
    assert partitions_of_sweep(days, payloads) == ["taskdb_event_20250102"]
    (row,) = write(days, "SELECT to_regclass('taskdb_event_default')::text AS name")
    assert row["name"] == "taskdb_event_default"


def test_a_day_in_use_is_left_to_the_next_time_and_nobody_waits_long(
    days: Store, payloads: Payloads
) -> None:
    with psycopg.connect(days.database.url.replace("+psycopg", "")) as other:
        other.execute("SELECT FROM taskdb_event LIMIT 1")
        began = time.monotonic()
        assert partitions_of_sweep(days, payloads) == []
        assert time.monotonic() - began < 5
    assert len(partitions_of_sweep(days, payloads)) == 2


def test_sqlite_has_no_days(sqlite_url: str, payloads: Payloads) -> None:
    with Store(sqlite_url).closing() as store:
        assert partitions_of_sweep(store, payloads) == []


# --- files ----------------------------------------------------------------------------------------


def make_old(folder: Path) -> None:
    before = time.time() - 2 * 86_400
    for path in folder.rglob("*"):
        os.utime(path, (before, before))


def file_of(payloads: Payloads, name: str) -> str:
    reference = payloads.pack("x" * 20, name, "it").reference
    assert reference is not None
    return reference


def test_only_files_that_no_row_names_are_removed(
    store: Store, sweeping: Leftovers, payloads: Payloads, tmp_path: Path
) -> None:
    folder = tmp_path / "payloads"
    parent, step, next_step = (str(uuid7()) for _ in range(3))
    result = file_of(payloads, f"{step}-result-1")
    last = file_of(payloads, f"{next_step}-result-1")
    own = file_of(payloads, f"{parent}-input")
    adopted = file_of(payloads, f"{uuid7()}-input")
    kept = {result, last, own, adopted}
    store.submissions.create(
        [
            draft(id=parent, input=None, input_ref=own),
            draft(id=step, parent_id=parent, position=1, input=None, input_ref=adopted),
            # The result of one step is the input of the next, and that of the last its parent's.
            draft(id=next_step, parent_id=parent, position=2, input=None, input_ref=result),
        ],
        EVERYONE,
    )
    write(store, "UPDATE taskdb_task SET result_ref = :ref WHERE id = :id", ref=last, id=parent)
    orphans = {
        file_of(payloads, f"{uuid7()}-input"),
        file_of(payloads, f"{step}-result-2"),
    }
    foreign = folder / "2026-01-01" / "notes.txt"
    foreign.parent.mkdir()
    foreign.write_text("not ours")
    half = folder / next(iter(kept)).split("/")[0] / ".part-abc"
    half.write_text("half")
    make_old(folder)
    young = file_of(payloads, f"{uuid7()}-input")
    assert sweeping.payloads() == (len(orphans) + 1, False)
    found = {str(path.relative_to(folder)) for path in folder.glob("*/*")}
    assert found == kept | {young, "2026-01-01/notes.txt"}


def test_the_input_of_a_task_that_was_submitted_again_is_kept(
    store: Store, sweeping: Leftovers, payloads: Payloads, tmp_path: Path
) -> None:
    """Its file was written for a row that never was."""
    task_id = create(store, unique_key="k")
    assert claim(store, task_id)
    assert store.outcomes.fail(task_id, "token-1", OOPS) is S.FAILED
    again = str(uuid7())
    reference = file_of(payloads, f"{again}-input")
    (created,) = store.submissions.create(
        [draft(id=again, unique_key="k", input=None, input_ref=reference)], EVERYONE
    )
    assert created.id == task_id
    make_old(tmp_path / "payloads")
    assert sweeping.payloads() == (0, False)


def test_files_are_swept_some_at_a_time(
    store: Store,
    sweeping: Leftovers,
    payloads: Payloads,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    for _ in range(3):
        file_of(payloads, f"{uuid7()}-input")
    make_old(tmp_path / "payloads")
    assert [sweeping.payloads() for _ in range(3)] == [(2, True), (1, False), (0, False)]
