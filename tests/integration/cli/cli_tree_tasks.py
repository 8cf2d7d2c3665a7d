"""Parents of the command line's tests: parts that end as they are told, and a small sequence."""

from typing import Any

from taskdb import FanOut, Sequence, Step, TaskContext, on_task, task


@task("part")
def part(input: Any) -> Any:
    if input in ["bad", {"name": "bad"}]:
        raise ValueError(f"no [red]luck[/red] with {input}")
    return input


@task("split")
def split(ctx: TaskContext, items: list[Any]) -> None:
    ctx.fan_out(items, type="part")


@task("count")
def count(ctx: TaskContext) -> dict[str, int]:
    """Counts what the parts have become."""
    return {"results": sum(1 for _ in ctx.results())}


@task("begin")
def begin(input: Any) -> Any:
    return input


@task("add")
def add(input: Any) -> Any:
    return input


@on_task("add", name="add.told")
def told(input: Any) -> None:
    pass


Sequence("shop.close", [begin, Step("split", name="sort", fan_out=FanOut()), add], on_success=begin)
Sequence("once", [begin, add], unique=True)
