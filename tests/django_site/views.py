"""Views that submit, as a project has them."""

from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest, JsonResponse

from taskdb import submit_task, submit_task_async
from tests.django_site.orders.models import Order


def order(request: HttpRequest) -> JsonResponse:
    """Under ATOMIC_REQUESTS; fails when it is told to, after the submit."""
    placed = Order.objects.create(customer="Ada")
    entity = submit_task("orders.pack", {"order": placed.pk})
    if "fail" in request.GET:
        raise RuntimeError("after the submit")
    return JsonResponse({"id": entity.id, "status": entity.status})


async def order_async(request: HttpRequest) -> JsonResponse:
    """The ORM's own coroutine, and ours."""
    placed = await Order.objects.acreate(customer="Grace")
    entity = await submit_task_async("orders.pack", {"order": placed.pk})
    return JsonResponse({"id": entity.id})


async def order_in_thread(request: HttpRequest) -> JsonResponse:
    """A transaction in a coroutine is a function in a thread."""

    @transaction.atomic
    def place() -> Any:
        return order(request)

    return await sync_to_async(place)()
