"""For Django's test cases: check and run submitted tasks in the transaction of the test."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from taskdb.client.default import default_taskdb
from taskdb.contrib.django import database
from taskdb.contrib.django.apps import transactions
from taskdb.contrib.django.configuration import option
from taskdb.contrib.django.joined_connection import joined_connection
from taskdb.model.entity import TaskEntity
from taskdb.testing import Drained, Rehearsal, RehearsalClock, rehearse


class TaskDBTestMixin:
    """A mixin; name it before `TestCase` (or `TransactionTestCase`) among the bases.

    The methods are those of `taskdb.testing.Rehearsal`. Nothing is published while a test runs, and
    time stands still. In a `TestCase` the bodies run inside the transaction of the test: they see
    its rows and are rolled back with it. A test need not capture `on_commit`.
    """

    rehearsal: Rehearsal
    databases: Collection[str]

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.rehearsal = self.enterContext(rehearsing(self.databases))  # type: ignore[attr-defined]

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
def rehearsing(databases: Collection[str] | None = None) -> Iterator[Rehearsal]:
    """Rehearse on the project's TaskDB, in the open transaction of its database if there is one.

    Rehearse in memory if the tasks live in none of the `databases` of the test, by default those
    that are in a transaction. A transaction belongs to its thread. Bodies of an asynchronous test
    run in another thread, so such a test needs a `TransactionTestCase`.
    """
    taskdb = default_taskdb()
    alias = database.alias_on(taskdb.settings.store_url, option("DATABASE"))
    in_transaction = [one.alias for one in connections.all() if one.in_atomic_block]
    is_joined = alias is not None and alias in in_transaction
    connection = (lambda: joined_connection(connections[alias])) if is_joined else None
    is_of_test = alias in (in_transaction or connections if databases is None else databases)
    transactions.is_rehearsed = True
    try:
        with rehearse(taskdb if is_of_test else None, connection=connection) as rehearsal:
            rehearsal.before_look = transactions.create_waiting
            yield rehearsal
    finally:
        transactions.is_rehearsed = False
