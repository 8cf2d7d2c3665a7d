"""What a body sees of its own run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, MutableMapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from taskdb.errors import NotEncodable
from taskdb.model.bounds import LARGEST, as_duration, shown
from taskdb.model.clock import require_aware
from taskdb.model.entity import SubTaskResult
from taskdb.model.fan_out import FanOut, Join
from taskdb.model.json_text import encode, storable
from taskdb.model.outcome import Report

log = structlog.get_logger("taskdb.context")

PROGRESS_INTERVAL_SECONDS = 0.25
"""Progress is written at most this often; the last word always reaches the row."""
CANCEL_INTERVAL_SECONDS = 1.0
"""The database is asked for a cancel at most this often."""


_NONE = "{}"
"""No attributes, as they are encoded."""


class Run(Protocol):
    """The way from a context to the row of its run."""

    def report(self, report: Report) -> bool:
        """Write what the body said; False when this run has lost its claim."""

    def cancel_wanted(self) -> bool:
        """Whether someone asked the run to stop, or it has lost its claim."""

    def fan_out(self, type: str, items: Iterable[Any], options: FanOut) -> None:
        """Make sub-tasks of this run's task; raises Cancel where it may not."""

    def results(self) -> Iterator[SubTaskResult]:
        """How the parts of the parent stand."""

    def parent_input(self) -> Any:
        """The input of the parent, as JSON values; None without one."""

    def wait_for_callback(self, deadline: timedelta | datetime | None) -> str:
        """Make a token for the outside; raises Cancel where it may not."""


class Attributes(MutableMapping[str, Any]):
    """Free JSON values on the task; they are stored with the next word of progress or the end.

    Setting one raises NotEncodable for what is not JSON.
    """

    def __init__(self, stored: dict[str, Any]) -> None:
        self._values = dict(stored)
        self._written = encode(stored, "ctx.attributes", deepest=None) if stored else _NONE

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        encode({name: value}, "ctx.attributes")
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Attributes({self._values!r})"

    def unwritten(self) -> dict[str, Any] | None:
        """All of them, if they are not what was last written, also deep inside; else None."""
        if not self._values and self._written == _NONE:
            return None
        try:
            text = encode(self._values, "ctx.attributes")
        except NotEncodable as error:
            # Something inside was changed after it was set; the outcome must not fail for it.
            log.warning("attributes.dropped", reason=str(error))
            return None
        if text == self._written:
            return None
        self._written = text
        return dict(self._values)


class TaskContext:
    """The first parameter of a body that asks for it.

    `task_id`, `type`, `tenant`, `attempt` (from 1) and `attempts_left` describe the run, and
    `parent_id` and `position` its place, where it is a sub-task;
    `attributes` is a mapping that is stored; `log` is a logger that carries them.
    """

    def __init__(  # noqa: PLR0913 - what there is to know of a run
        self,
        run: Run,
        *,
        task_id: str,
        type: str,
        tenant: str,
        attempt: int,
        attempts_left: int,
        attributes: dict[str, Any],
        parent_id: str | None = None,
        position: int | None = None,
    ) -> None:
        self._run = run
        self.task_id = task_id
        self.type = type
        self.tenant = tenant
        self.attempt = attempt
        self.attempts_left = attempts_left
        self.parent_id = parent_id
        self.position = position
        self.attributes = Attributes(attributes)
        self._said: Report | None = None
        self._written_at = float("-inf")
        self._asked_at = float("-inf")
        self._canceled = False

    @property
    def log(self) -> Any:
        """A structlog logger bound to this run."""
        return structlog.get_logger("taskdb.task").bind(
            task_id=self.task_id, task_type=self.type, tenant=self.tenant, attempt=self.attempt
        )

    def progress(self, current: int, total: int | None = None, message: str = "") -> None:
        """Say how far the work is; the task is PROCESSING from the first word on.

        Cheap to call often: it is written a few times a second at most, and with the end.
        """
        if not isinstance(message, str):
            words = f"message={shown(message)} is not text"  # type: ignore[unreachable]
            raise TypeError(words)
        self._said = Report(None, _whole(current), _whole(total), storable(message, 1_000))
        now = time.monotonic()
        if now - self._written_at >= PROGRESS_INTERVAL_SECONDS:
            self._written_at = now
            self._run.report(self.unwritten())
            self._said = None

    def fan_out(
        self,
        items: Iterable[Any],
        *,
        type: str,
        join: Join = "all_succeeded",
        tolerate: float | None = None,
        max_concurrency: int | None = None,
        timeout: timedelta | float | None = None,
        chunk_size: int = 1,
        on_join: Any = None,
    ) -> None:
        """Split this task: it becomes the parent of a part of `type` for each item.

        The items are read and the parts exist when this returns; let the body end then. What it
        returns is not kept: the result is that of the join, or of `on_join` (by default that of
        this task's type). No worker is held while the parts run. Once only in a run.

        Raises InvalidInput and UnknownTaskType (nothing was made), and `Cancel`, which the body
        should let pass, when a cancel was asked for or another run has the task.
        """
        options = FanOut(
            join=join,
            tolerate=tolerate,
            max_concurrency=max_concurrency,
            timeout=timeout,
            chunk_size=chunk_size,
            on_join=on_join,
        )
        self._run.fan_out(type, items, options)

    def wait_for_callback(self, deadline: timedelta | datetime | float | None = None) -> str:
        """Let someone outside end this task; answers the token that they need.

        Give it away and let the body end: the task then waits without a worker until
        `resume_task(token, output)` completes it with that output, or `resume_task(token,
        error=...)` fails it. What the body returns is not kept. An answer counts from the moment
        on in which this returns, also while the body still runs. A body that raises has failed,
        unless it was answered already; the next attempt asks for a token of its own, and the old
        one is worth nothing then. Once only in a run.

        `deadline` is a time from now (seconds or timedelta) or a moment; past it the task is
        FAILED. Whoever has the token can end the task: do not log it. It is not to be had again.

        Raises ValueError for a deadline that is no time to come, and `Cancel`, which the body
        should let pass, when a cancel was asked for or another run has the task.
        """
        return self._run.wait_for_callback(_deadline(deadline))

    def results(self) -> Iterator[SubTaskResult]:
        """In a handler such as `on_join`: how each part of its parent stands, in item order.

        Read a page at a time, so that any number of them fits.
        """
        return self._run.results()

    @property
    def parent_input(self) -> Any:
        """In a step, a part or a handler: the input of its parent, as JSON values.

        What a sequence was given, of which a step sees no more than the step before returned. None
        for a task without a parent. Asks the database each time. Raises TaskNotFound when the
        parent is gone, PayloadMissing when its input is.
        """
        return self._run.parent_input()

    @property
    def cancel_requested(self) -> bool:
        """Someone asked this task to stop; a body that agrees raises `Cancel` or returns.

        Once True it stays True. Asks the database at most once a second.
        """
        now = time.monotonic()
        if not self._canceled and now - self._asked_at >= CANCEL_INTERVAL_SECONDS:
            self._asked_at = now
            self._canceled = self._run.cancel_wanted()
        return self._canceled

    def unwritten(self) -> Report:
        """What the row has not been told yet."""
        said = self._said or Report()
        return Report(self.attributes.unwritten(), said.current, said.total, said.message)


def _deadline(given: timedelta | datetime | float | None) -> timedelta | datetime | None:
    """A deadline as the store takes it; raises ValueError."""
    if isinstance(given, datetime):
        return require_aware(given, "deadline")
    if given is None:
        return None
    try:
        length = as_duration(given, "deadline")
    except TypeError as error:
        raise ValueError(str(error)) from None
    if not length:
        message = f"deadline={given!r}: give a time from now"
        raise ValueError(message)
    return length


def _whole(number: int | None) -> int | None:
    """A number that fits the column; raises ValueError for one that is no count."""
    if number is None:
        return None
    try:
        whole = int(number)
    except OverflowError:
        whole = -1
    if not 0 <= whole <= LARGEST:
        message = f"progress({shown(number)}): give whole numbers of zero or more"
        raise ValueError(message)
    return whole
