"""Our kind of Celery app: it refuses at once what would keep its caller waiting for ever."""

# Celery's base class has no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from celery import Celery
from celery.result import AsyncResult

from taskdb.celery.refused_settings import check_configured
from taskdb.celery.result_backend import ChordRefused

_FOLLOWING = ("chain", "link", "link_error")
"""Options of a message that hold what is to be called after its task."""


class RowResult(AsyncResult):
    """A result that is read from a row, also of a task whose result Celery is told to ignore.

    Celery answers None at once for those, whatever became of them.
    """

    @property
    def ignored(self) -> bool:
        return False

    @ignored.setter
    def ignored(self, value: bool) -> None:
        """Nothing: rows keep every result."""


class TaskDBCelery(Celery):
    """Refuses chords also where Celery would meet them only after their first task has run.

    A chord that is called itself is refused by the result backend.
    """

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802 - Celery's name
        """The class of this app's results."""
        return self.subclass_with_self(RowResult)

    def config_from_object(self, *arguments: Any, **options: Any) -> Any:
        """Add settings behind ours; raises SettingsError for one that would break a promise."""
        super().config_from_object(*arguments, **options)
        check_configured(self.conf)

    def send_task(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Publish a task; raises ChordRefused where a chord is to follow it."""
        if any(_holds_chord(options[one]) for one in _FOLLOWING if options.get(one)):
            raise ChordRefused
        return super().send_task(name, *arguments, **options)


def _holds_chord(given: Any) -> bool:
    """Whether a signature, or any in a list of them, is a chord or leads to one."""
    if isinstance(given, list | tuple):
        return any(_holds_chord(one) for one in given)
    if not isinstance(given, Mapping):
        return False
    kind = given.get("subtask_type")
    if kind == "chord":
        return True
    options = given.get("options") or {}
    if any(_holds_chord(options[one]) for one in _FOLLOWING if options.get(one)):
        return True
    tasks = (given.get("kwargs") or {}).get("tasks") if kind in {"chain", "group"} else None
    return _holds_chord(tasks)
