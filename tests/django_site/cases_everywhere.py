"""Test cases of a Django project that hold wherever its tasks live; `manage.py test` runs them."""

from django.db import transaction
from django.test import TestCase, TransactionTestCase

from taskdb import default_taskdb, submit_task
from taskdb.contrib.django.testing import TaskDBTestMixin
from tests.django_site.orders.models import Order


class Rehearsed(TaskDBTestMixin, TestCase):
    """The transaction of the test never commits."""

    databases = "__all__"

    def test_a_task_is_seen_and_runs(self) -> None:
        entity = submit_task("orders.pack", {"order": 1})
        with transaction.atomic():
            order = Order.objects.create(customer="Ada")
            submit_task("orders.rename", {"order": order.pk})
        self.assert_submitted("orders.pack", count=1)
        self.assert_submitted("orders.rename", {"order": order.pk}, count=1)
        assert self.drain().runs == 2
        order.refresh_from_db()
        assert (order.customer, entity.refresh().result) == ("ADA", 1)

    def test_a_rollback_leaves_no_task(self) -> None:
        with transaction.atomic():
            submit_task("orders.pack")
            transaction.set_rollback(True)
        assert self.submitted() == []


class RehearsedElsewhere(Rehearsed):
    """The tasks may live in a database that is not one of the test: they are in memory."""

    databases = {"default"}  # noqa: RUF012 - Django's attribute


class RehearsedCommitting(TaskDBTestMixin, TransactionTestCase):
    databases = "__all__"

    def test_a_task_is_seen_and_runs(self) -> None:
        with transaction.atomic():
            submit_task("orders.pack")
        assert self.drain().runs == 1


class Reading(TransactionTestCase):
    """Leaves connections of ours open when the suite ends."""

    databases = "__all__"

    def test_the_client_reads(self) -> None:
        assert default_taskdb().list_tasks(status="HALTED") == ()
