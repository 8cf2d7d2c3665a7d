"""A plain Celery task."""

from celery import Celery, Task

app = Celery("shop", broker="redis://localhost/0")


@app.task(bind=True, name="receipt.send", acks_late=True, max_retries=4, time_limit=60)
def send_receipt(self: Task, order: int) -> str:
    """Send the receipt of an order."""
    try:
        return f"receipt of order {order}"
    except ConnectionError as error:
        raise self.retry(exc=error, countdown=2**self.request.retries) from error


def place_order(order: int) -> None:
    """Called by a view, after its transaction."""
    send_receipt.apply_async((order,), countdown=60, queue="mail", expires=3600)
