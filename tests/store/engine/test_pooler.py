"""Behind a pooler in transaction mode: nothing of a session holds, and nothing may stay behind."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from tests.servers import PgBouncer, PostgreSQL, ServerMissingError
from tests.store.tasks import DONE, at_once, claim, create
from tests.waiting import wait_until

POOL = 2
THREADS = 6
AT = datetime(2031, 12, 30, 23, 59, 59, 123456, tzinfo=UTC)


@pytest.fixture
def pooler(postgresql_url: str, postgresql_server: PostgreSQL) -> Iterator[PgBouncer]:
    """One that is not started yet: the server's connections have what was set before."""
    name = postgresql_url.rsplit("/", 1)[1]
    try:
        made = PgBouncer(postgresql_server.port, name, pool_size=POOL)
    except ServerMissingError as missing:
        pytest.skip(str(missing))
    with closing(made) as server:
        yield server
    wait_until(lambda: not postgresql_server.connections_to(name))


def have(url: str, sql: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        name = url.rsplit("/", 1)[1]
        connection.execute(f"ALTER DATABASE {name} SET {sql}".encode())


@pytest.mark.parametrize("prepares", [False, True], ids=["prepares nothing", "prepares"])
@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "DateStyle = 'German'",
        "TimeZone = 'Asia/Kathmandu'",
        "extra_float_digits = 0",
    ],
)
def test_lives_are_whole_behind_a_pooler(
    pooler: PgBouncer, postgresql_url: str, setting: str, *, prepares: bool
) -> None:
    have(postgresql_url, setting)
    pooler.start()
    url = pooler.url if prepares else f"{pooler.url}?prepare_threshold=none"
    with Store(url, pool_size=THREADS).closing() as store:
        ids = [create(store) for _ in range(24)]
        create(store, run_at=AT)

        def live(number: int) -> int:
            token = f"token-{number}"
            mine = [one for one in ids if claim(store, one, token)]
            return sum(
                store.outcomes.complete(one, token, DONE) is TaskStatus.COMPLETED for one in mine
            )

        assert sum(at_once(live, THREADS)) == len(ids)
        done = store.tasks.page(Filter(status=(TaskStatus.COMPLETED,)), EVERYONE, limit=50)
        assert {one.attempt for one in done} == {1}
        later = store.tasks.page(Filter(status=(TaskStatus.SCHEDULED,)), EVERYONE, limit=50)
        assert {one.run_at for one in later} == {AT}
        assert all(datetime.now(UTC) - one.created_at < timedelta(minutes=1) for one in done)


def test_the_isolation_that_others_chose_stays_theirs(
    pooler: PgBouncer, postgresql_url: str
) -> None:
    have(postgresql_url, "default_transaction_isolation = 'serializable'")
    pooler.start()
    with Store(f"{pooler.url}?prepare_threshold=none", pool_size=THREADS).closing() as store:
        at_once(lambda _: create(store), THREADS)
        for _ in range(2 * POOL):
            with psycopg.connect(
                pooler.url.replace("+psycopg", ""), autocommit=True, prepare_threshold=None
            ) as other:
                found = other.execute("SHOW default_transaction_isolation").fetchone()
                assert found == ("serializable",)
