from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from orders.models import Order, Product
from taskdb import submit_task


class SoldOut(Exception):
    pass


@transaction.atomic
def write_order(form: QueryDict) -> dict[str, object]:
    """The order, the task and the stock exist together, or none of them."""
    product = get_object_or_404(Product, name=form["product"])
    quantity = int(form.get("quantity", "1"))
    order = Order.objects.create(customer=form["customer"], product=product, quantity=quantity)
    entity = submit_task("orders.confirm", {"order": order.pk})
    in_stock = Product.objects.filter(pk=product.pk, stock__gte=quantity)
    if not in_stock.update(stock=F("stock") - quantity):
        raise SoldOut
    return {"order": order.pk, "task": entity.id}


@csrf_exempt
@require_POST
def place(request: HttpRequest) -> JsonResponse:
    try:
        return JsonResponse(write_order(request.POST), status=201)
    except SoldOut:
        return JsonResponse({"error": "sold out"}, status=409)


def show(request: HttpRequest, number: int) -> JsonResponse:
    order = get_object_or_404(Order, pk=number)
    return JsonResponse({"customer": order.customer, "confirmation": order.confirmation})


def healthz(request: HttpRequest) -> JsonResponse:
    """The web server is well while it can ask its tables."""
    return JsonResponse({"products": Product.objects.count()})
