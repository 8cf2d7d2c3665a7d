"""Settings of workers: their heartbeat, limits of a run, and shutdown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from taskdb.settings.value import JsonObject


class WorkerSettings(BaseModel, defer_build=True):
    """Everything that a worker does by default, and the Celery settings under it."""

    heartbeat_seconds: PositiveFloat = 5.0
    """Pause between two heartbeats of a worker."""
    worker_lease_seconds: PositiveFloat = 20.0
    """A worker without a heartbeat for this long is dead."""
    max_crashes: PositiveInt = 3
    """A task whose process died this often is HALTED as poison."""
    cancel_grace_seconds: NonNegativeFloat = 10.0
    """Time that a running body has to end by itself after a cancel."""
    unregistered_limit: PositiveInt = 10
    """A task fails after this many deliveries to workers that do not know its type."""
    unregistered_delay_seconds: NonNegativeFloat = 5.0
    """Pause before a task of an unknown type is published again."""
    task_time_limit_seconds: PositiveFloat = 3600
    """Hard limit of a type that names no timeout."""
    task_soft_time_limit_seconds: PositiveFloat = 3300
    """Soft limit of a type that names no soft timeout."""
    visibility_timeout_seconds: PositiveFloat = 7200
    """Redis only: an unacknowledged message is delivered again after this."""
    worker_max_tasks_per_child: NonNegativeInt = 1000
    """A prefork child is replaced after this many tasks; 0: never."""
    worker_max_memory_per_child_kib: NonNegativeInt = 400_000
    """A prefork child is replaced beyond this resident size in KiB; 0: never."""
    worker_exit_seconds: NonNegativeFloat = 10.0
    """A worker that has shut down is killed if its process lives longer than this."""
    worker_soft_shutdown_seconds: NonNegativeFloat = 0.0
    """In a soft shutdown (SIGQUIT, or SIGTERM with `REMAP_SIGTERM=SIGQUIT`) a worker gives running
    bodies this long before it hands them back."""
    health_dir: Path | None = None
    """Folder where a worker touches the file `alive` with every turn of its heartbeat, and `seen`
    with every heartbeat that reached the database. Empty: no files."""
    celery: Annotated[JsonObject, Field(repr=False, exclude=True)] = {}
    """Further Celery settings as JSON; they override those of this package."""
    redis_transport: Literal["taskdb", "kombu"] = "taskdb"
    """Redis transport: `taskdb` (faster), or `kombu`, the stock one, with Celery's own event
    loop."""
    worker_prefork: Literal["taskdb", "celery"] = "taskdb"
    """Process pool of a worker: `taskdb` (loses nothing at a warm shutdown), or `celery`, the stock
    one."""
