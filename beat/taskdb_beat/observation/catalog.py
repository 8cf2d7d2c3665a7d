"""The metrics: names, labels, meanings. The reference, dashboards and alert rules follow them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]
Whose = Literal["reporter", "every beat"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `whose`: reported by the one beat that reports, or by each beat for itself.

    Prometheus shows the name of a counter with `_total`.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    whose: Whose = "reporter"
    has_tenant: bool = False

    @property
    def shown(self) -> str:
        """The name in queries."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def labels_with(self, *, tenants: bool) -> tuple[str, ...]:
        """Return the labels, with that of the tenant if `tenants` and if the metric has it."""
        return (*self.labels, "tenant") if tenants and self.has_tenant else self.labels


# A name with its labels; `tenant?` is a label where the settings ask for it.
_GAUGES = {
    "taskdb_tasks status type queue tenant?": "Tasks that are not over, by status.",
    "taskdb_tasks_held rule queue": "Held tasks, by limit, mutex or pause.",
    "taskdb_queue_backlog_tasks queue":
        "Tasks that a worker might take now: due, held by nothing, claimed by nobody. Those of "
        "apps that are only watched do not count, here and in what follows.",
    "taskdb_queue_oldest_seconds queue": "For how long the oldest of these has been waiting.",
    "taskdb_queue_running_tasks queue": "Tasks that a worker has claimed.",
    "taskdb_queue_workers queue": "Live workers that consume a queue.",
    "taskdb_outbox_tasks": "Committed tasks that are due and not published.",
    "taskdb_outbox_oldest_seconds": "For how long the oldest of these has been due.",
    "taskdb_workers state":
        "Workers: `live`, or `stale` (not seen within the lease, though it did not stop in "
        "order; forgotten after an hour).",
    "taskdb_worker_heartbeat_age_seconds":
        "How long ago the live worker that was heard of last was heard of.",
    "taskdb_beats": "Live beats by their rows, also those that serve no figures.",
    "taskdb_schedules state":
        "Schedules: `enabled`, and those of them that are `broken` and cannot be fired.",
    "taskdb_schedule_lag_seconds":
        "How late the latest schedule is that is due and has not been fired.",
    "taskdb_alarms state severity":
        "Alarms that are not resolved: `open`, `acknowledged` or `snoozed`.",
    "taskdb_alarms_unrouted": "Open alarms without a matching route, so that no message is sent.",
    "taskdb_alarm_messages channel": "Messages of alarms that a channel has not taken yet.",
    "taskdb_alarm_message_oldest_seconds channel":
        "How long ago the oldest of these was decided on.",
    "taskdb_subscriptions state":
        "Subscriptions: `active`, those of them that are `failing` (what comes next for them "
        "could not be sent and is tried again), `paused` and `dead` (given up).",
    "taskdb_subscription_lag_seconds":
        "Age of the next event of the active subscription that is furthest behind, 0 when all "
        "have come to the end.",
    "taskdb_rows_set_aside loop":
        "Rows that a loop could not work on and leaves out until their next try; `taskdb "
        "doctor` lists them.",
    "taskdb_table_bytes table":
        "Size on disk with indexes; of SQLite that of the whole file, as `database`.",
    "taskdb_table_dead_rows table":
        "Rows that were changed or deleted and not vacuumed, by PostgreSQL's statistics; the "
        "partitions of the history together as `taskdb_event`.",
    "taskdb_table_dead_share table": "Their share of all rows of the table, from 0 to 1.",
    "taskdb_default_partition_rows":
        "Rows of the history that are in no partition of a day; at most 10,000 are counted.",
    "taskdb_vacuum_held_back_seconds":
        "Age of the oldest transaction since which vacuum removes no dead row; `taskdb doctor` "
        "names it.",
    "taskdb_events_lag_seconds":
        "Age of the oldest event that is not counted yet: as old as the oldest transaction that "
        "is still open in the database server.",
    "taskdb_figures_age_seconds": "How long ago the rows were read that these figures are of.",
    "taskdb_figures_read_seconds": "How long it took to read them.",
}  # fmt: skip
_COUNTERS = {
    "taskdb_tasks_created type queue tenant?": "Tasks that were created.",
    "taskdb_task_moves status type queue tenant?":
        "Moves, by the status that they led to; COMPLETED, FAILED and CANCELED are ends.",
    "taskdb_retries type queue": "Attempts that failed and that another one follows.",
    "taskdb_crashes type queue": "Runs whose process died.",
    "taskdb_rescues type queue": "Runs that were taken back from a worker that was lost.",
}  # fmt: skip
_HISTOGRAMS = {
    "taskdb_task_wait_seconds type queue":
        "From queued to claimed; of a first attempt that was claimed before it was marked, from "
        "when it was due.",
    "taskdb_task_run_seconds type queue": "From claimed to the end of the attempt, good or bad.",
}  # fmt: skip
_OF_EACH_BEAT = {
    "taskdb_build_info version": "Always 1; which release runs.",
    "taskdb_reporter": "1 where this beat is the one that reports what is read from the rows.",
    "taskdb_loop_success_age_seconds loop":
        "How long ago a pass of a loop succeeded (before the first: since the start).",
    "taskdb_loop_errors_in_row loop": "Passes that failed since the last that succeeded.",
    "taskdb_loop_pass_seconds loop": "How long its last pass took.",
    "taskdb_dependency_up dependency":
        "1 if `database`, `broker` or `payloads` responds to this beat.",
    "taskdb_disk_free_bytes place":
        "Free bytes of the disk, on the machine of this beat, under `database` (SQLite), "
        "`messages` (embedded broker), `payloads` or `archive` (folders).",
    "taskdb_disk_bytes place": "Size of that disk.",
    "taskdb_database_pool_connections state":
        "Connections of this beat to the database: `open`, and those of them `in_use`.",
    "taskdb_database_pool_limit": "How many connections this beat may open.",
}  # fmt: skip


def _metrics(table: dict[str, str], kind: Kind, whose: Whose = "reporter") -> Iterator[Metric]:
    for spelled, meaning in table.items():
        name, *labels = spelled.split()
        always = tuple(label for label in labels if label != "tenant?")
        yield Metric(name, kind, always, meaning, whose, has_tenant="tenant?" in labels)


METRICS = (
    *_metrics(_GAUGES, "gauge"),
    *_metrics(_COUNTERS, "counter"),
    *_metrics(_HISTOGRAMS, "histogram"),
    *_metrics(_OF_EACH_BEAT, "gauge", "every beat"),
)
BY_NAME = {metric.name: metric for metric in METRICS}
