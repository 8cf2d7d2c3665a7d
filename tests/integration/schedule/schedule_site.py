"""A client with a clock of its own, whose schedules a test fires pass by pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.integration.submit_site import plus, settings

from taskdb import Registry, Settings, TaskDB, TaskEntity, task
from taskdb.model.clock import FixedClock

START = datetime(2031, 5, 5, 10, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Site:
    """A client and its clock; messages are left to a relay that does not run."""

    def __init__(self, given: Settings, registry: Registry, clock: FixedClock) -> None:
        self.clock = clock
        self.taskdb = TaskDB(given, registry=registry, clock=clock)
        self.taskdb.store.joins.on_new = lambda _ids, _families: None

    def add(self, name: str = "it", type: str = "plus", **options: Any) -> str:
        """A schedule that is due every minute unless it says otherwise; its id."""
        if not {"cron", "every", "at"} & set(options):
            options["cron"] = "* * * * *"
        given = options.pop("input", {"a": 1})
        return self.taskdb.schedules.create(name, type, given, **options).id

    def at(self, *moments: str) -> list[datetime]:
        return [datetime.fromisoformat(f"2031-05-05T{one}:00+00:00") for one in moments]

    def fire(self, after: timedelta = timedelta(0)) -> int:
        """Let time pass, and fire until nothing is due; how many tasks were made."""
        self.clock.advance(after)
        made = 0
        while True:
            fired = self.taskdb.schedules.fire()
            made += len(fired.task_ids)
            if not fired.is_full:
                return made

    def runs(self, name: str = "it") -> list[tuple[str, str, int]]:
        """What became of its due times, oldest first: time of day, outcome, number."""
        found = self.taskdb.schedules.runs(name, limit=1_000)
        return [(f"{one.due_at:%H:%M:%S}", str(one.outcome), one.number) for one in found[::-1]]

    def tasks(self) -> list[TaskEntity]:
        return list(self.taskdb.list_tasks(limit=1_000, order="oldest"))

    def write(self, sql: str, **parameters: Any) -> list[Any]:
        return list(self.taskdb.store.database.query(sql, parameters))


def registry() -> Registry:
    """Types to submit again and again."""
    found = Registry()
    task("plus", registry=found)(plus)
    task("once", registry=found, unique="a")(plus)
    return found


@contextmanager
def site(
    store_url: str, folder: Path, types: Registry | None = None, **values: Any
) -> Iterator[Site]:
    made = Site(settings(store_url, folder, **values), types or registry(), FixedClock(START))
    with made.taskdb:
        yield made
