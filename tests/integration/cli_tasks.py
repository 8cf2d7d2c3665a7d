"""Task types of the command line's tests: a field of every kind, and ends of every kind."""

import enum
import threading
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from taskdb import Fail, Halt, Retry, TaskContext, task

LONG_SECONDS = 60


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    number: int = 1


class Order(BaseModel):
    number: int = Field(description="Its number.")
    title: str = Field("untitled", description="What it is called.")
    ratio: float = 0.5
    price: Decimal = Decimal("1.50")
    at: datetime | None = None
    day: date | None = None
    patience: timedelta | None = None
    reference: UUID | None = None
    file: Path | None = None
    color: Color = Color.RED
    size: Literal["s", 1] = "s"
    express: bool = False
    gift: bool | None = None
    labels: list[str] = []
    counts: set[int] = set()
    stops: list[Address] = []
    address: Address | None = None
    extra: dict[str, int] = {}
    either: int | str | None = None
    name: str | None = None
    input: str | None = None
    class_: Annotated[str | None, Field(alias="class")] = None


@task("orders.place", retry=Retry(max_attempts=3), timeout=90, queue="orders", tags=["shop"])
def place(ctx: TaskContext, input: Order) -> Any:
    """Place an order."""
    return input.model_dump(mode="json", exclude_defaults=True, by_alias=True)


@task("echo")
def echo(input: Any) -> Any:
    return input


@task("fails")
def fails() -> None:
    raise ValueError("no [red]luck[/red] \x1b[31m")


@task("gives.up")
def gives_up() -> Fail:
    return Fail("this will never work")


@task("halts")
def halts() -> Halt:
    return Halt("a person must look")


@task("long")
def long(ctx: TaskContext) -> str:
    ctx.progress(1, 2, "half of it")
    threading.Event().wait(LONG_SECONDS)
    return "done"


@task("big")
def big(size: int) -> list[int]:
    return list(range(size))
