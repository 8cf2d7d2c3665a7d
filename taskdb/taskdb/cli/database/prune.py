"""`taskdb prune`: what the beat does by itself, now and to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, actor, with_session
from taskdb.cli.value_text import counted
from taskdb.client.caller.actor import note_change
from taskdb.store.retention.archive import Archive
from taskdb.store.retention.free_space import FreeSpace
from taskdb.store.retention.prune import NOTHING, Pruned, Pruning
from taskdb.store.retention.sweep import Sweeping

_STEP_SECONDS = 1.0

Tell = Callable[[str], None]


@with_session
def prune(
    session: Session,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; say how many tasks would go.")
    ] = False,
) -> int:
    """Delete tasks that ended long enough ago, by the rules of TASKDB_RETENTION.

    Then old rows of workers, empty days of the history, and payloads that no task names.
    """
    store, settings = session.taskdb.store, session.settings
    archive = None if settings.archive_dir is None else Archive(settings.archive_dir)
    retention = settings.retention_rules
    pruning = Pruning(store.database, store.payloads, retention, archive)
    if dry_run:
        return _foretell(session.output, pruning)
    with _progress(session.output) as tell:
        pruned = _prune_all(pruning, tell)
        swept = _sweep_all(Sweeping(store.database, store.payloads, retention.longest), tell)
        space = FreeSpace(store.database)
        while space.give_back(_STEP_SECONDS):
            tell("giving space back")
    note_change("tasks.pruned", counted(pruned.tasks, "task"), actor())
    _say(session.output, pruned, swept)
    return ExitCode.OK


def _foretell(output: Output, pruning: Pruning) -> int:
    due = pruning.due()
    if output.is_json:
        output.document({"tasks": due.total(), "by_status": dict(sorted(due.items()))})
        return ExitCode.OK
    kinds = ", ".join(f"{count:,} {status}" for status, count in sorted(due.items()))
    listed = f" ({kinds})" if kinds else ""
    output.line(f"{counted(due.total(), 'task')} would go{listed}, sub-tasks not counted")
    return ExitCode.OK


def _prune_all(pruning: Pruning, tell: Tell) -> Pruned:
    pruned = NOTHING
    while True:
        pruned += pruning.run(_STEP_SECONDS)
        if pruning.is_round_over:
            return pruned
        tell(f"{counted(pruned.tasks, 'task')} pruned")


def _sweep_all(sweeping: Sweeping, tell: Tell) -> dict[str, int]:
    swept = {"workers": 0, "schedule_runs": 0, "partitions": 0, "payloads": 0}
    while found := sweeping.workers():
        swept["workers"] += found
    while found := sweeping.schedule_runs():
        swept["schedule_runs"] += found
    swept["partitions"] = len(sweeping.partitions())
    is_more = True
    while is_more:
        removed, is_more = sweeping.payloads()
        swept["payloads"] += removed
        tell(f"{swept['payloads']:,} orphaned payloads removed")
    return swept


def _say(output: Output, pruned: Pruned, swept: dict[str, int]) -> None:
    if output.is_json:
        output.document({"tasks": pruned.tasks, "rows": pruned.rows, **swept})
        return
    output.line(f"pruned {counted(pruned.tasks, 'task')} (rows with sub-tasks: {pruned.rows:,})")
    output.line(
        f"swept up rows of workers: {swept['workers']:,}; firings of schedules:"
        f" {swept['schedule_runs']:,}; days of history: {swept['partitions']:,}; payloads:"
        f" {swept['payloads']:,}"
    )


@contextmanager
def _progress(output: Output) -> Iterator[Tell]:
    """A line that moves, where a person watches; nothing elsewhere."""
    if not output.is_live:
        yield lambda _text: None
        return
    with output.err.status("looking for what is due …") as status:
        yield status.update
