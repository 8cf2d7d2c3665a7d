"""The shop's own tests: the rows are written in a transaction that each test rolls back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import shop
from fastapi import HTTPException
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from taskdb.testing import Rehearsal, assert_submitted, drain, memory_database, rehearse


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    with memory_database() as url:
        engine = shop.create_engine(url)
        shop.Model.metadata.create_all(engine)
        with engine.connect() as connection:
            monkeypatch.setattr(shop, "engine", connection)
            yield connection
        engine.dispose()


@pytest.fixture
def rehearsal(connection: Connection) -> Iterator[Rehearsal]:
    with rehearse(shop.taskdb, connection=connection) as rehearsal:
        yield rehearsal


def test_an_order_is_confirmed(connection: Connection, rehearsal: Rehearsal) -> None:
    with Session(connection) as session:
        placed = shop.place_order(shop.NewOrder(customer="ada", amount=3), session)
        session.commit()

    assert_submitted("order.confirm", {"order_id": placed["order"]}, count=1)
    assert [one.result for one in drain().tasks] == ["ada"]


def test_an_order_that_is_refused_has_no_task(connection: Connection, rehearsal: Rehearsal) -> None:
    refused = pytest.raises(HTTPException)
    with refused, Session(connection) as session, session.begin():
        shop.place_order(shop.NewOrder(customer="ada", amount=1_001), session)

    assert_submitted("order.confirm", count=0)
