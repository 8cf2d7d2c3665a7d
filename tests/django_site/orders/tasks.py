from taskdb import Retry, Sequence, task
from tests.django_site.orders.models import Order


@task("orders.ship", unique="reference")
def ship(reference: str = "") -> str:
    return reference


@task("orders.pack")
def pack(order: int = 0) -> int:
    return order


@task("orders.rename")
def rename(order: int) -> None:
    found = Order.objects.get(pk=order)
    found.customer = found.customer.upper()
    found.save()


Sequence("orders.close", [pack])


@task("orders.refuse", retry=Retry(max_attempts=1))
def refuse(reason: str) -> None:
    raise ValueError(reason)
