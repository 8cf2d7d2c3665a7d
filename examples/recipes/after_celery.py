"""The same as a task type."""

from datetime import UTC, datetime, timedelta
from typing import Any

from taskdb import Retry, submit_task, task

RETRY = Retry(max_attempts=5, retry_on=(ConnectionError,))


@task("receipt.send", queue="mail", retry=RETRY, timeout=60)
def send_receipt(order: int) -> str:
    """Send the receipt of an order."""
    return f"receipt of order {order}"


def place_order(order: int, session: Any = None) -> None:
    """Called by a view, inside its transaction."""
    submit_task(
        "receipt.send",
        {"order": order},
        delay=60,
        deadline=datetime.now(UTC) + timedelta(hours=1),
        unique_key=f"order-{order}",
        session=session,
    )
