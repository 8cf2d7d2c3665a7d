"""Plain Celery tasks in the same worker as tracked ones: nothing may happen to them."""

import json

from celery import shared_task, signals
from tests.integration.worker_tasks import folder

from taskdb_worker.signals import Receivers

SIGNALS = ("prerun", "success", "failure", "retry", "revoked", "unknown", "rejected", "postrun")


@shared_task(name="foreign.adds")  # type: ignore[untyped-decorator]  # Celery has no types
def adds(name: str, number: int) -> int:
    (folder() / name).write_text(str(number + 1))
    return number + 1


@shared_task(name="foreign.raises")  # type: ignore[untyped-decorator]  # Celery has no types
def raises(name: str) -> None:
    (folder() / name).touch()
    raise ValueError("foreign")


@shared_task(  # type: ignore[untyped-decorator]  # Celery has no types
    name="foreign.retries", bind=True, max_retries=1, default_retry_delay=0
)
def retries(self: object, name: str) -> None:
    with (folder() / name).open("a") as file:
        file.write("x")
    raise self.retry()  # type: ignore[attr-defined]


@shared_task(name="foreign.counts_receivers")  # type: ignore[untyped-decorator]  # Celery has no types
def counts_receivers(name: str) -> None:
    """Write how many receivers of ours each task signal has in this very process."""
    counts = {}
    for signal in SIGNALS:
        receivers = getattr(signals, f"task_{signal}")._live_receivers(None)
        counts[signal] = sum(
            isinstance(getattr(one, "__self__", None), Receivers) for one in receivers
        )
    (folder() / name).write_text(json.dumps(counts))
