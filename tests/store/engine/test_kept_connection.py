"""The connection that stays out of its pool from one move to the next."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine

from taskdb.store.engine.postgresql import kept_connection as kept_line
from taskdb.store.engine.postgresql.kept_connection import KeptConnection


@pytest.fixture
def engine(postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(postgresql_url)
    yield engine
    engine.dispose()


def checked_out(engine: Engine) -> int:
    return engine.pool.checkedout()  # type: ignore[attr-defined,no-any-return]  # a QueuePool has it


def test_one_connection_is_kept_and_lent_again(engine: Engine) -> None:
    kept = KeptConnection()
    first, second = kept.take(engine), kept.take(engine)
    assert first[0].driver_connection is not second[0].driver_connection
    kept.give(first)
    kept.give(second)
    assert checked_out(engine) == 1
    assert kept.take(engine) is first
    kept.give(first)
    kept.close()
    assert checked_out(engine) == 0


def test_it_goes_back_when_its_time_is_over(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_line, "_KEPT_SECONDS", -1.0)
    kept = KeptConnection()
    kept.give(kept.take(engine))
    assert checked_out(engine) == 0


def test_a_forked_process_neither_lends_nor_closes_it(engine: Engine) -> None:
    kept = KeptConnection()
    line = kept.take(engine)
    kept.give(line)
    kept.forget()
    kept.close()
    assert not line[0].driver_connection.closed and checked_out(engine) == 1
    other = kept.take(engine)
    assert other is not line
    for connection, _ in (line, other):
        connection.close()
