"""An application that knows no Celery app: its tasks are shared."""

from celery import shared_task


@shared_task(name="stock.reserve", autoretry_for=(ConnectionError,), max_retries=3)
def reserve(article: str, amount: int = 1) -> dict[str, int]:
    """Keep some of an article for somebody."""
    return {article: amount}
