"""Test cases of a Django project, run by `test_suites.py` as Django's runner does."""

from django.db import connections, transaction
from django.test import TestCase, TransactionTestCase

from taskdb import default_taskdb, get_task, submit_fan_out, submit_task
from taskdb.entity import TaskEntity
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
