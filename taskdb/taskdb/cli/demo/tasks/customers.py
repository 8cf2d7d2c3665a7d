"""Import customers from a CSV file: good rows go to a database, bad ones are reported by line."""

import csv
import re
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from taskdb import Fail, Retry, TaskContext, task
from taskdb.cli.demo.tasks.customer_table import customer_database, keep

COLUMNS = ["id", "name", "email", "country", "signed_up_on", "balance"]
ROWS_A_STEP = 50


def valid_email(value: str) -> str:
    """The address. Raises ValueError."""
    if not value:
        raise ValueError("the email is missing")
    if not re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", value):
        raise ValueError(f"{value!r} is not an email address")
    return value


class Customer(BaseModel):
    """One good row."""

    id: int
    name: Annotated[str, Field(min_length=1)]
    email: Annotated[str, AfterValidator(valid_email)]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    signed_up_on: date
    balance: Annotated[Decimal, Field(ge=0)]


class ImportCustomers(BaseModel):
    """The file to import, and the database."""

    path: Path = Field(description="The CSV file.")
    database: Path = Field(description="The SQLite file that gets the customers.")
    pause_seconds: float = Field(0, ge=0, le=1, description="Rest after each step, to be watched.")


@task("customers.import", retry=Retry(max_attempts=3, give_up_on=(OSError,)), timeout=600)
def import_customers(ctx: TaskContext, input: ImportCustomers) -> dict[str, Any]:
    """Import a CSV file of customers. Bad rows are skipped, and the result names each of them.

    Running it again changes nothing: a customer is known by the id.
    """
    lines = list(read_lines(input.path))
    seen: set[int] = set()
    errors: list[dict[str, Any]] = []
    with customer_database(input.database) as database:
        for start in range(0, len(lines), ROWS_A_STEP):
            step = []
            for number, cells in lines[start : start + ROWS_A_STEP]:
                try:
                    step.append(read_customer(cells, seen))
                except ValueError as error:
                    errors.append({"line": number, "reason": reason_of(error)})
            keep(database, step)
            done = min(start + ROWS_A_STEP, len(lines))
            ctx.progress(done, len(lines), f"{len(errors)} bad rows so far")
            time.sleep(input.pause_seconds)
    return {
        "read": len(lines),
        "imported": len(lines) - len(errors),
        "rejected": len(errors),
        "errors": errors,
    }


def read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield every row after the header, with the number of its line."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if header != COLUMNS:
            raise Fail(f"the first line of {path.name} is {header}, not {COLUMNS}")
        for row in reader:
            yield reader.line_num, row


def read_customer(cells: list[str], seen: set[int]) -> Customer:
    """The customer of a row. Raises ValueError."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells instead of {len(COLUMNS)}")
    customer = Customer(**dict(zip(COLUMNS, cells, strict=True)))
    if customer.id in seen:
        raise ValueError(f"id {customer.id} was there before")
    seen.add(customer.id)
    return customer


def reason_of(error: ValueError) -> str:
    """Return the errors of a row, in a few words."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"{fault['loc'][0]}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors(include_url=False)
    )
