"""The metrics: names, labels, meanings. The reference, dashboards and alert rules follow them."""

from __future__ import annotations

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


_TASK = ("type", "queue")
_EACH: Whose = "every beat"

METRICS = (
    Metric(
        "taskdb_tasks",
        "gauge",
        ("status", *_TASK),
        "Tasks that are not over, by status.",
        has_tenant=True,
    ),
    Metric(
        "taskdb_tasks_held", "gauge", ("rule", "queue"), "Held tasks, by limit, mutex or pause."
    ),
    Metric(
        "taskdb_queue_backlog_tasks",
        "gauge",
        ("queue",),
        "Tasks that a worker might take now: due, held by nothing, claimed by nobody. Those of "
        "apps that are only watched do not count, here and in what follows.",
    ),
    Metric(
        "taskdb_queue_oldest_seconds",
        "gauge",
        ("queue",),
        "For how long the oldest of these has been waiting.",
    ),
    Metric("taskdb_queue_running_tasks", "gauge", ("queue",), "Tasks that a worker has claimed."),
    Metric("taskdb_queue_workers", "gauge", ("queue",), "Live workers that consume a queue."),
    Metric(
        "taskdb_outbox_tasks",
        "gauge",
        (),
        "Committed tasks that are due and not published.",
    ),
    Metric(
        "taskdb_outbox_oldest_seconds",
        "gauge",
        (),
        "For how long the oldest of these has been due.",
    ),
    Metric(
        "taskdb_workers",
        "gauge",
        ("state",),
        "Workers: `live`, or `stale` (not seen within the lease, though it did not stop in order; "
        "forgotten after an hour).",
    ),
    Metric(
        "taskdb_worker_heartbeat_age_seconds",
        "gauge",
        (),
        "How long ago the live worker that was heard of last was heard of.",
    ),
    Metric(
        "taskdb_beats",
        "gauge",
        (),
        "Live beats by their rows, also those that serve no figures.",
    ),
    Metric(
        "taskdb_schedules",
        "gauge",
        ("state",),
        "Schedules: `enabled`, and those of them that are `broken` and cannot be fired.",
    ),
    Metric(
        "taskdb_schedule_lag_seconds",
        "gauge",
        (),
        "How late the latest schedule is that is due and has not been fired.",
    ),
    Metric(
        "taskdb_alarms",
        "gauge",
        ("state", "severity"),
        "Alarms that are not resolved: `open`, `acknowledged` or `snoozed`.",
    ),
    Metric(
        "taskdb_alarms_unrouted",
        "gauge",
        (),
        "Open alarms without a matching route, so that no message is sent.",
    ),
    Metric(
        "taskdb_alarm_messages",
        "gauge",
        ("channel",),
        "Messages of alarms that a channel has not taken yet.",
    ),
    Metric(
        "taskdb_alarm_message_oldest_seconds",
        "gauge",
        ("channel",),
        "How long ago the oldest of these was decided on.",
    ),
    Metric(
        "taskdb_subscriptions",
        "gauge",
        ("state",),
        "Subscriptions: `active`, those of them that are `failing` (what comes next for them could "
        "not be sent and is tried again), `paused` and `dead` (given up).",
    ),
    Metric(
        "taskdb_subscription_lag_seconds",
        "gauge",
        (),
        "Age of the next event of the active subscription that is furthest behind, 0 when all "
        "have come to the end.",
    ),
    Metric(
        "taskdb_rows_set_aside",
        "gauge",
        ("loop",),
        "Rows that a loop could not work on and leaves out until their next try; `taskdb doctor` "
        "lists them.",
    ),
    Metric(
        "taskdb_table_bytes",
        "gauge",
        ("table",),
        "Size on disk with indexes; of SQLite that of the whole file, as `database`.",
    ),
    Metric(
        "taskdb_table_dead_rows",
        "gauge",
        ("table",),
        "Rows that were changed or deleted and not vacuumed, by PostgreSQL's statistics; the "
        "partitions of the history together as `taskdb_event`.",
    ),
    Metric(
        "taskdb_table_dead_share",
        "gauge",
        ("table",),
        "Their share of all rows of the table, from 0 to 1.",
    ),
    Metric(
        "taskdb_default_partition_rows",
        "gauge",
        (),
        "Rows of the history that are in no partition of a day; at most 10,000 are counted.",
    ),
    Metric(
        "taskdb_vacuum_held_back_seconds",
        "gauge",
        (),
        "Age of the oldest transaction since which vacuum removes no dead row; `taskdb doctor` "
        "names it.",
    ),
    Metric(
        "taskdb_events_lag_seconds",
        "gauge",
        (),
        "Age of the oldest event that is not counted yet: as old as the oldest transaction that "
        "is still open in the database server.",
    ),
    Metric(
        "taskdb_tasks_created",
        "counter",
        _TASK,
        "Tasks that were created.",
        has_tenant=True,
    ),
    Metric(
        "taskdb_task_moves",
        "counter",
        ("status", *_TASK),
        "Moves, by the status that they led to; COMPLETED, FAILED and CANCELED are ends.",
        has_tenant=True,
    ),
    Metric(
        "taskdb_retries", "counter", _TASK, "Attempts that failed and that another one follows."
    ),
    Metric("taskdb_crashes", "counter", _TASK, "Runs whose process died."),
    Metric(
        "taskdb_rescues", "counter", _TASK, "Runs that were taken back from a worker that was lost."
    ),
    Metric(
        "taskdb_task_wait_seconds",
        "histogram",
        _TASK,
        "From queued to claimed; of a first attempt that was claimed before it was marked, from "
        "when it was due.",
    ),
    Metric(
        "taskdb_task_run_seconds",
        "histogram",
        _TASK,
        "From claimed to the end of the attempt, good or bad.",
    ),
    Metric("taskdb_build_info", "gauge", ("version",), "Always 1; which release runs.", _EACH),
    Metric(
        "taskdb_reporter",
        "gauge",
        (),
        "1 where this beat is the one that reports what is read from the rows.",
        _EACH,
    ),
    Metric(
        "taskdb_figures_age_seconds",
        "gauge",
        (),
        "How long ago the rows were read that these figures are of.",
    ),
    Metric("taskdb_figures_read_seconds", "gauge", (), "How long it took to read them."),
    Metric(
        "taskdb_loop_success_age_seconds",
        "gauge",
        ("loop",),
        "How long ago a pass of a loop succeeded (before the first: since the start).",
        _EACH,
    ),
    Metric(
        "taskdb_loop_errors_in_row",
        "gauge",
        ("loop",),
        "Passes that failed since the last that succeeded.",
        _EACH,
    ),
    Metric("taskdb_loop_pass_seconds", "gauge", ("loop",), "How long its last pass took.", _EACH),
    Metric(
        "taskdb_dependency_up",
        "gauge",
        ("dependency",),
        "1 if `database`, `broker` or `payloads` responds to this beat.",
        _EACH,
    ),
    Metric(
        "taskdb_disk_free_bytes",
        "gauge",
        ("place",),
        "Free bytes of the disk, on the machine of this beat, under `database` (SQLite), "
        "`messages` (embedded broker), `payloads` or `archive` (folders).",
        _EACH,
    ),
    Metric(
        "taskdb_disk_bytes",
        "gauge",
        ("place",),
        "Size of that disk.",
        _EACH,
    ),
    Metric(
        "taskdb_database_pool_connections",
        "gauge",
        ("state",),
        "Connections of this beat to the database: `open`, and those of them `in_use`.",
        _EACH,
    ),
    Metric(
        "taskdb_database_pool_limit",
        "gauge",
        (),
        "How many connections this beat may open.",
        _EACH,
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}
