"""The worker's Celery app: each task type as a tracked task, each signal with its receiver."""

# Celery has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from celery import Celery, signals

from taskdb.celery.configuration import create_celery
from taskdb.celery.refused_settings import check_task
from taskdb.client.taskdb import TaskDB
from taskdb.errors import DatabaseError, SettingsError
from taskdb.logger import get_logger
from taskdb.logging import configure_logging
from taskdb.model.duration import seconds_of
from taskdb.settings.settings import Settings
from taskdb.types.task_type import TaskType
from taskdb_worker.chord import install_chord
from taskdb_worker.message.check import MessageCheck
from taskdb_worker.message.decompression import bound_decompression
from taskdb_worker.process.exit_limit import limit_exit
from taskdb_worker.process.options import refuse_named_pool
from taskdb_worker.process.remote_control import install_remote_control
from taskdb_worker.process.shutdown import install_shutdown
from taskdb_worker.process.worker_process import WorkerProcess
from taskdb_worker.run.tracked_task import TrackedTask
from taskdb_worker.signals import Receivers

log = get_logger("taskdb.worker")

_CANCEL_CHECK_SECONDS = 1.0


def create_app(
    settings: Settings | None = None, *, taskdb: TaskDB | None = None, as_current: bool = True
) -> Celery:
    """Create a Celery app that runs the task types of the settings' modules.

    Any Celery command takes it: ``celery -A taskdb_worker.app worker``. Raises SettingsError and
    TaskModuleError; opens no connection.
    """
    taskdb = taskdb or TaskDB(settings)
    registry = taskdb.types.discover()
    app = create_celery(taskdb.settings, as_current=as_current)
    app.taskdb_reader = taskdb
    app.conf.worker_consumer = "taskdb_worker.message.consumer:ReportingConsumer"
    refuse_named_pool(app.conf.worker_pool)
    if app.conf.worker_pool == "prefork" and taskdb.settings.worker_prefork == "taskdb":
        app.conf.worker_pool = "taskdb_worker.process.prefork:TaskPool"
    process = WorkerProcess(taskdb)
    app.taskdb_check = MessageCheck(taskdb.settings, {one.name for one in registry})
    for task_type in registry:
        task = tracked_task(task_type, process)
        app.register_task(task)
        check_task(task)
    install_chord(app, process)
    install_remote_control()
    bound_decompression(app.conf.task_compression)
    app.taskdb_end_now = process.end_canceled_now
    install_shutdown(app, process)
    _know_queues(app, [*(task_type.queue for task_type in registry), *registry.queues])
    # Celery holds receivers weakly. The app keeps them for as long as it lives.
    app.taskdb_life = _Life(app, process)
    return app


def _know_queues(app: Celery, names: Iterable[str | None]) -> None:
    """Make a worker without `-Q` consume every queue that one of its types names.

    Raises SettingsError for a queue that may not be created.
    """
    for name in names:
        if name is None:
            continue
        try:
            queue = app.amqp.queues[name]
        except KeyError:
            raise SettingsError(
                f"TASKDB_CELERY: `task_create_missing_queues` is off, and `task_queues` has no "
                f"queue {name!r}, which a task type names. Add it to `task_queues`"
            ) from None
        # Created as a publisher creates a missing queue, so with the same arguments.
        app.amqp.queues.select_add(queue)


def tracked_task(task_type: TaskType, process: WorkerProcess) -> TrackedTask:
    """Create the Celery task of a type, with its time limits."""
    hard, soft = _limits(task_type, process.taskdb.settings)
    attributes = {
        "name": task_type.name,
        "task_type": task_type,
        "execution": process.execution,
        "time_limit": hard,
        "soft_time_limit": soft,
        "__module__": __name__,
        "__doc__": task_type.description,
    }
    task: TrackedTask = type(task_type.name, (TrackedTask,), attributes)()
    return task


def _limits(task_type: TaskType, settings: Settings) -> tuple[float, float | None]:
    """Return hard and soft limit in seconds. A soft one that could never strike is None."""
    soft = seconds_of(task_type.soft_timeout)
    hard = seconds_of(task_type.timeout)
    if hard is None:
        # The body needs time after the soft limit, also where that exceeds the default hard limit.
        hard = max(settings.task_time_limit_seconds, (soft or 0) + 60 if soft else 0)
    if soft is None and task_type.timeout is None:
        soft = settings.task_soft_time_limit_seconds
    return hard, soft if soft is not None and soft < hard else None


class _Life:
    """Begins and ends a worker that runs this app."""

    def __init__(self, app: Celery, process: WorkerProcess) -> None:
        self._app = app
        self._process = process
        self._receivers = Receivers(process)
        self.exit_code = 0
        signals.setup_logging.connect(self.on_setup_logging)
        signals.worker_init.connect(self.on_init)
        signals.worker_ready.connect(self.on_ready)
        signals.worker_shutdown.connect(self.on_shutdown)

    def on_setup_logging(self, loglevel: Any = None, logfile: Any = None, **_: Any) -> None:
        """Configure this package's logging, with the level and file of Celery's options."""
        settings = self._process.taskdb.settings
        configure_logging(settings, level=loglevel, path=logfile)

    def on_init(self, sender: Any = None, **_: Any) -> None:
        """Begin before the pool starts."""
        if sender is None or sender.app is not self._app:
            return
        self._receivers.connect()
        self._process.begin(
            sender.hostname, tuple(self._app.amqp.queues.consume_from), tuple(self._types())
        )
        self._declare_limits()

    def _declare_limits(self) -> None:
        try:
            self._process.taskdb.limits.declare()
            self._process.taskdb.alarms.declare()
        except DatabaseError as error:
            # The limits of the last start still hold. The next start declares these.
            log.warning("limits.declaration_failed", reason=str(error))

    def on_ready(self, sender: Any = None, **_: Any) -> None:
        """Start to check for canceled bodies from the main loop, once the worker consumes."""
        worker = getattr(sender, "controller", None)
        if worker is None or worker.app is not self._app:
            return
        timer = getattr(sender, "timer", None)
        if timer is not None:
            timer.call_repeatedly(
                _CANCEL_CHECK_SECONDS, self._process.terminate_canceled, (worker.pool,)
            )

    def on_shutdown(self, sender: Any = None, **_: Any) -> None:
        """End after a warm shutdown, when the pool has stopped."""
        if sender is None or sender.app is self._app:
            self._process.end()
            # Celery's own entry point drops the exit code of a worker that ended by an error.
            self.exit_code = getattr(sender, "exitcode", None) or 0
            limit_exit(self._process.taskdb.settings.worker_exit_seconds, self.exit_code)

    def _types(self) -> list[str]:
        return [task.name for task in self._process.taskdb.types.registry]


def __getattr__(name: str) -> Any:
    """Create `app` from the environment on first access, never at import."""
    if name != "app":
        raise AttributeError(name)
    # Celery does this only while it imports a module that `-A` names.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        app = create_app()
    except Exception as error:
        # Celery would report any failure here as a missing attribute.
        log.error("app.failed", reason=str(error))  # noqa: TRY400 - the message has the advice
        raise
    sys.modules[__name__].app = app  # type: ignore[attr-defined]
    return app
