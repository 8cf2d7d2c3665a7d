"""TaskContext: the data and the verbs of a body for its own run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, MutableMapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from taskdb.errors import NotEncodable
from taskdb.logger import get_logger
from taskdb.model.bounds import LARGEST, as_duration, shown
from taskdb.model.clock import require_aware
from taskdb.model.entity import SubTaskResult
from taskdb.model.fan_out import FanOut, Join
from taskdb.model.json_text import encode, storable
from taskdb.model.outcome import Report

log = get_logger("taskdb.context")

ATTRIBUTES_INTERVAL_SECONDS = 0.5
"""A report of progress compares attributes at most this often. The outcome always does."""
CANCEL_INTERVAL_SECONDS = 1.0
"""The database is read for a cancel at most this often."""


_NONE = "{}"
"""The encoding of no attributes."""


class Run(Protocol):
    """The connection from a context to the row of its run."""

    def report(self, report: Report) -> None:
        """Write a report of the body soon. Does not wait for it."""

    def cancel_wanted(self) -> bool:
        """Return whether a cancel was requested, or this run has lost its claim."""

    def fan_out(self, type: str, items: Iterable[Any], options: FanOut) -> None:
        """Create sub-tasks of this run's task. Raises Cancel where it may not."""

    def results(self) -> Iterator[SubTaskResult]:
        """Return the result of each part of the parent."""

    def parent_input(self) -> Any:
        """Return the input of the parent, as JSON values; None without a parent."""

    def wait_for_callback(self, deadline: timedelta | datetime | None) -> str:
        """Create the token of a callback. Raises Cancel where it may not."""


class Attributes(MutableMapping[str, Any]):
    """JSON values of the user on the task, stored with a report of progress or with the outcome.

    Setting a value raises NotEncodable if it is not JSON.
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
        """Return all values if any of them, at any depth, has changed since the last write."""
        if not self._values and self._written == _NONE:
            return None
        try:
            text = encode(self._values, "ctx.attributes")
        except NotEncodable as error:
            # A value was changed in place after it was set; the outcome must not fail for it.
            log.warning("attributes.dropped", reason=str(error))
            return None
        if text == self._written:
            return None
        self._written = text
        return dict(self._values)


class TaskContext:
    """The first parameter of a body that declares one named `ctx`, or typed TaskContext.

    `task_id`, `type`, `tenant`, `attempt` (from 1) and `attempts_left` describe the run;
    `parent_id` and `position` are set in a sub-task. `attributes` is a mapping that is stored;
    `log` is a logger with the id, type, tenant and attempt of the task.
    """

    def __init__(  # noqa: PLR0913 - the values of a run, all by keyword
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
        self._compared_at = float("-inf")
        self._asked_at = float("-inf")
        self._canceled = False

    @property
    def log(self) -> Any:
        """A structlog logger bound to this run."""
        return get_logger("taskdb.task").bind(
            task_id=self.task_id, task_type=self.type, tenant=self.tenant, attempt=self.attempt
        )

    def progress(self, current: int, total: int | None = None, message: str = "") -> None:
        """Report progress. The first report moves the task to PROCESSING.

        It never waits, and is cheap to call often: the worker writes reports beside the body, at
        most twice a second, and the last one with the outcome.
        """
        if not isinstance(message, str):
            reason = f"message={shown(message)} is not text"  # type: ignore[unreachable]
            raise TypeError(reason)
        whole, said = (_whole(current), _whole(total)), storable(message, 1_000)
        now, attributes = time.monotonic(), None
        if now - self._compared_at >= ATTRIBUTES_INTERVAL_SECONDS:
            self._compared_at, attributes = now, self.attributes.unwritten()
        self._run.report(Report(attributes, *whole, said))

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
        """Split this task: it becomes the parent of one part of `type` per item.

        When this returns, all items are read and the parts exist; the body should return then. Its
        return value is not kept: the result of the task is the result of the join, or of `on_join`
        (by default that of this task's type). No worker waits while the parts run. A run may call
        this once.

        Raises InvalidInput and UnknownTaskType, in which case nothing was created. Raises `Cancel`
        when a cancel was requested, or another run has the task; the body should not catch it.
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
        """Let an outside system end this task. Returns the token that it needs.

        Pass the token on, then let the body return: the task waits without a worker until
        `resume_task(token, output)` completes it with that output, or `resume_task(token,
        error=...)` fails it. The return value of the body is not kept. A callback is accepted as
        soon as this returns, also while the body still runs. A body that raises fails its attempt,
        unless a callback was accepted before. The next attempt needs a new token; the old one is
        then refused. A run may call this once.

        `deadline` is a time from now (seconds or timedelta) or a moment; a task without a callback
        is FAILED then. The token is enough to end the task, so do not log it. It is not stored and
        cannot be read again.

        Raises ValueError for a deadline in the past. Raises `Cancel` when a cancel was requested,
        or another run has the task; the body should not catch it.
        """
        return self._run.wait_for_callback(_deadline(deadline))

    def results(self) -> Iterator[SubTaskResult]:
        """In a handler such as `on_join`: the results of the parent's parts, in item order.

        They are read page by page, so any number of parts fits into memory.
        """
        return self._run.results()

    @property
    def parent_input(self) -> Any:
        """In a step, a part or a handler: the input of its parent, as JSON values.

        A step of a sequence gets only the result of the step before; this is the input of the
        whole sequence. None for a task without a parent. Each access reads the database. Raises
        TaskNotFound when the parent was deleted, PayloadMissing when its input was.
        """
        return self._run.parent_input()

    @property
    def cancel_requested(self) -> bool:
        """Whether a cancel of this task was requested. The body then raises `Cancel` or returns.

        Once True it stays True. Reads the database at most once a second.
        """
        now = time.monotonic()
        if not self._canceled and now - self._asked_at >= CANCEL_INTERVAL_SECONDS:
            self._asked_at = now
            self._canceled = self._run.cancel_wanted()
        return self._canceled

    def unwritten(self) -> Report:
        """Return the attributes that no report has contained yet."""
        return Report(self.attributes.unwritten())


def _deadline(given: timedelta | datetime | float | None) -> timedelta | datetime | None:
    """Return the deadline as a duration or a moment. Raises ValueError."""
    if isinstance(given, datetime):
        return require_aware(given, "deadline")
    if given is None:
        return None
    try:
        length = as_duration(given, "deadline")
    except TypeError as error:
        raise ValueError(str(error)) from None
    if not length:
        raise ValueError(f"deadline={given!r} is not in the future: pass a time from now")
    return length


def _whole(number: int | None) -> int | None:
    """Return a number that fits the column. Raises ValueError for a negative or too large one."""
    if number is None:
        return None
    try:
        whole = int(number)
    except OverflowError:
        whole = -1
    if not 0 <= whole <= LARGEST:
        raise ValueError(f"progress({shown(number)}): pass whole numbers of zero or more")
    return whole
