"""Task types that are parts, parents, handlers and steps; the workers of the tests import them."""

import os
import signal
import sys
import time
from typing import Any

from celery.exceptions import Ignore, Reject
from tests.integration.worker_tasks import LONG_SECONDS, SOON, folder, note, wait_for_file

from taskdb import Cancel, Fail, FanOut, Halt, Retry, Sequence, Step, TaskContext, on_task, task

patient = Retry(max_attempts=5, backoff=SOON, jitter=0)


def leave(name: str, line: str) -> None:
    """Add a line to a file of this test; a write that short is atomic."""
    file = os.open(folder() / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


# --- parts ----------------------------------------------------------------------------------------


@task("fan.does", retry=patient)
def does(ctx: TaskContext, what: str, value: Any = None) -> Any:
    """End in the way that the item asks for."""
    note(ctx)
    match what:
        case "returns":
            return {"got": value}
        case "fails":
            raise Fail("enough")
        case "halts":
            raise Halt("look at me")
        case "cancels":
            raise Cancel("not needed")
        case "ignores":
            raise Ignore("me")
        case "rejects":
            raise Reject("bad", requeue=False)
        case "runs out of memory":
            raise MemoryError("no room")
        case "exits":
            sys.exit(3)
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(LONG_SECONDS)
    raise ValueError(what)


@task("fan.fails_at_first")
def fails_at_first(ctx: TaskContext, number: int) -> int:
    """Fail until the file `mended` exists, where the number is odd."""
    note(ctx)
    if number % 2 and not (folder() / "mended").exists():
        raise Fail("odd")
    return number * 10


@task("fan.waits", retry=patient)
def waits(ctx: TaskContext, number: int = 0) -> int:
    note(ctx)
    wait_for_file(f"go-{ctx.task_id}")
    return number


@task("fan.overlaps", retry=patient)
def overlaps(ctx: TaskContext, number: int, what: str = "") -> int:
    """Say when it begins and ends; one that "dies" ends its worker, at the first attempt."""
    note(ctx)
    leave(f"overlap-{ctx.parent_id}", f"+{number}")
    if what == "dies" and ctx.attempt == 1:
        leave(f"overlap-{ctx.parent_id}", f"-{number}")
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(SOON)
    leave(f"overlap-{ctx.parent_id}", f"-{number}")
    return number


# --- parents --------------------------------------------------------------------------------------


@task("fan.joins")
def joins(ctx: TaskContext, total: int, succeeded: int, failed: int, canceled: int) -> Any:
    note(ctx)
    found = [[one.position, str(one.status), one.result] for one in ctx.results()]
    return {"counts": [total, succeeded, failed, canceled], "results": found}


@task("fan.joins_when_let")
def joins_when_let(ctx: TaskContext, input: Any) -> Any:
    note(ctx)
    wait_for_file(f"go-{ctx.parent_id}")
    return input


@task("fan.splits", on_join=joins)
def splits(
    ctx: TaskContext,
    items: list[Any],
    type: str = "fan.does",
    join: Any = "all_succeeded",
    then: str = "",
) -> None:
    note(ctx)
    ctx.fan_out(items, type=type, join=join)
    if then == "raises":
        raise ValueError("too late")
    if then == "splits again":
        ctx.fan_out(items, type=type)


@task("fan.splits_plainly")
def splits_plainly(ctx: TaskContext, items: list[Any], type: str = "fan.does") -> None:
    """As `fan.splits`, without a handler."""
    note(ctx)
    ctx.fan_out(items, type=type)


@task("fan.is_handled")
def is_handled(ctx: TaskContext, number: int) -> int:
    note(ctx)
    return number


@on_task("fan.is_handled")
def adds(ctx: TaskContext, number: int) -> int:
    note(ctx)
    return number + 1


@on_task("fan.is_handled")
def fails_on_odd(ctx: TaskContext, number: int) -> int:
    note(ctx)
    if number % 2 and not (folder() / "mended").exists():
        raise Fail("odd")
    return number * 2


# --- steps ----------------------------------------------------------------------------------------


@task("step.adds")
def step_adds(ctx: TaskContext, number: int) -> Any:
    note(ctx)
    return {"number": number + 1}


@task("step.needs")
def step_needs(ctx: TaskContext, number: int) -> Any:
    """Fail until the file `mended` exists, if the number is odd."""
    note(ctx)
    if number % 2 and not (folder() / "mended").exists():
        raise Fail("odd")
    return {"number": number * 10}


@task("step.lists")
def step_lists(ctx: TaskContext, number: int) -> Any:
    note(ctx)
    return [{"what": "returns", "value": value} for value in range(number)]


@task("step.begins")
def step_begins(ctx: TaskContext, number: int) -> Any:
    note(ctx)
    return {"number": number + 100}


@task("step.succeeds")
def step_succeeds(ctx: TaskContext, input: Any) -> None:
    note(ctx)
    leave("told", repr(input))


@task("step.waits")
def waits_for_a_cancel(ctx: TaskContext) -> None:
    note(ctx)
    wait_for_file(f"go-{ctx.task_id}", lambda: ctx.cancel_requested)
    raise Cancel("as you wish")


@task("step.consoles")
def step_consoles(ctx: TaskContext, error: Any, step: str, payload: Any) -> Any:
    note(ctx)
    return {"instead": [error["message"], step, payload]}


Sequence("seq.plain", [step_adds, step_needs])
Sequence("seq.handled", [step_adds, step_adds], on_start=step_begins, on_success=step_succeeds)
Sequence("seq.consoled", [Step(step_needs, name="the need"), step_adds], on_error=step_consoles)
Sequence("seq.spread", [step_lists, Step(does, fan_out=FanOut())])
Sequence("seq.spread_nothing", [step_adds, Step(does, fan_out=FanOut())])
Sequence("seq.splits", [splits])
Sequence("seq.waits", [waits_for_a_cancel, step_adds])


@task("fan.calls")
def calls(ctx: TaskContext) -> None:
    """Give a token away, as the name of a file."""
    token = ctx.wait_for_callback()
    (folder() / f"token-{ctx.task_id}").write_text(token)
