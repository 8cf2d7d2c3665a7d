"""`taskdb doctor`: compares rows, broker and workers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

import typer

from taskdb.celery.broker_state import broker_state
from taskdb.cli.database.schema import sqlite_file
from taskdb.cli.document import document_of
from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, actor, with_session
from taskdb.client.caller.actor import note_change
from taskdb.client.taskdb import TaskDB
from taskdb.errors import PayloadStoreUnreachable
from taskdb.redaction.printable import printable
from taskdb.role import load_role
from taskdb.store.doctor.disk import held_log, low_disks
from taskdb.store.doctor.finding import Drift, Limits, drift
from taskdb.store.upkeep import StoreUpkeep

_MOST = 1_000

Fix = Annotated[
    bool, typer.Option("--fix", help="Run every loop of a beat once, and compare again.")
]


@with_session
def doctor(session: Session, *, fix: Fix = False) -> int:
    """Compare rows, broker and workers, and list every drift with counts and examples.

    Changes nothing without --fix. Exits 1 if a drift is left.
    """
    taskdb = session.taskdb
    before = diagnose(taskdb)
    after = before
    if fix:
        taskdb.types.discover()
        load_role("mend")(taskdb)
        note_change("loops.run", "doctor --fix", actor())
        after = diagnose(taskdb)
    if session.is_json:
        session.output.document(_as_json(before, after if fix else None))
    else:
        _print(session.output, before, after if fix else None)
    return ExitCode.FAILED if after else ExitCode.OK


def diagnose(taskdb: TaskDB) -> list[Drift]:
    """Yield every class of drift that has an example."""
    settings = taskdb.settings
    limits = Limits(
        transaction=timedelta(seconds=settings.doctor_transaction_seconds),
        dead_rows=settings.doctor_dead_rows,
        disk_free_bytes=settings.doctor_disk_free_bytes,
    )
    lease = timedelta(seconds=settings.worker_lease_seconds)
    found = taskdb.store.doctor.drifts(lease=lease, limits=limits)
    return [*found, *(one for one in _around(taskdb, limits) if one is not None)]


def _around(taskdb: TaskDB, limits: Limits) -> Iterator[Drift | None]:
    """Return findings about disks, broker, channels, files and payloads."""
    settings, alarms = taskdb.settings, taskdb.alarms
    yield low_disks(settings, limits)
    yield held_log(settings, limits)
    problem = broker_state(settings, settings.default_queue).away
    yield drift(
        "broker_away",
        [] if problem is None else [problem],
        "the broker does not respond",
        "check TASKDB_BROKER_URL and that the server runs",
    )
    yield drift(
        "alarm_undelivered",
        [f"{one.alarm_id} to {one.channel}" for one in alarms.undelivered(_MOST) if one.attempts],
        "messages of alarms that their channel has not accepted",
        "`taskdb alarm list --undelivered` shows why; `taskdb alarm test CHANNEL` tries it",
    )
    yield drift(
        "alarm_unrouted",
        [one.id for one in alarms.list(unrouted=True, state="open", limit=_MOST)],
        "open alarms without a route: no message is sent",
        "name channels and routes in TASKDB_ALARM_CHANNELS and TASKDB_ALARM_ROUTES",
    )
    file = sqlite_file(settings)
    is_kept = file is not None and not StoreUpkeep(taskdb.store).free_space.can_shrink()
    # Files of an older release keep the space of everything that is pruned.
    yield drift(
        "space_kept",
        [str(file)] if is_kept else [],
        "database files that never become smaller, even after pruning",
        "stop every process that uses the file, then rewrite it: sqlite3 FILE 'PRAGMA "
        "auto_vacuum = INCREMENTAL; VACUUM'",
    )
    yield _payloads(taskdb)


def _payloads(taskdb: TaskDB) -> Drift | None:
    references = taskdb.store.doctor.payload_references()
    try:
        missing = [one for one in references if not taskdb.store.payloads.has(one)]
    except PayloadStoreUnreachable as error:
        return drift(
            "payload_store_away",
            [str(error)],
            "the payload store does not respond, or refuses",
            "check TASKDB_PAYLOAD_URL, the credentials and what they may do",
        )
    return drift(
        "payload_missing",
        missing,
        "payloads that rows name and the payload store has not (of a sample)",
        "every process must see the same TASKDB_PAYLOAD_DIR or TASKDB_PAYLOAD_URL; bring back what "
        "is gone",
    )


def _as_json(before: list[Drift], after: list[Drift] | None) -> dict[str, Any]:
    left = {} if after is None else {"left": [document_of(one) for one in after]}
    return {"drift": [document_of(one) for one in before], **left}


def _print(output: Output, before: list[Drift], after: list[Drift] | None) -> None:
    if not before:
        output.line("nothing has drifted: rows, broker and workers agree")
        return
    left = None if after is None else {one.name: one.count for one in after}
    for one in before:
        count = f"{one.count:,}" if left is None else f"{one.count:,} -> {left.get(one.name, 0):,}"
        output.line(printable(f"{one.name}  {count}  {one.meaning}"))
        output.line(printable(f"  {', '.join(one.examples)}"))
        if left is None or one.name in left:
            output.note(printable(f"  next: {one.advice}"))
    for one in after or []:
        if one.name not in {other.name for other in before}:
            output.line(printable(f"{one.name}  0 -> {one.count:,}  {one.meaning}"))
