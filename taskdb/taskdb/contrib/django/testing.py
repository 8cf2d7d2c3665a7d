"""For Django's test cases: what a test submits is looked at, and run, in the test's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from taskdb.client.default import default_taskdb
from taskdb.contrib.django import database
from taskdb.contrib.django.configuration import option
from taskdb.contrib.django.joined_connection import joined_connection
from taskdb.model.entity import TaskEntity
from taskdb.testing import Drained, Rehearsal, RehearsalClock, rehearse


class TaskDBTestMixin:
    """Stands before `TestCase` (or `TransactionTestCase`) among the bases of a test case.

    The methods are those of `taskdb.testing.Rehearsal`. Nothing is published while a test runs, and
    time stands still. In a `TestCase` the bodies run inside the transaction of the test, see what
    it has written, and are rolled back with it; `on_commit` need not be captured.
    """

    rehearsal: Rehearsal

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.rehearsal = self.enterContext(rehearsing())  # type: ignore[attr-defined]

    @property
    def clock(self) -> RehearsalClock:
        return self.rehearsal.clock

    def run_task(
        self, type: str | Callable[..., Any], input: Any = None, **options: Any
    ) -> TaskEntity:
        """`Rehearsal.run_task`."""
        return self.rehearsal.run_task(type, input, **options)

    def drain(self, **options: Any) -> Drained:
        """`Rehearsal.drain`."""
        return self.rehearsal.drain(**options)

    def submitted(self, *what: Any, **criteria: Any) -> list[TaskEntity]:
        """`Rehearsal.submitted`."""
        return self.rehearsal.submitted(*what, **criteria)

    def assert_submitted(self, *what: Any, **criteria: Any) -> list[TaskEntity]:
        """`Rehearsal.assert_submitted`."""
        return self.rehearsal.assert_submitted(*what, **criteria)


@contextmanager
def rehearsing() -> Iterator[Rehearsal]:
    """Rehearse on the project's TaskDB, in the open transaction of its database if there is one.

    That transaction is its thread's: bodies of an asynchronous test run in another one, and so
    need a `TransactionTestCase`.
    """
    taskdb = default_taskdb()
    alias = database.alias_on(taskdb.settings.store_url, option("DATABASE"))
    is_joined = alias is not None and connections[alias].in_atomic_block
    connection = (lambda: joined_connection(connections[alias])) if is_joined else None
    with rehearse(taskdb, connection=connection) as rehearsal:
        yield rehearsal
