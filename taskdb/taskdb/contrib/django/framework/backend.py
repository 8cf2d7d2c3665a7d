"""The backend of Django's task framework: enqueue is a submit, and a result is a row."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from typing import Any

from django.apps import apps
from django.core import checks

from taskdb.client.default import default_taskdb
from taskdb.client.submission.transaction import transaction_for
from taskdb.contrib.django.framework.names import Framework, framework
from taskdb.contrib.django.framework.result import NOTE, as_django, as_utc, result_of
from taskdb.contrib.django.framework.run import run_task
from taskdb.contrib.django.framework.task_type import TypeOptions, declare, priority_of, task_of
from taskdb.errors import TaskNotFound
from taskdb.model.attempt import attempts_of
from taskdb.model.entity import Attempt, TaskEntity
from taskdb.model.json_text import encode
from taskdb.store.task.task_id import is_id
from taskdb.types.registry import default_registry

BUILT_IN, BACKPORT = "django.tasks", "django_tasks"

APP_MISSING = "taskdb.E010"


def default_backend() -> Any:
    """Return the backend of the installed framework; raises ImportError if there is none."""
    try:
        return backend_of(BUILT_IN)
    except ImportError as error:
        if error.name != BUILT_IN:
            raise
    try:
        return backend_of(BACKPORT)
    except ImportError as error:
        if error.name != BACKPORT:
            raise
        message = "this Django has no django.tasks: pip install django-tasks, its backport"
        raise ImportError(message, name=BACKPORT) from None


@cache
def backend_of(name: str) -> Any:
    """Return the backend class for one of the two frameworks."""
    known = framework(name)
    attributes = {"framework": known, "__module__": __name__, "__doc__": _Backend.__doc__}
    return type("TaskDBBackend", (_Backend, known.backend), attributes)


class _Backend:
    """``TASKS = {"default": {"BACKEND": "taskdb.contrib.django.TaskDBBackend"}}``.

    ``OPTIONS["types"]`` gives tasks options that Django does not have: retries, time limits, how
    many run at once.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    framework: Framework
    alias: str
    queues: set[str]
    options: dict[str, Any]

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)  # type: ignore[call-arg]  # of the framework's class
        try:
            self._types = TypeOptions.of_backend(self.options)
        except ValueError as error:
            raise self.framework.invalid_backend(f"TASKS[{alias!r}]: {error}") from None
        # A worker without a list of queues consumes all of them.
        default_registry.consume(self.queues - {self.framework.default_queue})

    def validate_task(self, task: Any) -> None:
        """Refuse tasks that the framework refuses; declare the type of every other task."""
        super().validate_task(task)  # type: ignore[misc]  # of the framework's class
        declare(task, partial(run_task, self.framework), self._types)

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Submit the task, in the open transaction.

        Raises the framework's error for an invalid task, TypeError and ValueError for arguments
        that are not JSON, DatabaseError.
        """
        self.validate_task(task)
        made = self._ready(task, args, kwargs)
        call = {"args": made.args, "kwargs": made.kwargs}
        # Django accepts NaN as JSON; a row would store another value.
        encode(call, f"the call of {task.module_path}")
        entity = default_taskdb().submit_task(
            task.module_path,
            call,
            queue=self._queue(task),
            priority=priority_of(task.priority),
            run_at=as_utc(task.run_after),
            attributes={NOTE: self._note(task)},
        )
        object.__setattr__(made, "id", entity.id)
        object.__setattr__(made, "enqueued_at", as_django(entity.created_at))
        self.framework.enqueued.send_robust(type(self), task_result=made)
        return made

    def get_result(self, result_id: str) -> Any:
        """Return the current result, also for a task enqueued in the open transaction."""
        try:
            entity, attempts = _read(str(result_id))
        except TaskNotFound:
            raise self.framework.no_such_result(str(result_id)) from None
        default_taskdb().types.discover()
        django_task = task_of(entity.type)
        if django_task is None:
            raise self.framework.no_such_result(str(result_id))
        return result_of(self.framework, django_task, entity, attempts)

    def check(self, **_: Any) -> Iterable[checks.CheckMessage]:
        """Yield the messages of `manage.py check` for this backend."""
        if not apps.is_installed("taskdb.contrib.django"):
            yield checks.Error(
                f"TASKS[{self.alias!r}] needs the app taskdb.contrib.django.",
                hint="Add it to INSTALLED_APPS.",
                id=APP_MISSING,
            )

    def _ready(self, task: Any, args: Any, kwargs: Any) -> Any:
        return self.framework.result(
            task=task,
            id="",
            status=self.framework.status.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )

    def _queue(self, task: Any) -> str | None:
        """Return the queue of a task; Django's default queue becomes our default queue."""
        is_default = task.queue_name == self.framework.default_queue
        return None if is_default else str(task.queue_name)

    def _note(self, task: Any) -> dict[str, Any]:
        note = {"backend": self.alias, "priority": task.priority, "queue_name": task.queue_name}
        return note if task.run_after is None else {**note, "is_deferred": True}


def _read(result_id: str) -> tuple[TaskEntity, list[Attempt]]:
    """Return a task and its attempts; raises TaskNotFound, also for an invalid id."""
    if not is_id(result_id):
        raise TaskNotFound(result_id)
    taskdb = default_taskdb()
    try:
        entity = taskdb.get_task(result_id)
    except TaskNotFound:
        transaction = transaction_for(None, taskdb.settings.store_url)
        connection = None if transaction is None else transaction.connection()
        if connection is None:
            raise
        # The row is not committed, so no worker has run it.
        return taskdb.store.tasks.get(
            result_id, taskdb.scope, taskdb.reader, connection=connection
        ), []
    if entity.attempt == 0:
        return entity, []
    return entity, attempts_of(taskdb.task_history(entity.id))
