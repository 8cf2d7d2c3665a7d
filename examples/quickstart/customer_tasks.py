from datetime import timedelta

from pydantic import BaseModel

from taskdb import Retry, TaskContext, task


class ImportCustomers(BaseModel):
    """What to import."""

    names: list[str]


@task("customers.import", retry=Retry(max_attempts=5), timeout=timedelta(minutes=10))
def import_customers(ctx: TaskContext, input: ImportCustomers) -> dict[str, int]:
    """Import customers, and say how far it is."""
    for position, name in enumerate(input.names, start=1):
        ctx.progress(position, len(input.names), name)
    return {"imported": len(input.names)}
