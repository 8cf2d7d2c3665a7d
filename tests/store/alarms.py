"""Failures for the tests of alarms, and what was made of them."""

from datetime import timedelta
from typing import Any

from sqlalchemy import text

from taskdb.model.alarm.alarm import AlarmEntity, AlarmSource
from taskdb.model.alarm.route import AlarmRules, Route
from taskdb.model.entity import TaskError
from taskdb.redaction.redaction import Redaction
from taskdb.store.contract import EVERYONE
from taskdb.store.outgoing.alarm.detection import Folded
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep
from tests.store.tasks import Run, running

WINDOW = timedelta(minutes=5)
TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "/usr/lib/python3.11/site-packages/taskdb_worker/execution.py", line 7, in _call\n'
    '  File "/srv/shop/orders.py", line 41, in pay\n'
    '  File "/srv/shop/card.py", line 12, in charge\n'
    '  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode\n'
    "ValueError: oops\n"
)


def rules(**given: Any) -> AlarmRules:
    values: dict[str, Any] = {
        "window": WINDOW,
        "sources": frozenset(AlarmSource),
        "group_by_tenant": False,
        "with_input": False,
        "channels": ("ops",),
        "routes": (),
    }
    return AlarmRules(**{**values, **given})


def fold(store: Store, limit: int = 2_000, **given: Any) -> Folded:
    return StoreUpkeep(store).detection(rules(**given), Redaction.parse()).fold(limit)


def fail(store: Store, *, message: str = "oops", kind: str = "ValueError", **values: Any) -> Run:
    """A task that failed for good."""
    run = running(store, **values)
    store.outcomes.fail(run.id, run.token, TaskError(kind, message, TRACEBACK, 1))
    return run


def alarms(store: Store) -> list[AlarmEntity]:
    """Every alarm, the oldest first."""
    return sorted(store.alarms.page(EVERYONE, limit=1_000), key=lambda one: one.id)


def only(store: Store) -> AlarmEntity:
    (one,) = alarms(store)
    return one


def messages(store: Store) -> list[tuple[str, str, int, int]]:
    """Channel, kind, count and total of every message, in order."""
    sql = "SELECT channel, kind, count, total FROM taskdb_delivery ORDER BY sequence, channel"
    with store.database.transaction() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def over(store: Store) -> None:
    """The windows that are open end now."""
    with store.database.transaction() as connection:
        connection.execute(
            text("UPDATE taskdb_alarm SET window_until = :past WHERE window_until IS NOT NULL"),
            {"past": "2020-01-01T00:00:00.000Z"},
        )


def route(*to: str, **given: Any) -> Route:
    return Route(to=to, **given)
