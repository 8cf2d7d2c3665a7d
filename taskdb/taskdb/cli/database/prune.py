"""`taskdb prune`: the pruning of a beat, now and to its end."""

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
from taskdb.store.retention.prune import NOTHING, Pruned, PruneRounds
from taskdb.store.retention.sweep import Leftovers
from taskdb.store.upkeep import StoreUpkeep

_STEP_SECONDS = 1.0

Report = Callable[[str], None]


@with_session
def prune(
    session: Session,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Change nothing; print how many tasks would be deleted."),
    ] = False,
) -> int:
    """Delete tasks that ended long ago, by the rules of TASKDB_RETENTION.

    Deletes also old rows of workers, empty days of the history, and payloads without a task.
    """
    store, settings = session.taskdb.store, session.settings
    archive = None if settings.archive_dir is None else Archive(settings.archive_dir)
    retention = settings.retention_rules
    pruning = StoreUpkeep(store).prune_rounds(retention, archive)
    if dry_run:
        return _print_due(session.output, pruning)
    with _progress(session.output) as report:
        pruned = _prune_all(pruning, report)
        swept = _sweep_all(StoreUpkeep(store).leftovers(retention.longest), report)
        space = StoreUpkeep(store).free_space
        while space.give_back(_STEP_SECONDS):
            report("giving space back")
    note_change("tasks.pruned", counted(pruned.tasks, "task"), actor())
    _print(session.output, pruned, swept)
    return ExitCode.OK


def _print_due(output: Output, pruning: PruneRounds) -> int:
    due = pruning.due()
    if output.is_json:
        output.document({"tasks": due.total(), "by_status": dict(sorted(due.items()))})
        return ExitCode.OK
    kinds = ", ".join(f"{count:,} {status}" for status, count in sorted(due.items()))
    listed = f" ({kinds})" if kinds else ""
    output.line(f"{counted(due.total(), 'task')} would go{listed}, sub-tasks not counted")
    return ExitCode.OK


def _prune_all(pruning: PruneRounds, report: Report) -> Pruned:
    pruned = NOTHING
    while True:
        pruned += pruning.run(_STEP_SECONDS)
        if pruning.is_round_over:
            return pruned
        report(f"{counted(pruned.tasks, 'task')} pruned")


def _sweep_all(sweeping: Leftovers, report: Report) -> dict[str, int]:
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
        report(f"{swept['payloads']:,} orphaned payloads removed")
    return swept


def _print(output: Output, pruned: Pruned, swept: dict[str, int]) -> None:
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
def _progress(output: Output) -> Iterator[Report]:
    """Show progress on a terminal; elsewhere do nothing."""
    if not output.is_live:
        yield lambda _text: None
        return
    with output.err.status("looking for tasks that are due …") as status:
        yield status.update
