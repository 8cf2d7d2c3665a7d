"""Tasks of Django's framework; loaded once for each of the two there are (see `frameworks.py`)."""

from typing import Any

from taskdb import Fail, Snooze

task: Any = globals()["decorator"]
seen: list[Any] = []


@task
def nothing(*args: Any, **kwargs: Any) -> None:
    """Takes whatever it is given."""


@task
async def later(*args: Any, **kwargs: Any) -> list[Any]:
    return [*args, kwargs]


@task(priority=10, queue_name="mail")
def answer() -> int:
    return 42


@task
def fails(words: str) -> None:
    raise ValueError(words)


@task
def wraps() -> None:
    raise ValueError(ValueError("inside"))


@task
def leaves() -> None:
    raise SystemExit("out")


@task
def gives_up() -> None:
    raise Fail("no use")


@task
def waits() -> Snooze:
    return Snooze(3600)


@task
def returns_a_function() -> Any:
    return lambda: True


@task(takes_context=True)
def knows(context: Any, number: int) -> dict[str, Any]:
    result = context.task_result
    seen.append(result)
    return {"id": result.id, "attempt": context.attempt, "number": number}


def bare() -> str:
    return "bare"


wrapped = task(bare)
