"""A connection that is alive and useless: after a failover, or behind a pooler that forgets."""

from collections.abc import Callable
from typing import Any

import pytest
from psycopg.errors import SerializationFailure
from structlog.testing import capture_logs

from taskdb.errors import DatabaseError, DatabaseRefused
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.outcome import Report
from taskdb.model.sequence import SequenceSpec, StepSpec
from taskdb.store.contract import EVERYONE
from taskdb.store.engine import faults
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from tests.store.tasks import DONE, HOUR, OOPS, Run, claim, create, draft, running

CONNECTIONS = 3

Verb = Callable[[Store, Run], object]

WRITES: dict[str, Verb] = {
    "create": lambda s, _: create(s),
    "create many": lambda s, _: s.submissions.create([draft(), draft()], EVERYONE),
    "create with a key": lambda s, _: create(s, unique_key="a"),
    "create a fan-out": lambda s, _: s.submissions.create_fan_out(
        draft(), iter([draft()]), FanOutSpec(part_type="sum"), EVERYONE
    ),
    "create a sequence": lambda s, _: s.submissions.create_sequence(draft(), SEQUENCE, EVERYONE),
    "claim": lambda s, _: claim(s, create(s)),
    "progress": lambda s, run: s.runs.progress(run.id, run.token, Report(current=1)),
    "complete": lambda s, run: s.outcomes.complete(run.id, run.token, DONE),
    "error": lambda s, run: s.outcomes.error(run.id, run.token, OOPS, HOUR),
    "finish": lambda s, run: s.endings.finish(run.id, run.token, DONE, Report(), []),
    "hand back": lambda s, run: s.outcomes.hand_back(run.id, run.token, "shutdown"),
    "expect a callback": lambda s, run: s.callbacks.expect(run.id, run.token, "x", HOUR),
    "lease": lambda s, _: s.publications.lease_due(10, HOUR),
    "join": lambda s, run: s.joins.join(run.id),
}
SEQUENCE = SequenceSpec(
    name="s", steps=(StepSpec(name="a", type="sum", queue="q", priority=5),), handlers={}
)


def connections(store: Store) -> list[Any]:
    """The driver's connections of a store: the one at hand, and some in the pool."""
    database = store.database
    with database.session() as session:
        kept = session._cursor.connection  # type: ignore[attr-defined]
        lent = [database._engine("reading").connect() for _ in range(CONNECTIONS)]
        found = [one.connection.driver_connection for one in lent]
        for one in lent:
            one.close()
    return [kept, *found]


def send(store: Store, sql: str) -> None:
    """Run a statement on every connection of a store, of which the driver does not hear."""
    for connection in connections(store):
        connection.pgconn.exec_(sql.encode())


@pytest.mark.parametrize("verb", WRITES)
def test_a_write_leaves_a_server_that_became_read_only(postgresql_store: Store, verb: str) -> None:
    run = running(postgresql_store)
    send(postgresql_store, "SET default_transaction_read_only = on")
    assert WRITES[verb](postgresql_store, run) is not False
    create(postgresql_store)


def test_a_write_waits_for_the_caller_where_every_server_is_read_only(
    postgresql_store: Store,
) -> None:
    store = postgresql_store
    name = store.database.query("SELECT current_database() AS name", {})[0]["name"]
    store.database.query(f"ALTER DATABASE {name} SET default_transaction_read_only = on", {})
    send(store, "SET default_transaction_read_only = on")
    for verb in ("create", "create with a key", "create a fan-out"):
        with pytest.raises(DatabaseRefused, match="primary"):
            WRITES[verb](store, Run("x"))
    assert store.tasks.page(Filter(), EVERYONE, limit=10) == []


@pytest.mark.parametrize("verb", ["claim", "progress", "complete", "create"])
def test_a_prepared_statement_that_a_pooler_lost_costs_no_task(
    postgresql_store: Store, verb: str
) -> None:
    store = postgresql_store
    for _ in range(8):
        WRITES[verb](store, running(store))
    run = running(store)
    send(store, "DEALLOCATE ALL")
    with capture_logs() as lines:
        WRITES[verb](store, run)
    assert [line["event"] for line in lines] == ["database.prepared_statements_lost"]
    with capture_logs() as lines:
        for _ in range(8):
            WRITES[verb](store, running(store))
    assert lines == []
    assert not prepared(store)


def test_a_name_that_another_client_has_prepared_costs_no_task(postgresql_store: Store) -> None:
    store = postgresql_store
    for connection in connections(store):
        taken = f"_pg3_{connection._prepared._prepared_idx}"
        connection.pgconn.exec_(f"PREPARE {taken} AS SELECT 1".encode())
    for _ in range(8):
        create(store)
    assert len(store.tasks.page(Filter(), EVERYONE, limit=20)) == 8


def test_two_connections_never_give_a_prepared_statement_the_same_name(
    postgresql_store: Store,
) -> None:
    names = {one._prepared._prepared_idx for one in connections(postgresql_store)}
    assert len(names) == CONNECTIONS + 1


def prepared(store: Store) -> list[Any]:
    return list(store.database.query("SELECT name FROM pg_prepared_statements", {}))


def test_a_collision_is_repeated_until_it_succeeds(store: Store) -> None:
    left = [3]

    def work() -> str:
        if left[0]:
            left[0] -= 1
            raise collided()
        return "done"

    assert store.database.again(work) == "done"


def collided() -> DatabaseError:
    cause = SerializationFailure("could not serialize access")
    found = faults.meaning(cause, "postgresql+psycopg://host/name")
    assert isinstance(found, DatabaseError)
    found.__cause__ = cause
    return found


def test_a_connection_that_is_out_during_a_renewal_is_not_lent_again(store: Store) -> None:
    database = store.database
    with database._engine("reading").connect() as out:
        before = out.connection.driver_connection
        database._renew(without_prepared=False)
        assert out.exec_driver_sql("SELECT 1").scalar() == 1
    seen = [before]
    for _ in range(3):
        with database._engine("reading").connect() as again:
            seen.append(again.connection.driver_connection)
    assert before not in seen[1:]
    assert len(set(map(id, seen[1:]))) == 1
