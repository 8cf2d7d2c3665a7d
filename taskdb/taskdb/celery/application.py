"""The Celery app of this package. It refuses calls whose caller would wait forever."""

# Celery's base class has no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from celery import Celery
from celery.app.utils import Settings
from celery.result import AsyncResult

from taskdb.celery.refused_settings import check_configured
from taskdb.celery.result_backend import ChordRefused
from taskdb.errors import TaskNotSubmitted

_FOLLOWING = ("chain", "link", "link_error")
"""Message options that hold the signatures to call after the task."""

MAPS = ("celery.map", "celery.starmap", "celery.chunks")
"""Celery's own tasks that call another task's body, without a row, for each item of a list."""


class RowResult(AsyncResult):
    """A result that is read from a row, also for a task with `ignore_result`.

    Celery's own class returns None at once for such a task, in any state.
    """

    @property
    def ignored(self) -> bool:
        return False

    @ignored.setter
    def ignored(self, value: bool) -> None:
        """Do nothing: rows keep every result."""


class OwnSettings(Settings):
    """Celery's settings, without the environment variables that Celery prefers to them.

    `CELERY_BROKER_URL` and similar variables belong to another app of the same site.
    """

    @property
    def broker_url(self) -> Any:
        return self.first("broker_url", "broker_host")

    @property
    def broker_read_url(self) -> Any:
        return self.get("broker_read_url") or self.broker_url

    @property
    def broker_write_url(self) -> Any:
        return self.get("broker_write_url") or self.broker_url

    @property
    def result_backend(self) -> Any:
        return self.get("result_backend")


class TaskDBCelery(Celery):
    """Refuses a chord also where Celery would find it only after an earlier task has run.

    The result backend refuses a chord that is called directly.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # An app has no option for the class of its settings; an attribute of them is a setting.
        object.__setattr__(self._conf, "__class__", OwnSettings)

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802 - Celery's name
        """The result class of this app."""
        return self.subclass_with_self(RowResult)

    def config_from_object(self, *arguments: Any, **options: Any) -> Any:
        """Add settings to those of this package; raises SettingsError if one breaks a promise."""
        super().config_from_object(*arguments, **options)
        check_configured(self.conf)

    def send_task(
        self, name: str, args: Any = None, kwargs: Any = None, *arguments: Any, **options: Any
    ) -> Any:
        """Publish a plain task.

        Raises ChordRefused if a chord follows it, and TaskNotSubmitted if it, or a task that
        follows it, is a task type: a worker would drop a message that has no row.
        """
        given = [options[one] for one in _FOLLOWING if options.get(one)]
        if name in MAPS and isinstance(kwargs, Mapping):
            given.append(kwargs.get("task"))
        following = [signature for one in given for signature in _signatures(one)]
        if any(one.get("subtask_type") == "chord" for one in following):
            raise ChordRefused
        for called in (name, *(one.get("task") for one in following)):
            self.refuse_type(called)
        return super().send_task(name, args, kwargs, *arguments, **options)

    def refuse_type(self, name: Any) -> None:
        """Raise TaskNotSubmitted for a task type of this app's client.

        A publisher's app, which sends the messages of rows, has no client.
        """
        reader = getattr(self, "taskdb_reader", None)
        if reader is not None and isinstance(name, str) and reader.types.discover().find(name):
            raise TaskNotSubmitted(name)


def _signatures(given: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a signature, or those of a list, with every signature that follows them."""
    if isinstance(given, list | tuple):
        for one in given:
            yield from _signatures(one)
    if not isinstance(given, Mapping):
        return
    yield given
    options = given.get("options") or {}
    for one in _FOLLOWING:
        yield from _signatures(options.get(one))
    if given.get("subtask_type") in {"chain", "group"}:
        yield from _signatures((given.get("kwargs") or {}).get("tasks"))
