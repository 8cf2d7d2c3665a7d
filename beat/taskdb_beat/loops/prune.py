"""Prune: deletes tasks that were over for long enough, and rows and files without an owner."""

from __future__ import annotations

from taskdb.logger import get_logger
from taskdb.settings.settings import Settings
from taskdb.store.retention.archive import Archive
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep

log = get_logger("taskdb.prune")

_PASS_SECONDS = 5.0


class Prune:
    """Deletes tasks by the retention settings, then frees their space, some seconds a pass."""

    def __init__(self, settings: Settings, store: Store) -> None:
        folder = settings.archive_dir
        archive = None if folder is None else Archive(folder)
        self._pruning = StoreUpkeep(store).prune_rounds(settings.retention_rules, archive)
        self._free_space = StoreUpkeep(store).free_space

    def run_once(self) -> bool:
        """Prune for some seconds. Returns whether there is more to check."""
        pruned = self._pruning.run(_PASS_SECONDS)
        if pruned.rows:
            log.info("prune.completed", tasks=pruned.tasks, rows=pruned.rows)
        if not self._pruning.is_round_over:
            return True
        pages = self._free_space.give_back(_PASS_SECONDS)
        if pages:
            log.info("space.freed", pages=pages)
        return bool(pages)


class Sweep:
    """Removes old rows of workers and firings, empty days and orphaned files, a batch a pass."""

    def __init__(self, settings: Settings, store: Store) -> None:
        longest = settings.retention_rules.longest
        self._sweeping = StoreUpkeep(store).leftovers(longest)

    def run_once(self) -> bool:
        """Remove one batch of each. Returns whether there are more files."""
        workers = self._sweeping.workers()
        runs = self._sweeping.schedule_runs()
        partitions = self._sweeping.partitions()
        payloads, is_more = self._sweeping.payloads()
        if workers or runs or partitions or payloads:
            log.info(
                "sweep.completed",
                workers=workers,
                schedule_runs=runs,
                partitions=partitions,
                payloads=payloads,
            )
        return is_more
