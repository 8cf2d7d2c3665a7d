from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from taskdb import TaskDB


def place_order(taskdb: TaskDB, engine: Engine, customer: str) -> str:
    """Write an order and its task, both or neither; the task is published after the commit."""
    with Session(engine) as session, session.begin():
        session.execute(
            text("INSERT INTO shop_order (customer) VALUES (:customer)"), {"customer": customer}
        )
        entity = taskdb.submit_task(
            "customers.import", {"names": [customer]}, session=session, unique_key=customer
        )
        return entity.id
