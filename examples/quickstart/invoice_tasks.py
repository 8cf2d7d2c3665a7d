from typing import Any

from taskdb import FanOut, Sequence, Step, TaskContext, task


@task("invoice.list")
def list_invoices(month: str) -> list[dict[str, str]]:
    """What it returns is what the next step gets: here the items of a fan-out."""
    return [{"number": f"{month}/{number:03}"} for number in range(1, 101)]


@task("invoice.send")
def send_invoice(number: str) -> str:
    if number.endswith("/013"):
        raise ValueError(f"invoice {number} has no address")
    return number


@task("invoice.report")
def report(ctx: TaskContext) -> dict[str, Any]:
    """Runs when all have been sent, and reads their results in the order of the items."""
    results = list(ctx.results())
    failed = [one.error.message for one in results if one.error is not None]
    return {"sent": len(results) - len(failed), "failed": failed}


@task("month.archive")
def archive(input: dict[str, Any]) -> str:
    return f"{input['sent']} sent, {len(input['failed'])} failed"


sending = FanOut(tolerate=0.05, max_concurrency=10, on_join=report)
Sequence("month.close", [list_invoices, Step(send_invoice, fan_out=sending), archive])
