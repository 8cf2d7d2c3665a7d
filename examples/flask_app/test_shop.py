"""The shop's own tests: no server, no broker, a fresh database in memory for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from shop import Order, create_app, db

from taskdb import TaskDB
from taskdb.testing import Rehearsal, assert_submitted, drain, run_task


@pytest.fixture
def app(taskdb_url: str) -> Iterator[Flask]:
    """The shop and its tasks share the database of this test."""
    app = create_app(SQLALCHEMY_DATABASE_URI=taskdb_url)
    with app.app_context():
        db.create_all()
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def taskdb_client(app: Flask) -> TaskDB:
    """The client that the rehearsal is about."""
    return app.extensions["taskdb"].client


def test_an_order_is_confirmed(app: Flask, rehearsal: Rehearsal) -> None:
    answer = app.test_client().post(
        "/orders", data={"customer": "ada", "amount": 3}, headers={"X-User": "ada"}
    )

    (task,) = assert_submitted("order.confirm", {"order_id": answer.json["order"]}, count=1)
    assert task.created_by == "ada"
    assert drain().failed == ()
    assert app.test_client().get("/orders/1").json == {"customer": "ada", "status": "confirmed"}


def test_an_order_that_is_refused_has_no_task(app: Flask, rehearsal: Rehearsal) -> None:
    answer = app.test_client().post("/orders", data={"customer": "ada", "amount": 1_001})

    assert answer.status_code == 422
    assert_submitted("order.confirm", count=0)
    assert db.session.query(Order).count() == 0


def test_the_body_alone_is_tried_again_when_the_order_is_missing(
    app: Flask, rehearsal: Rehearsal
) -> None:
    entity = run_task("order.confirm", {"order_id": 77})

    assert entity.status == "ERRORED"
    assert entity.error is not None
    assert "NoResultFound" in entity.error.type
    rehearsal.clock.tick(3_600)
    assert drain().runs == 1
