"""What a move costs: one statement, one round trip, and a commit that waits only where it must."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from taskdb.model.outcome import Report
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.servers import PostgreSQL
from tests.store.tasks import DONE, HOUR, OOPS, create, draft, publication, queued, running

ONE: dict[str, Callable[[Store, Any], Any]] = {
    "claim": lambda s, run: s.runs.claim(run.id, token="t", worker="w", max_attempts=3),
    "complete": lambda s, run: s.outcomes.complete(run.id, run.token, DONE),
    "error": lambda s, run: s.outcomes.error(run.id, run.token, OOPS, HOUR),
    "fail": lambda s, run: s.outcomes.fail(run.id, run.token, OOPS),
    "snooze": lambda s, run: s.outcomes.snooze(run.id, run.token, HOUR),
    "hand back": lambda s, run: s.outcomes.hand_back(run.id, run.token, "shutdown"),
    "cancel wanted": lambda s, run: s.runs.is_cancel_wanted(run.id, run.token),
    "create": lambda s, _: s.submissions.create([draft()], EVERYONE),
    "mark": lambda s, run: s.publications.mark_queued([publication(s, run.id)]),
    "lease": lambda s, _: s.publications.lease_due(10, HOUR),
    "get": lambda s, run: s.tasks.get(run.id, EVERYONE),
}


@pytest.fixture
def logged(own_postgresql: PostgreSQL) -> Iterator[tuple[Store, PostgreSQL]]:
    """A store on a server that writes down every statement."""
    url = f"{own_postgresql.url}?options=-c%20log_statement%3Dall"
    with Store(url).closing() as store:
        yield store, own_postgresql


def test_a_move_is_one_statement_without_a_transaction_around_it(
    logged: tuple[Store, PostgreSQL],
) -> None:
    store, server = logged
    # The second connection of the process, which reads use while the first one is kept at hand.
    store.tasks.get(create(store), EVERYONE)
    for verb, act in ONE.items():
        run = queued(store) if verb in {"claim", "mark"} else running(store)
        before = len(statements(server))
        act(store, run)
        sent = statements(server)[before:]
        extra = 1 if verb == "mark" else 0  # the test asks what to mark
        assert len(sent) == 1 + extra, (verb, sent)
        words = {line.split(maxsplit=1)[0] for line in sent}
        assert not words & {"BEGIN", "COMMIT", "ROLLBACK", "SET"}


def test_a_new_connection_costs_one_statement(own_postgresql: PostgreSQL) -> None:
    url = f"{own_postgresql.url}?options=-c%20log_statement%3Dall"
    with Store(url).closing() as store:
        create(store)  # the driver asks the server about itself, once a process
        store.database.dialect.close(store.database._engine("moving"))
        before = len(statements(own_postgresql))
        create(store)
        assert len(statements(own_postgresql)) == before + 2


def test_the_second_word_of_progress_is_one_statement(logged: tuple[Store, PostgreSQL]) -> None:
    store, server = logged
    run = running(store)
    store.runs.progress(run.id, run.token, Report(current=1))
    before = len(statements(server))
    assert store.runs.progress(run.id, run.token, Report(current=2))
    assert len(statements(server)) == before + 1


def statements(server: PostgreSQL) -> list[str]:
    """What the store has sent, from the server's own log."""
    lines = [line for line in server.log.splitlines() if " taskdb LOG: " in line]
    return [
        line.split(": ", 2)[2] for line in lines if " statement: " in line or " execute " in line
    ]


def test_a_claim_does_not_wait_for_the_disk_and_an_outcome_does(
    own_postgresql: PostgreSQL,
) -> None:
    with (
        Store(own_postgresql.url).closing() as store,
        psycopg.connect(own_postgresql.url.replace("+psycopg", ""), autocommit=True) as watch,
    ):

        def unflushed(act: Callable[[], Any]) -> bool:
            act()
            found = watch.execute(
                "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()"
            ).fetchone()
            return bool(found and found[0])

        ids = [create(store) for _ in range(30)]
        claims = [
            unflushed(lambda i=i: store.runs.claim(i, token="t", worker="w", max_attempts=3))  # type: ignore[misc]
            for i in ids
        ]
        ends = [unflushed(lambda i=i: store.outcomes.complete(i, "t", DONE)) for i in ids]  # type: ignore[misc]
        # The server's own writer comes by now and then, so all or none would be too much to ask.
        assert claims.count(True) > 15
        assert ends.count(True) < 15
        setting = store.database.query("SHOW synchronous_commit", {})
        assert setting[0]["synchronous_commit"] == "on"
