"""The servers of a measurement: a PostgreSQL with our tables and a Redis, on free ports."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.servers.postgresql import PostgreSQL
from tests.servers.redis import Redis

from taskdb.store.engine.migrations.migrate import migrate


@dataclass(frozen=True, slots=True)
class Servers:
    """A fresh database, a broker, and the variables of processes that use both."""

    url: str
    broker: Redis
    environment: dict[str, str]


@contextmanager
def servers() -> Iterator[Servers]:
    """Start them, and end them on leaving.

    The environment's workers never replace a child, since a start is not what is measured. Bare
    Celery has the second database of the broker, and the third one for results.
    """
    postgresql, broker = PostgreSQL(), Redis()
    try:
        postgresql.start()
        broker.start()
        url = postgresql.create_database("bench")
        migrate(url)
        environment = {
            "TASKDB_DATABASE_URL": url,
            "TASKDB_BROKER_URL": broker.url_of(0),
            "TASKDB_TASK_MODULES": "benchmarks.bench_tasks",
            "TASKDB_WORKER_MAX_TASKS_PER_CHILD": "0",
            "TASKDB_WORKER_MAX_MEMORY_PER_CHILD_KIB": "0",
            "BENCH_BROKER_URL": broker.url_of(1),
            "BENCH_RESULT_URL": broker.url_of(2),
        }
        yield Servers(url, broker, environment)
    finally:
        broker.close()
        postgresql.close()
