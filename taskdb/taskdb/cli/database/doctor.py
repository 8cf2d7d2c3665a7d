"""`taskdb doctor`: rows, broker and workers compared, and what has drifted apart."""

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
from taskdb.settings.settings import Settings
from taskdb.store.doctor.disk import held_log, low_disks
from taskdb.store.doctor.finding import EXAMPLES, Drift, Limits
from taskdb.store.upkeep import StoreUpkeep

_MOST = 1_000

Fix = Annotated[
    bool, typer.Option("--fix", help="Run every loop of a beat once, and compare again.")
]


@with_session
def doctor(session: Session, *, fix: Fix = False) -> int:
    """Compare rows, broker and workers, and list every drift with counts and examples.

    Changes nothing without --fix. Exit 1 while a drift is left.
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
    """Every class of drift with at least one example."""
    settings = taskdb.settings
    lease = timedelta(seconds=settings.worker_lease_seconds)
    limits = limits_of(settings)
    found = taskdb.store.doctor.drifts(lease=lease, limits=limits)
    found += [one for look in (low_disks, held_log) if (one := look(settings, limits)) is not None]
    problem = broker_state(settings, settings.default_queue).away
    if problem is not None:
        advice = "check TASKDB_BROKER_URL and that the server runs"
        found.append(Drift("broker_away", 1, (problem,), "the broker does not respond", advice))
    found.extend(_undelivered_alarms(taskdb))
    found.extend(_unshrinkable_files(taskdb))
    try:
        missing = _missing_payloads(taskdb)
    except PayloadStoreUnreachable as error:
        missing = []
        found.append(
            Drift(
                "payload_store_away",
                1,
                (str(error),),
                "the payload store does not respond, or refuses",
                "check TASKDB_PAYLOAD_URL, the credentials and what they may do",
            )
        )
    if missing:
        found.append(
            Drift(
                "payload_missing",
                len(missing),
                tuple(missing[:EXAMPLES]),
                "payloads that rows name and the payload store has not (of a sample)",
                "every process must see the same TASKDB_PAYLOAD_DIR or TASKDB_PAYLOAD_URL; bring "
                "back what is gone",
            )
        )
    return found


def limits_of(settings: Settings) -> Limits:
    """The limits that the settings give the doctor."""
    return Limits(
        transaction=timedelta(seconds=settings.doctor_transaction_seconds),
        dead_rows=settings.doctor_dead_rows,
        disk_free_bytes=settings.doctor_disk_free_bytes,
    )


def _undelivered_alarms(taskdb: TaskDB) -> Iterator[Drift]:
    """Alarms that have not reached anyone."""
    waiting = [one for one in taskdb.alarms.undelivered(_MOST) if one.attempts]
    if waiting:
        examples = tuple(f"{one.alarm_id} to {one.channel}" for one in waiting[:EXAMPLES])
        advice = "`taskdb alarm list --undelivered` shows why; `taskdb alarm test CHANNEL` tries it"
        meaning = "messages of alarms that their channel has not accepted"
        yield Drift("alarm_undelivered", len(waiting), examples, meaning, advice)
    unrouted = [one.id for one in taskdb.alarms.list(unrouted=True, state="open", limit=_MOST)]
    if unrouted:
        yield Drift(
            "alarm_unrouted",
            len(unrouted),
            tuple(unrouted[:EXAMPLES]),
            "open alarms without a route: nobody is notified",
            "name channels and routes in TASKDB_ALARM_CHANNELS and TASKDB_ALARM_ROUTES",
        )


def _unshrinkable_files(taskdb: TaskDB) -> Iterator[Drift]:
    """SQLite files of an older release, which keep the space of all that is pruned."""
    file = sqlite_file(taskdb.settings)
    if file is not None and not StoreUpkeep(taskdb.store).free_space.can_shrink():
        yield Drift(
            "space_kept",
            1,
            (str(file),),
            "database files that never become smaller, even after pruning",
            "stop every process that uses the file, then rewrite it: sqlite3 FILE 'PRAGMA "
            "auto_vacuum = INCREMENTAL; VACUUM'",
        )


def _missing_payloads(taskdb: TaskDB) -> list[str]:
    references = taskdb.store.doctor.payload_references()
    return [reference for reference in references if not taskdb.store.payloads.has(reference)]


def _as_json(before: list[Drift], after: list[Drift] | None) -> dict[str, Any]:
    document: dict[str, Any] = {"drift": [document_of(one) for one in before]}
    if after is not None:
        document["left"] = [document_of(one) for one in after]
    return document


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
