"""The processes of a cell: `python -m tests.chaos.role submitter | worker | beat`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from tests.chaos import hold, tasks
from tests.chaos.cell import Load
from tests.chaos.journal import folder, note

import taskdb
from taskdb.settings.settings import Settings
from taskdb.store.contract import Scope
from taskdb.store.tree.submit import Submissions
from taskdb_beat.command import run_beat
from taskdb_worker.command import run_worker

LOAD, DELAY, BLOCKERS, TO_RELAY = "CHAOS_LOAD", "CHAOS_DELAY", "CHAOS_BLOCKERS", "CHAOS_TO_RELAY"
BEGIN, READY, SUBMITTED, LEAVE = "begin", "ready", "submitted", "leave"

PARTS, CHUNKED = 5, 6


def submitter() -> int:
    """Submit in every way there is, and note what was committed as soon as it is."""
    note_commits()
    hold.arm_publisher(in_relay=False)
    client = taskdb.default_taskdb()
    client.types.discover()
    if os.environ.get(TO_RELAY):
        # As if the broker had just failed: the breaker leaves everything to the relay.
        client._connections.background._trip("the relay is looked at", 0)
    (folder() / READY).touch()
    wait_for(BEGIN)
    for number in range(int(os.environ.get(BLOCKERS, "0"))):
        taskdb.submit_task("chaos.blocks", {"number": number})
        wait_for_line("chaos.blocks", number + 1)
    LOADS[Load(os.environ[LOAD])]()
    (folder() / SUBMITTED).touch()
    wait_for(LEAVE)
    return 0


def submit_mix() -> None:
    delay = float(os.environ[DELAY])
    ways: list[Callable[[], Any]] = [
        lambda: taskdb.submit_task("chaos.plain", {"number": 1}),
        lambda: taskdb.submit_many("chaos.plain", [{"number": n} for n in range(2, 8)]),
        in_a_transaction,
        lambda: taskdb.submit_fan_out(
            "chaos.part", [{"number": n} for n in range(PARTS)], on_join=tasks.joins
        ),
        lambda: taskdb.submit_sequence("chaos.steps", {"number": 10}),
        lambda: taskdb.submit_fan_out(
            "chaos.part", [{"number": n} for n in range(CHUNKED)], chunk_size=3
        ),
        lambda: taskdb.submit_many(
            "chaos.later", [{"number": n} for n in range(2)], delay=timedelta(seconds=delay)
        ),
        lambda: taskdb.submit_many(
            "chaos.plain", [{"number": n} for n in range(200, 203)], mutex_key="one at a time"
        ),
        lambda: make_schedule(delay),
        lambda: taskdb.submit_many("chaos.retries", [{"number": n} for n in range(3)]),
    ]
    for way in ways:
        insist(way)


def insist(way: Callable[[], Any]) -> None:
    """Submit; again if that was refused, of which a caller hears: nothing was promised."""
    while True:
        try:
            way()
        except (taskdb.DatabaseError, OperationalError) as error:
            print("refused", error, flush=True)
            time.sleep(0.2)
        else:
            return


def in_a_transaction() -> None:
    """Two tasks of a transaction that commits, and one of a transaction that does not."""
    engine = create_engine(taskdb.default_taskdb().settings.store_url)
    with Session(engine) as session:
        lost = taskdb.submit_task("chaos.plain", {"number": -1}, session=session)
        note("rolled-back", lost.id)
        session.rollback()
    with Session(engine) as session:
        made = [
            taskdb.submit_task("chaos.plain", {"number": n}, session=session) for n in (100, 101)
        ]
        session.commit()
    for one in made:
        note("submitted", one.id, 0)
    engine.dispose()


def make_schedule(delay: float) -> None:
    """A schedule that is due once, and fires also when every beat was away then."""
    at = datetime.now(UTC) + timedelta(seconds=delay)
    taskdb.default_taskdb().schedules.create(
        "once", "chaos.fired", {"number": 7}, at=at, misfire_grace=60, replace=True
    )
    note("scheduled", "once")


def submit_thousand() -> None:
    taskdb.submit_many("chaos.plain", [{"number": n} for n in range(1_000)])


LOADS: dict[Load, Callable[[], None]] = {Load.MIX: submit_mix, Load.THOUSAND: submit_thousand}


def note_commits() -> None:
    """Note what a transaction of the store's own has committed, before anyone publishes it."""
    create, fan_out, sequence = (
        Submissions.create,
        Submissions.create_fan_out,
        Submissions.create_sequence,
    )

    def noted_create(self: Submissions, drafts: Any, scope: Scope, **keywords: Any) -> Any:
        created = create(self, drafts, scope, **keywords)
        if keywords.get("connection") is None:
            for one in created:
                note("submitted", one.id, 0)
        return created

    def noted_fan_out(
        self: Submissions, parent: Any, parts: Any, *given: Any, **keywords: Any
    ) -> Any:
        listed = list(parts)
        family = fan_out(self, parent, iter(listed), *given, **keywords)
        note("submitted", family.created.id, len(listed))
        return family

    def noted_sequence(self: Submissions, *given: Any, **keywords: Any) -> Any:
        family = sequence(self, *given, **keywords)
        note("submitted", family.created.id, 1)
        return family

    Submissions.create = noted_create  # type: ignore[method-assign]
    Submissions.create_fan_out = noted_fan_out  # type: ignore[method-assign]
    Submissions.create_sequence = noted_sequence  # type: ignore[method-assign]


def worker() -> int:
    hold.arm_worker()
    return run_worker(Settings.load(), sys.argv[2:])


def beat() -> int:
    if os.environ.get(TO_RELAY):
        hold.arm_publisher(in_relay=True)
    hold.leave_joins_to_workers()
    return run_beat(Settings.load())


def wait_for(name: str) -> None:
    while not (folder() / name).exists():
        time.sleep(0.01)


def wait_for_line(word: str, count: int) -> None:
    journal = folder() / "journal"
    while not journal.exists() or journal.read_text().count(word) < count:
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit({"submitter": submitter, "worker": worker, "beat": beat}[sys.argv[1]]())
