"""A shop: an order and the task that confirms it are written together, or neither is."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from taskdb import Retry, TaskContext, task
from taskdb.contrib.flask import FlaskTaskDB

LIMIT = 1_000
"""What an order may cost."""


class Model(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Model)
taskdb = FlaskTaskDB(session=db.session, user=lambda: request.headers.get("X-User"))


class Order(db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    amount: Mapped[int]
    status: Mapped[str] = mapped_column(default="placed")


@task("order.confirm", retry=Retry(max_attempts=5, backoff=10))
def confirm(ctx: TaskContext, order_id: int) -> dict[str, str | int]:
    """Runs in a worker, inside the app's context: `db.session` is there as in a view."""
    order = db.session.get_one(Order, order_id)
    order.status = "confirmed"
    db.session.commit()
    return {"customer": order.customer, "attempt": ctx.attempt}


def create_app(**config: object) -> Flask:
    app = Flask(__name__, instance_path=str(Path(os.environ.get("SHOP_DATA", "data")).absolute()))
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///shop.sqlite3"
    app.config["TASKDB_DATA_DIR"] = app.instance_path
    app.config.from_prefixed_env("SHOP")
    app.config.update(config)
    db.init_app(app)
    taskdb.init_app(app)

    @app.post("/orders")
    def place_order() -> tuple[dict[str, object], int]:
        order = Order(customer=request.form["customer"], amount=int(request.form["amount"]))
        db.session.add(order)
        db.session.flush()
        entity = taskdb.submit_task("order.confirm", {"order_id": order.id})
        if order.amount > LIMIT:
            # The order is taken back, and its task with it.
            db.session.rollback()
            return {"error": "too much"}, 422
        db.session.commit()
        return {"order": order.id, "task": entity.id}, 201

    @app.get("/orders/<int:order_id>")
    def show_order(order_id: int) -> dict[str, object]:
        order = db.get_or_404(Order, order_id)
        return {"customer": order.customer, "status": order.status}

    @app.cli.command("create-tables")
    def create_tables() -> None:
        """Make the shop's own tables."""
        db.create_all()

    return app
