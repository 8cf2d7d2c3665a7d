"""The tasks that are measured: a body that does nothing, tracked and bare."""

import os

from celery import Celery

from taskdb import task


@task("bench.noop")
def noop() -> None:
    """Do nothing."""


@task("bench.fails")
def fails() -> None:
    """Fail, always for the same cause."""
    raise ValueError("it always does")


_ALIKE = {
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    "task_acks_late": True,
    "task_time_limit": 3600,
    "task_soft_time_limit": 3300,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_max_tasks_per_child": None,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_send_task_events": False,
    "broker_connection_retry_on_startup": True,
    "broker_transport_options": {"visibility_timeout": 7200, "health_check_interval": 25},
}
"""What a tracked worker runs with, so that only the database of record differs."""

bare = Celery("bare", broker=os.environ.get("BENCH_BROKER_URL"))
bare.conf.update(_ALIKE, task_default_queue="bare")


@bare.task(name="bare.noop")
def bare_noop() -> None:
    """Do nothing."""


chorded = Celery(
    "chorded",
    broker=os.environ.get("BENCH_BROKER_URL"),
    backend=os.environ.get("BENCH_RESULT_URL"),
)
chorded.conf.update(_ALIKE, task_default_queue="chorded")


@chorded.task(name="chorded.noop")
def chorded_noop() -> None:
    """Do nothing, as a part of a chord."""


@chorded.task(name="chorded.end", ignore_result=False)
def chorded_end() -> None:
    """The body of the chord."""
