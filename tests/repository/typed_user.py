"""Code of a user, for a type checker to read: the public API with the types that it promises.

No test runs it; test_types_of_users.py hands it to mypy. `assert_type` fails where a type is lost.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel
from sqlalchemy.orm import Session

from taskdb import (
    Explanation,
    Fail,
    Registry,
    Retry,
    Sequence,
    Settings,
    Snooze,
    Step,
    SubTaskResult,
    TaskContext,
    TaskDB,
    TaskEntity,
    TaskEvent,
    TaskPage,
    TaskStatus,
    default_taskdb,
    get_task,
    list_tasks,
    retry_task,
    submit_fan_out,
    submit_many,
    submit_sequence,
    submit_task,
    submit_task_async,
    submitting_as,
    task,
    task_history,
    wait_task,
    wait_task_async,
)
from taskdb.model.schedule.schedule import ScheduleEntity


class Order(BaseModel):
    order_id: int
    express: bool = False


@task("orders.bill", retry=Retry(max_attempts=3), unique="order_id", queue="billing")
def bill(order: Order, ctx: TaskContext) -> dict[str, int]:
    """Use every way out of a body."""
    ctx.progress(1, total=2)
    if order.express:
        raise Snooze(delay=timedelta(minutes=1))
    if order.order_id < 0:
        raise Fail("no such order")
    return {"billed": order.order_id}


@task("orders.count")
async def count(day: str, limit: int = 10) -> int:
    return len(day) + limit


# A declaration gives back the function, so that tests call it with its own types.
assert_type(bill(Order(order_id=1), ctx=TaskContext.__new__(TaskContext)), dict[str, int])

checkout = Sequence("orders.checkout", [Step("orders.bill"), "orders.count"], registry=Registry())


def submit(session: Session) -> None:
    """Submit in every way."""
    in_transaction = submit_task("orders.bill", Order(order_id=1), session=session)
    assert_type(in_transaction, TaskEntity)
    assert_type(submit_task("orders.bill", {"order_id": 1}, delay=timedelta(hours=1)), TaskEntity)
    assert_type(submit_task("orders.bill", run_at=datetime.now(UTC)), TaskEntity)
    assert_type(submit_many("orders.bill", [{"order_id": 1}, Order(order_id=2)]), list[TaskEntity])
    assert_type(submit_fan_out("orders.bill", [{"order_id": 1}], join="all_settled"), TaskEntity)
    assert_type(submit_sequence("orders.checkout", {"order_id": 1}), TaskEntity)
    with submitting_as(created_by="ann"):
        submit_task("orders.count", {"day": "2026-11-30"})


def read(task_id: str) -> None:
    """Read what was submitted."""
    entity = get_task(task_id)
    assert_type(entity.status, TaskStatus)
    assert_type(entity.id, str)
    assert_type(entity.ended_at, datetime | None)
    assert_type(entity.input, Any)
    assert_type(wait_task(task_id, timeout=5), TaskEntity)
    page = list_tasks(status="FAILED", limit=10)
    assert_type(page, TaskPage)
    assert_type([one.attempt for one in page], list[int])
    assert_type(task_history(task_id), list[TaskEvent])
    assert_type(retry_task(task_id), TaskEntity)


async def read_async(task_id: str) -> None:
    """Await the twins: they take the same arguments, and give the same types."""
    assert_type(await submit_task_async("orders.bill", Order(order_id=1), tenant="a"), TaskEntity)
    assert_type(await wait_task_async(task_id, timeout=5), TaskEntity)


def use_client(parts: list[SubTaskResult]) -> None:
    """Use the parts of a client."""
    with TaskDB(Settings(database_url="sqlite:///tasks.sqlite3")) as taskdb:
        assert_type(taskdb.submit_task("orders.bill", {"order_id": 1}), TaskEntity)
        assert_type(taskdb.explain_task("id"), Explanation)
        assert_type(taskdb.schedules.get("nightly"), ScheduleEntity)
        with taskdb.for_tenant("a") as scoped:
            assert_type(scoped, TaskDB)
    assert_type(default_taskdb(), TaskDB)
    assert_type(parts[0].status, TaskStatus)
