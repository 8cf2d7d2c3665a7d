"""A Celery app from before, for a measurement: as it is, or with `track`."""

import os

from celery import Celery

from taskdb_worker import track

app = Celery(
    "adopted",
    broker=os.environ.get("BENCH_BROKER_URL", "memory://"),
    backend=os.environ.get("BENCH_RESULT_URL") or None,
)
app.conf.update(
    task_default_queue="adopted",
    task_ignore_result=not os.environ.get("BENCH_RESULTS"),
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
)
if os.environ.get("BENCH_TRACK"):
    track(app)


@app.task(name="adopted.work")
def work(order: dict[str, object], milliseconds: float = 0) -> int:
    """So long a computation, or none at all."""
    total = 0
    for _ in range(int(milliseconds * LOOPS_A_MILLISECOND)):
        total += 1
    return total + len(order)


LOOPS_A_MILLISECOND = 25_000
