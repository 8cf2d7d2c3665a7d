"""A shop on FastAPI and plain SQLAlchemy: an order and its task are written together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from taskdb import Retry, TaskDB, task
from taskdb.contrib.asgi import OriginMiddleware

LIMIT = 1_000
"""What an order may cost."""

taskdb = TaskDB()
engine = create_engine(taskdb.settings.store_url)


class Model(DeclarativeBase):
    pass


class Order(Model):
    __tablename__ = "shop_order"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    amount: Mapped[int]
    status: Mapped[str] = mapped_column(default="placed")


class NewOrder(BaseModel):
    customer: str
    amount: int


@task("order.confirm", retry=Retry(max_attempts=5, backoff=10))
def confirm(order_id: int) -> str:
    with Session(engine) as session, session.begin():
        order = session.get_one(Order, order_id)
        order.status = "confirmed"
        return order.customer


def in_transaction() -> Iterator[Session]:
    with Session(engine) as session, session.begin():
        yield session


# It commits when the function has returned, and before the answer is sent.
Transaction = Annotated[Session, Depends(in_transaction, scope="function")]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await asyncio.to_thread(taskdb.close)
    engine.dispose()


app = FastAPI(lifespan=lifespan)
app.add_middleware(OriginMiddleware)


@app.post("/orders", status_code=201)
def place_order(new: NewOrder, session: Transaction) -> dict[str, int | str]:
    order = Order(customer=new.customer, amount=new.amount)
    session.add(order)
    session.flush()
    entity = taskdb.submit_task("order.confirm", {"order_id": order.id}, session=session)
    if order.amount > LIMIT:
        # The order is taken back, and its task with it.
        raise HTTPException(422, "too much")
    return {"order": order.id, "task": entity.id}


@app.get("/orders/{order_id}")
def show_order(order_id: int, session: Transaction) -> dict[str, str]:
    order = session.get(Order, order_id)
    if order is None:
        raise HTTPException(404)
    return {"customer": order.customer, "status": order.status}
