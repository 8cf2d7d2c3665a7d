"""The totals since this process began to report: sums that only grow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from taskdb.store.doctor.statistics import RUN_SECONDS, WAIT_SECONDS, Durations, MoveCounts
from taskdb_beat.observation.catalog import BY_NAME
from taskdb_beat.observation.label import Labels

Key = tuple[str, ...]


class Distribution:
    """The durations of one series of a histogram."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.number = 0
        self.seconds = 0.0
        self.up_to = [0] * len(bounds)

    def add(self, spread: Durations) -> None:
        """Add further durations."""
        self.number += spread.number
        self.seconds += spread.seconds
        self.up_to = [mine + more for mine, more in zip(self.up_to, spread.up_to, strict=True)]

    def buckets(self) -> list[tuple[str, float]]:
        """Return cumulated counts, as Prometheus expects them."""
        bounded = zip(self.bounds, self.up_to, strict=True)
        return [*((str(bound), float(count)) for bound, count in bounded), ("+Inf", self.number)]


class Totals:
    """Counters and histograms, by their labels in the order of the catalog."""

    def __init__(self, labels: Labels, *, tenants: bool) -> None:
        self._labels = labels
        self._tenants = tenants
        self.counters: dict[str, dict[Key, int]] = {
            name: defaultdict(int) for name, metric in BY_NAME.items() if metric.kind == "counter"
        }
        self.histograms: dict[str, dict[Key, Distribution]] = {
            "taskdb_task_wait_seconds": defaultdict(lambda: Distribution(WAIT_SECONDS)),
            "taskdb_task_run_seconds": defaultdict(lambda: Distribution(RUN_SECONDS)),
        }

    def add(self, happened: Iterable[MoveCounts]) -> None:
        """Add the counts of a page of events."""
        for one in happened:
            self._add(one)

    def _add(self, one: MoveCounts) -> None:
        task = (self._labels.named("type", one.type), self._labels.named("queue", one.queue))
        tenant = (self._labels.named("tenant", one.tenant),) if self._tenants else ()
        self._count("taskdb_task_moves", (one.target.value, *task, *tenant), one.number)
        if one.source is None:
            self._count("taskdb_tasks_created", (*task, *tenant), one.number)
        # Other counters begin at 0 with the first task of a type, so that the first retry counts.
        is_retry = one.target == "ERRORED"
        self._count("taskdb_retries", task, one.number if is_retry else 0)
        self._count("taskdb_crashes", task, one.number if one.is_crash else 0)
        self._count("taskdb_rescues", task, one.number if one.is_rescue else 0)
        self.histograms["taskdb_task_wait_seconds"][task].add(one.waits)
        self.histograms["taskdb_task_run_seconds"][task].add(one.runs)

    def _count(self, name: str, key: Key, number: int) -> None:
        self.counters[name][key] += number
