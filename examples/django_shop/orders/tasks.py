from django.db.models import Sum

from orders.models import Order, Product
from taskdb import Retry, TaskContext, task


@task("orders.confirm", unique="order", retry=Retry(max_attempts=5))
def confirm(ctx: TaskContext, order: int) -> str:
    found = Order.objects.select_related("product").get(pk=order)
    ctx.log.info("order.confirmed", order=order)
    found.confirmation = f"{found.quantity} x {found.product.name} for {found.customer}"
    found.save(update_fields=["confirmation"])
    return found.confirmation


@task("orders.count_stock", schedule="0 6 * * *")
def count_stock() -> dict[str, int]:
    """What is in stock, and what was ever sold; each morning."""
    sold = Order.objects.aggregate(sold=Sum("quantity"))["sold"] or 0
    left = Product.objects.aggregate(left=Sum("stock"))["left"] or 0
    return {"sold": sold, "left": left}
