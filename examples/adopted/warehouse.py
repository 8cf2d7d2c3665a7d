"""A Celery project from before. The last three lines are all that is new in it."""

import os
import random
from collections.abc import Mapping
from typing import Any

from celery import Celery, Task, chain, chord, group

app = Celery(
    "warehouse",
    broker=os.environ.get("BROKER_URL", "redis://localhost:6379/0"),
    backend=os.environ.get("RESULT_URL", "redis://localhost:6379/1"),
    include=["stock"],
)
app.conf.task_routes = {"warehouse.label": {"queue": "printer"}}
app.conf.broker_connection_retry_on_startup = True


class Audited(Task):  # type: ignore[misc]
    """A task class of the project's own."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:  # noqa: ARG002 - as Celery calls it
        print(f"audit: {self.name} failed: {exc}")


@app.task(name="warehouse.pick")
def pick(order: Mapping[str, Any]) -> list[str]:
    """The articles of an order."""
    return [str(line) for line in order["lines"]]


@app.task(name="warehouse.weigh", bind=True, max_retries=5, retry_backoff=True)
def weigh(self: Any, article: str) -> int:
    """The scale is moody: it works at the third attempt."""
    is_moody = self.request.retries in {0, 1}
    if is_moody:
        raise self.retry(countdown=0.2, exc=TimeoutError("the scale does not answer"))
    return len(article) * 100


@app.task(name="warehouse.total")
def total(grams: list[int]) -> int:
    """What all weigh together."""
    return sum(grams)


@app.task(name="warehouse.label", ignore_result=True)
def label(grams: int, password: str = "") -> None:
    """Printed on another queue; the password is for the printer."""
    print(f"label: {grams} g")


@app.task(name="warehouse.charge", base=Audited)
def charge(number: int, card: str) -> None:
    """Fails for good."""
    raise ValueError(f"order {number}: the card was refused")


@app.task(name="warehouse.ship", bind=True)
def ship(self: Any, order: Mapping[str, Any]) -> str:
    """Weigh all articles side by side, add it up, print a label."""
    articles = pick(order)
    work = chord(group(weigh.s(article) for article in articles), total.s())
    chain(work, label.s(password="open sesame")).delay()  # noqa: S106 - to show that it is not kept
    return f"order {order['number']} is on its way"


def some_order() -> dict[str, Any]:
    """An order of three articles."""
    number = random.randint(1_000, 9_999)  # noqa: S311 - no secret
    return {"number": number, "lines": ["bolt", "washer", "nut"]}


from taskdb_worker import track  # noqa: E402 - new, beside what was

track(app, exclude=["warehouse.ping"])
