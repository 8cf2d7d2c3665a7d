"""The store's verbs through PgBouncer in transaction mode: that they work, and what they cost.

    python -m benchmarks pooler

Needs `pgbouncer` (apt-get install pgbouncer). Eight threads share four connections of the server.
The ways take turns, and each is told as a part of what the direct one did in the same round, which
depends less on who else uses the machine. One is direct without prepared statements: these are
what an older pooler takes away.
"""

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSQL
from uuid_utils import uuid7

from taskdb.model.entity import TaskError
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE, Draft
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.upkeep import StoreUpkeep

THREADS = 8
POOL = 4
LIVES = int(os.environ.get("BENCH_LIVES", "150"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
DONE = Payload({"ok": True}, '{"ok":true}')
OOPS = TaskError("ValueError", "oops")
MINUTE = timedelta(minutes=1)


def main() -> None:
    """Measure and print."""
    with _site() as ways:
        migrate(ways["pooled"])
        print("migrate: through the pooler")
        for url in ways.values():
            with Store(url, pool_size=THREADS).closing() as store:
                _verbs(store)
        rounds = [_round(ways, start) for start in range(ROUNDS)]
        for name in ways:
            _print(name, rounds)


def _round(ways: dict[str, str], start: int) -> dict[str, tuple[float, int]]:
    """Lives a second and connections at the server of each way; another one begins each time."""
    names = list(ways)
    begin = start % len(names)
    return {name: _measured(ways, name) for name in names[begin:] + names[:begin]}


def _measured(ways: dict[str, str], name: str) -> tuple[float, int]:
    with Store(ways[name], pool_size=THREADS).closing() as store:
        _at_once(lambda: _live(store, 5))
        seconds = _at_once(lambda: _live(store, LIVES))
        return THREADS * LIVES / seconds, _server_connections(ways["direct"], name)


def _print(name: str, rounds: list[dict[str, tuple[float, int]]]) -> None:
    rate = statistics.median(one[name][0] for one in rounds)
    parts = sorted(one[name][0] / one["direct"][0] for one in rounds)
    print(
        f"{name}: {rate:,.0f} lives a second (insert, mark, claim, complete),"
        f" {statistics.median(parts):.2f} of direct ({parts[0]:.2f} to {parts[-1]:.2f}),"
        f" {max(one[name][1] for one in rounds)} connections at the server"
    )


@contextmanager
def _site() -> Iterator[dict[str, str]]:
    """The ways to a database, each with a name that its connections bear at the server."""
    server = PostgreSQL()
    pooler = PgBouncer(server.port, "bench", pool_size=POOL)
    try:
        server.start()
        direct = server.create_database("bench")
        pooler.start()
        yield {
            "direct": f"{direct}?application_name=direct",
            "unprepared": f"{direct}?application_name=unprepared&prepare_threshold=none",
            "pooled": f"{pooler.url}?prepare_threshold=none&application_name=pooled",
        }
    finally:
        pooler.close()
        server.close()


def _draft(**values: object) -> Draft:
    given = {
        "id": str(uuid7()),
        "tenant": "acme",
        "type": "sum",
        "name": "sum",
        "status": TaskStatus.CREATED,
        "queue": "q",
        "priority": 5,
        "input": {"a": 1},
    }
    return Draft(**{**given, **values})  # type: ignore[arg-type]


def _verbs(store: Store) -> None:
    """Each kind of statement once: moves, units, leases, locks of limits, lists, counts."""
    (one,) = store.submissions.create([_draft(unique_key=str(uuid7()))], EVERYONE)
    assert store.publications.mark_queued(store.publications.find([one.id])) == {one.id}
    assert store.runs.claim(one.id, token="t", worker="w", max_attempts=2).granted
    assert store.outcomes.error(one.id, "t", OOPS, timedelta(0)) is TaskStatus.ERRORED
    assert store.publications.lease_due(10, MINUTE)
    assert store.runs.claim(one.id, token="u", worker="w", max_attempts=2).granted
    assert store.take_backs.rescue(OOPS, lease=MINUTE, limit=10, max_crashes=3) == {
        one.id: TaskStatus.ERRORED
    }
    store.interventions.cancel(one.id, EVERYONE)
    store.interventions.retry(one.id, EVERYONE)
    assert store.tasks.get(one.id, EVERYONE).status is TaskStatus.CREATED
    spec = FanOutSpec(part_type="part", max_concurrency=2)
    family = store.submissions.create_fan_out(
        _draft(), (_draft() for _ in range(3)), spec, EVERYONE
    )
    parts = store.publications.page_of_parts(family.created.id, "", 10)
    for part in parts:
        assert store.runs.claim(part.id, token=part.id, worker="w", max_attempts=1).granted
        assert store.outcomes.complete(part.id, part.id, DONE) is TaskStatus.COMPLETED
        store.joins.join(family.created.id)
    store.admission.release(10, MINUTE)
    assert store.tasks.page(Filter(), EVERYONE, limit=5)
    assert store.doctor.drifts(lease=MINUTE) is not None
    store.partitions.create()
    reader = StoreUpkeep(store).statistics("bench", MINUTE)
    cursor = reader.begin()
    assert cursor is not None
    assert reader.keep(cursor)
    reader.give_up()
    assert StoreUpkeep(store).counts.tasks(by_tenant=False) is not None


def _live(store: Store, lives: int) -> None:
    for _ in range(lives):
        (one,) = store.submissions.create([_draft()], EVERYONE)
        store.publications.mark_queued(store.publications.find([one.id]))
        assert store.runs.claim(one.id, token=one.id, worker="w", max_attempts=1).granted
        assert store.outcomes.complete(one.id, one.id, DONE) is TaskStatus.COMPLETED


def _at_once(work: Callable[[], None]) -> float:
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _server_connections(url: str, name: str) -> int:
    with psycopg.connect(url.partition("?")[0].replace("+psycopg", "")) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name]
        ).fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()
