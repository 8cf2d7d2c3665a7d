"""The pass that reads the rows for the metrics, in the one of several beats that reports.

It runs in a loop of its own, so that a scrape neither queries the database nor waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from taskdb.logger import get_logger
from taskdb.settings.settings import Settings
from taskdb.store.doctor.count import (
    AlarmCounts,
    ScheduleCounts,
    SubscriptionCounts,
    TaskCount,
    WorkerCounts,
)
from taskdb.store.doctor.statistics import MoveCounts
from taskdb.store.doctor.vacuum import TableRows
from taskdb.store.store import Store
from taskdb.store.task.list import EventCursor
from taskdb.store.upkeep import StoreUpkeep
from taskdb_beat.observation.label import Labels
from taskdb_beat.observation.totals import Totals

log = get_logger("taskdb.observation")

_EVENTS = 5_000
"""The events that one statement counts."""
_COUNT_SECONDS = 2.0
"""A pass with more to count than this takes is followed by the next at once."""
_SHARE = 10
"""The pause between two counts of the open tasks, as a multiple of the time of one."""
_UPKEEP_SECONDS = 60.0
_LEAST_LEASE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The open work of upkeep: sizes, dead rows, and the age of the transaction that keeps them."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    tables: tuple[TableRows, ...] = ()
    default_partition: int = 0
    held_back_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """A snapshot of the rows at one moment of the monotonic clock, and how long it took to read."""

    at: float
    read_seconds: float
    tasks: tuple[TaskCount, ...]
    workers: WorkerCounts
    timetable: ScheduleCounts
    alarms: AlarmCounts
    subscriptions: SubscriptionCounts
    aside: dict[str, int]
    upkeep: Upkeep
    beats: int
    lag_seconds: float


class Reporter:
    """Reads, counts and keeps the figures, while no other beat reports."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        holder: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = settings.metrics_interval_seconds
        self._lease_seconds = max(_LEAST_LEASE_SECONDS, 3 * self._interval)
        self._tenants = settings.metrics_tenants
        self._worker_lease = timedelta(seconds=settings.worker_lease_seconds)
        self._store = store
        self._counts = StoreUpkeep(store).counts
        self._statistics = StoreUpkeep(store).statistics(
            holder, timedelta(seconds=self._lease_seconds)
        )
        self._clock = clock
        self._cursor: EventCursor | None = None
        self._valid_until = float("-inf")
        self._tasks: tuple[TaskCount, ...] = ()
        self._next_census = float("-inf")
        self._upkeep = Upkeep()
        self._next_upkeep = float("-inf")
        self._figures: Figures | None = None
        self.labels = Labels(settings.metrics_label_values)
        for channel in settings.alarm_channels:
            # A channel without messages is reported as well.
            self.labels.named("channel", channel.name)
        self.totals = Totals(self.labels, tenants=self._tenants)

    @property
    def is_reporting(self) -> bool:
        """Whether this beat has the lease, so that no other beat reports the same."""
        return self._clock() < self._valid_until

    @property
    def figures(self) -> Figures | None:
        """The newest figures; None if another beat reports, or without a database for long."""
        return self._figures if self.is_reporting else None

    def run_once(self) -> bool:
        """Read once, if this beat reports. Returns whether there is more to count.

        Raises DatabaseError.
        """
        began = self._clock()
        if self._cursor is None:
            self._cursor = self._statistics.begin()
            if self._cursor is None:
                return False
            log.info("reporter.started")
        happened, cursor, is_more = self._read(self._cursor)
        lag = self._statistics.lag_seconds(cursor)
        self._look()
        if not self._statistics.keep(cursor):
            log.warning("reporter.ended")
            self._cursor, self._figures, self._valid_until = None, None, float("-inf")
            return False
        # Only now: the counts of another beat are not added here as well.
        self._cursor = cursor
        self.totals.add(happened)
        self._valid_until = began + self._lease_seconds
        self._note(began, lag)
        return is_more

    def give_up(self) -> None:
        """Let another beat report. Raises DatabaseError."""
        if self._cursor is not None:
            self._cursor, self._valid_until = None, float("-inf")
            self._statistics.give_up()

    def _read(self, cursor: EventCursor) -> tuple[list[MoveCounts], EventCursor, bool]:
        happened: list[MoveCounts] = []
        until = self._clock() + _COUNT_SECONDS
        while True:
            page = self._statistics.read(cursor, _EVENTS, by_tenant=self._tenants)
            happened += page.happened
            cursor = page.cursor
            is_more = page.events >= _EVENTS
            if not is_more or self._clock() > until:
                return happened, cursor, is_more

    def _look(self) -> None:
        """Count the open tasks, less often where that takes long."""
        now = self._clock()
        if now >= self._next_census:
            self._tasks = tuple(self._counts.tasks(by_tenant=self._tenants))
            took = self._clock() - now
            self._next_census = now + _SHARE * took
        if now >= self._next_upkeep:
            self._upkeep = self._look_at_upkeep()
            self._next_upkeep = now + _UPKEEP_SECONDS

    def _look_at_upkeep(self) -> Upkeep:
        vacuum = self._store.vacuum
        return Upkeep(
            sizes=self._counts.sizes(),
            tables=tuple(vacuum.rows()),
            default_partition=sum(self._store.partitions.in_default().values()),
            held_back_seconds=vacuum.oldest_seconds(),
        )

    def _note(self, began: float, lag_seconds: float) -> None:
        counts = self._counts
        workers, timetable = counts.workers(self._worker_lease), counts.schedules()
        alarms, subscriptions = counts.alarms(), counts.subscriptions()
        now = self._clock()
        self._figures = Figures(
            at=now,
            read_seconds=now - began,
            tasks=self._tasks,
            workers=workers,
            timetable=timetable,
            alarms=alarms,
            subscriptions=subscriptions,
            aside=self._counts.aside(),
            upkeep=self._upkeep,
            beats=len(self._store.beats.live()),
            lag_seconds=lag_seconds,
        )
