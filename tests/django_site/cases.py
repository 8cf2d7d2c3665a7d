"""Test cases of a Django project, run by `test_suites.py` as Django's runner does."""

from contextlib import suppress

from django.db import connections, transaction
from django.test import TestCase, TransactionTestCase

from taskdb import default_taskdb, get_task, submit_fan_out, submit_task
from taskdb.contrib.django.testing import TaskDBTestMixin
from taskdb.model.entity import TaskEntity
from tests.django_site.orders.models import Order
from tests.integration.submit_site import count


class InTransaction(TestCase):
    """Each runs in a transaction that is rolled back."""

    def test_one(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            entity = self.place()
        assert len(callbacks) == 1
        assert isinstance(entity, TaskEntity)
        if connections["default"].vendor == "sqlite":
            # A shared memory: what is not committed can be read there.
            assert get_task(entity.id).type == "orders.pack"

    def test_two(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            submit_fan_out("orders.pack", [{"order": 1}])
        assert len(callbacks) == 1

    def test_queries_are_counted(self) -> None:
        writes = 2 if connections["default"].vendor == "sqlite" else 1
        with self.assertNumQueries(writes), transaction.atomic(durable=False, savepoint=False):
            submit_task("orders.pack")

    def place(self) -> TaskEntity:
        with transaction.atomic():
            Order.objects.create(customer="Ada")
            return submit_task("orders.pack")


class Committing(TransactionTestCase):
    """Each commits, and its database is flushed after it."""

    def test_one(self) -> None:
        self.commit()

    def test_two(self) -> None:
        self.commit()

    def commit(self) -> None:
        assert (count(default_taskdb()), Order.objects.count()) == (0, 0)
        with transaction.atomic():
            Order.objects.create(customer="Ada")
            submit_task("orders.pack")
        assert count(default_taskdb()) == 1


class Rehearsed(TaskDBTestMixin, TestCase):
    """What is submitted runs inside the transaction of the test."""

    def test_what_was_submitted_is_seen_and_run_without_a_commit(self) -> None:
        with transaction.atomic():
            order = Order.objects.create(customer="Ada")
            entity = submit_task("orders.rename", {"order": order.pk}, created_by="ada")
        (found,) = self.assert_submitted("orders.rename", {"order": order.pk}, count=1)
        assert (found.id, found.created_at, found.created_by) == (entity.id, self.clock.at, "ada")
        assert self.drain().failed == ()
        order.refresh_from_db()
        assert order.customer == "ADA"

    def test_what_a_savepoint_took_back_is_not_there(self) -> None:
        with suppress(ZeroDivisionError), transaction.atomic():
            submit_task("orders.pack", {"order": 1})
            _ = 1 / 0
        assert self.submitted() == []

    def test_a_fan_out_and_a_retry_run_to_their_ends(self) -> None:
        parent = submit_fan_out("orders.pack", [{"order": one} for one in range(3)])
        assert self.run_task("orders.refuse", {"reason": "no"}).status == "FAILED"
        assert self.drain().runs == 3
        assert get_task(parent.id).status == "COMPLETED"


class RehearsedCommitting(TaskDBTestMixin, TransactionTestCase):
    """The same where tests commit."""

    def test_it(self) -> None:
        order = Order.objects.create(customer="Ada")
        submit_task("orders.rename", {"order": order.pk})
        assert self.drain().runs == 1
        order.refresh_from_db()
        assert order.customer == "ADA"
