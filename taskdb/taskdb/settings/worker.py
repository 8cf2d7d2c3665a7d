"""Settings of workers: their heartbeat, limits of a run, and shutdown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_settings import NoDecode

from taskdb.settings.value import parse_json


class WorkerSettings(BaseModel, defer_build=True):
    """Everything that a worker does by default, and the Celery settings under it."""

    heartbeat_seconds: float = Field(
        default=5.0, gt=0, description="Pause between two heartbeats of a worker."
    )
    worker_lease_seconds: float = Field(
        default=20.0, gt=0, description="A worker without a heartbeat for this long is dead."
    )
    max_crashes: int = Field(
        default=3,
        gt=0,
        description="A task whose process died this often is HALTED as poison.",
    )
    cancel_grace_seconds: float = Field(
        default=10.0,
        ge=0,
        description="Time that a running body has to end by itself after a cancel.",
    )
    unregistered_limit: int = Field(
        default=10,
        gt=0,
        description="A task fails after this many deliveries to workers that do not know its type.",
    )
    unregistered_delay_seconds: float = Field(
        default=5.0,
        ge=0,
        description="Pause before a task of an unknown type is published again.",
    )
    task_time_limit_seconds: float = Field(
        default=3600, gt=0, description="Hard limit of a type that names no timeout."
    )
    task_soft_time_limit_seconds: float = Field(
        default=3300,
        gt=0,
        description="Soft limit of a type that names no soft timeout.",
    )
    visibility_timeout_seconds: float = Field(
        default=7200,
        gt=0,
        description="Redis only: an unacknowledged message is delivered again after this.",
    )
    worker_max_tasks_per_child: int = Field(
        default=1000,
        ge=0,
        description="A prefork child is replaced after this many tasks; 0: never.",
    )
    worker_max_memory_per_child_kib: int = Field(
        default=400_000,
        ge=0,
        description="A prefork child is replaced beyond this resident size in KiB; 0: never.",
    )
    worker_exit_seconds: float = Field(
        default=10.0,
        ge=0,
        description="A worker that has shut down is killed if its process lives longer than this.",
    )
    worker_soft_shutdown_seconds: float = Field(
        default=0.0,
        ge=0,
        description="In a soft shutdown (SIGQUIT, or SIGTERM with `REMAP_SIGTERM=SIGQUIT`) a "
        "worker gives running bodies this long before it hands them back.",
    )
    health_dir: Path | None = Field(
        default=None,
        description="Folder where a worker touches the file `alive` with every turn of its "
        "heartbeat, and `seen` with every heartbeat that reached the database. Empty: no files.",
    )
    celery: Annotated[dict[str, Any], NoDecode, BeforeValidator(parse_json)] = Field(
        default_factory=dict,
        repr=False,
        exclude=True,
        description="Further Celery settings as JSON; they override those of this package.",
    )
    redis_transport: Literal["taskdb", "kombu"] = Field(
        default="taskdb",
        description="Redis transport: `taskdb` (faster), or `kombu`, the stock one, with Celery's "
        "own event loop.",
    )
    worker_prefork: Literal["taskdb", "celery"] = Field(
        default="taskdb",
        description="Process pool of a worker: `taskdb` (loses nothing at a warm shutdown), or "
        "`celery`, the stock one.",
    )
