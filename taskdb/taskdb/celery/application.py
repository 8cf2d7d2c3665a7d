"""Our kind of Celery app: it refuses at once what would keep its caller waiting for ever."""

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
"""Options of a message that hold what is to be called after its task."""

MAPS = ("celery.map", "celery.starmap", "celery.chunks")
"""Tasks of Celery's own that call the body of another one, without a row, for each of a list."""


class RowResult(AsyncResult):
    """A result that is read from a row, also of a task with `ignore_result`.

    Celery answers None at once for those, whatever became of them.
    """

    @property
    def ignored(self) -> bool:
        return False

    @ignored.setter
    def ignored(self, value: bool) -> None:
        """Nothing: rows keep every result."""


class OwnSettings(Settings):
    """Celery's settings without the variables of the environment that win over them in Celery.

    `CELERY_BROKER_URL` and its kin are those of another app, which a site has beside this one.
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
    """Refuses chords also where Celery would meet them only after their first task has run.

    A chord that is called itself is refused by the result backend.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # The class of its settings is no option of an app, and an attribute of theirs is a setting.
        object.__setattr__(self._conf, "__class__", OwnSettings)

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802 - Celery's name
        """The class of this app's results."""
        return self.subclass_with_self(RowResult)

    def config_from_object(self, *arguments: Any, **options: Any) -> Any:
        """Add settings behind ours; raises SettingsError for one that would break a promise."""
        super().config_from_object(*arguments, **options)
        check_configured(self.conf)

    def send_task(
        self, name: str, args: Any = None, kwargs: Any = None, *arguments: Any, **options: Any
    ) -> Any:
        """Publish a plain task.

        Raises ChordRefused where a chord is to follow it, and TaskNotSubmitted where it, or what
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
        """Raise TaskNotSubmitted for a task type of the client that this app belongs to.

        The app of a publisher, which sends the messages of rows, belongs to none.
        """
        reader = getattr(self, "taskdb_reader", None)
        if reader is not None and isinstance(name, str) and reader.types.discover().find(name):
            raise TaskNotSubmitted(name)


def _signatures(given: Any) -> Iterator[Mapping[str, Any]]:
    """A signature, or those of a list, with all that they lead to."""
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
