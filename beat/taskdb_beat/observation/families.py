"""The metrics, as Prometheus collects them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from taskdb.model.alarm.alarm import AlarmState, Severity
from taskdb.model.status import PUBLISHABLE, RUNNING
from taskdb.model.subscription import SubscriptionState
from taskdb.store.doctor.count import AlarmCounts, SubscriptionCounts
from taskdb.store.engine.database import Database
from taskdb_beat.loops.loop import Loop
from taskdb_beat.observation.catalog import BY_NAME
from taskdb_beat.observation.disk_gauge import DiskGauge
from taskdb_beat.observation.health import Health
from taskdb_beat.observation.readiness import Probe
from taskdb_beat.observation.reporter import Figures, Reporter, Upkeep
from taskdb_beat.observation.totals import Key

K = TypeVar("K", bound=Key)


@dataclass(eq=False, kw_only=True)
class Families(Collector):
    """Collects from memory: the figures of the reporter, and the state of this process."""

    reporter: Reporter
    loops: Sequence[Loop]
    health: Health
    probes: Mapping[str, Probe]
    database: Database
    disk_gauge: DiskGauge
    tenants: bool

    def collect(self) -> Iterable[Metric]:
        """Yield every family that has values."""
        yield from self._of_this_beat()
        figures = self.reporter.figures
        if figures is not None:
            yield from self._of_the_rows(figures)
            yield from self._of_what_happened()

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that the registration collects nothing."""
        return ()

    def _of_this_beat(self) -> Iterator[Metric]:
        yield self._gauge("taskdb_build_info", {(version("celery-taskdb"),): 1})
        yield self._gauge("taskdb_reporter", {(): float(self.reporter.is_reporting)})
        yield self._of_loops("taskdb_loop_success_age_seconds", self.health.success_age_seconds)
        yield self._of_loops("taskdb_loop_errors_in_row", lambda loop: loop.health.errors_in_row)
        passed = {
            (loop.name,): seconds
            for loop in self.loops
            if (seconds := loop.health.last_pass_seconds) is not None
        }
        yield self._gauge("taskdb_loop_pass_seconds", passed)
        up = {
            (name,): float(is_up)
            for name, probe in self.probes.items()
            if (is_up := probe.is_up_lately()) is not None
        }
        yield self._gauge("taskdb_dependency_up", up)
        found = self.disk_gauge.disks
        yield self._gauge("taskdb_disk_free_bytes", {(one.place,): one.free for one in found})
        yield self._gauge("taskdb_disk_bytes", {(one.place,): one.size for one in found})
        pool = self.database.pool()
        states = {("open",): pool.open, ("in_use",): pool.in_use}
        yield self._gauge("taskdb_database_pool_connections", states)
        yield self._gauge("taskdb_database_pool_limit", {(): pool.limit})

    def _of_loops(self, name: str, value: Callable[[Loop], float]) -> Metric:
        return self._gauge(name, {(loop.name,): value(loop) for loop in self.loops})

    def _of_the_rows(self, figures: Figures) -> Iterator[Metric]:
        yield from self._of_tasks(figures)
        workers, timetable = figures.workers, figures.timetable
        served = {self._queue(name): count for name, count in workers.by_queue.items()}
        yield self._gauge("taskdb_queue_workers", served)
        yield self._gauge("taskdb_workers", {("live",): workers.live, ("stale",): workers.stale})
        yield self._gauge("taskdb_worker_heartbeat_age_seconds", {(): workers.oldest_seen_seconds})
        states = {("enabled",): timetable.enabled, ("broken",): timetable.broken}
        yield self._gauge("taskdb_schedules", states)
        yield self._gauge("taskdb_schedule_lag_seconds", {(): timetable.lag_seconds})
        yield from self._of_alarms(figures.alarms)
        yield from self._of_subscriptions(figures.subscriptions)
        # A loop without rows set aside reports 0, so that an alert can end.
        aside = dict.fromkeys(((loop.name,) for loop in self.loops), 0)
        aside |= {(name,): number for name, number in figures.aside.items()}
        yield self._gauge("taskdb_rows_set_aside", aside)
        yield from self._of_upkeep(figures.upkeep)
        yield self._gauge("taskdb_beats", {(): figures.beats})
        yield self._gauge("taskdb_events_lag_seconds", {(): figures.lag_seconds})
        age = time.monotonic() - figures.at
        yield self._gauge("taskdb_figures_age_seconds", {(): age})
        yield self._gauge("taskdb_figures_read_seconds", {(): figures.read_seconds})

    def _of_tasks(self, figures: Figures) -> Iterator[Metric]:
        tasks: dict[Key, float] = defaultdict(float)
        held: dict[Key, float] = defaultdict(float)
        # An empty queue is reported if a worker consumes it, or if it had tasks before.
        queues = {self._queue(name) for name in figures.workers.by_queue} | {
            (name,) for name in self.reporter.labels.known("queue")
        }
        backlog, running = dict.fromkeys(queues, 0.0), dict.fromkeys(queues, 0.0)
        oldest = dict.fromkeys(queues, 0.0)
        outbox, outbox_oldest = 0.0, 0.0
        named = self.reporter.labels.named
        for one in figures.tasks:
            queue = self._queue(one.queue)
            key = (one.status.value, named("type", one.type), *queue)
            tasks[(*key, named("tenant", one.tenant)) if self.tenants else key] += one.number
            if one.rule:
                held[(one.rule, *queue)] += one.number
            since = one.oldest_ready_seconds or 0.0
            backlog[queue] = backlog.get(queue, 0.0) + one.ready
            oldest[queue] = max(oldest.get(queue, 0.0), since)
            is_running = one.status in RUNNING and not one.is_waiting
            running[queue] = running.get(queue, 0.0) + (one.number if is_running else 0)
            if one.status in PUBLISHABLE:
                outbox, outbox_oldest = outbox + one.ready, max(outbox_oldest, since)
        yield self._gauge("taskdb_tasks", tasks)
        yield self._gauge("taskdb_tasks_held", held)
        yield self._gauge("taskdb_queue_backlog_tasks", backlog)
        yield self._gauge("taskdb_queue_oldest_seconds", oldest)
        yield self._gauge("taskdb_queue_running_tasks", running)
        yield self._gauge("taskdb_outbox_tasks", {(): outbox})
        yield self._gauge("taskdb_outbox_oldest_seconds", {(): outbox_oldest})

    def _of_alarms(self, alarms: AlarmCounts) -> Iterator[Metric]:
        numbers = {
            (state.value, severity.value): alarms.numbers.get((state, severity), 0)
            for state in AlarmState
            if state is not AlarmState.RESOLVED
            for severity in Severity
        }
        yield self._gauge("taskdb_alarms", numbers)
        yield self._gauge("taskdb_alarms_unrouted", {(): alarms.unrouted})
        labels = self.reporter.labels
        # As with queues: a channel without waiting messages is reported.
        waiting: dict[Key, float] = dict.fromkeys(((name,) for name in labels.known("channel")), 0)
        oldest = dict(waiting)
        for name, undelivered in alarms.undelivered.items():
            channel = (labels.named("channel", name),)
            waiting[channel] = waiting.get(channel, 0) + undelivered.number
            oldest[channel] = max(oldest.get(channel, 0), undelivered.oldest_seconds)
        yield self._gauge("taskdb_alarm_messages", waiting)
        yield self._gauge("taskdb_alarm_message_oldest_seconds", oldest)

    def _of_subscriptions(self, subscriptions: SubscriptionCounts) -> Iterator[Metric]:
        numbers = {
            (state.value,): subscriptions.numbers.get(state, 0) for state in SubscriptionState
        }
        yield self._gauge("taskdb_subscriptions", {**numbers, ("failing",): subscriptions.failing})
        yield self._gauge("taskdb_subscription_lag_seconds", {(): subscriptions.lag_seconds})

    def _of_upkeep(self, upkeep: Upkeep) -> Iterator[Metric]:
        sizes = {(name,): size for name, size in upkeep.sizes.items()}
        yield self._gauge("taskdb_table_bytes", sizes)
        # SQLite has no dead rows.
        live, dead = (
            defaultdict(int, {("taskdb_task",): 0}),
            defaultdict(int, {("taskdb_task",): 0}),
        )
        for one in upkeep.tables:
            # A name for each day would create new series for ever.
            key = ("taskdb_event" if one.name.startswith("taskdb_event_") else one.name,)
            live[key] += one.live
            dead[key] += one.dead
        yield self._gauge("taskdb_table_dead_rows", dead)
        shares = {key: number / max(number + live[key], 1) for key, number in dead.items()}
        yield self._gauge("taskdb_table_dead_share", shares)
        yield self._gauge("taskdb_default_partition_rows", {(): upkeep.default_partition})
        yield self._gauge("taskdb_vacuum_held_back_seconds", {(): upkeep.held_back_seconds})

    def _of_what_happened(self) -> Iterator[Metric]:
        totals = self.reporter.totals
        for name, counts in totals.counters.items():
            metric = BY_NAME[name]
            labels = metric.labels_with(tenants=self.tenants)
            counter = CounterMetricFamily(name, metric.meaning, labels=labels)
            # A copy in one step: the loop may add a series meanwhile.
            for key, number in list(counts.items()):
                counter.add_metric(key, number)
            yield counter
        for name, series in totals.histograms.items():
            metric = BY_NAME[name]
            histogram = HistogramMetricFamily(name, metric.meaning, labels=metric.labels)
            for key, spread in list(series.items()):
                histogram.add_metric(key, spread.buckets(), spread.seconds)
            yield histogram

    def _queue(self, name: str) -> tuple[str]:
        return (self.reporter.labels.named("queue", name),)

    def _gauge(self, name: str, values: Mapping[K, float]) -> GaugeMetricFamily:
        metric = BY_NAME[name]
        labels = metric.labels_with(tenants=self.tenants)
        gauge = GaugeMetricFamily(name, metric.meaning, labels=labels)
        for key, value in values.items():
            gauge.add_metric(key, value)
        return gauge
