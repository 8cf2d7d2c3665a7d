"""Import customers as a fan-out: the file is split, each part imports some rows, a report joins.

An id that occurs twice is found while the file is split, since only the whole file shows it. Each
part finds all other errors in its rows.
"""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from taskdb import Retry, TaskContext, task
from taskdb.cli.demo.tasks.customer_table import customer_database, keep
from taskdb.cli.demo.tasks.customers import Customer, read_customer, read_lines, reason_of


class Row(NamedTuple):
    """A row of the file; `first_line` is the one before it that has the same id."""

    line: int
    cells: list[str]
    first_line: int | None = None


class ImportFile(BaseModel):
    """The file to import, the database, and the number of rows of a part."""

    path: Path = Field(description="The CSV file.")
    database: Path | None = Field(
        None,
        description="The SQLite file that gets the customers; none: the database of CUSTOMERS_URL.",
    )
    rows_a_part: int = Field(500, ge=1, le=10_000, description="Rows of one part.")
    pause_seconds: float = Field(0, ge=0, le=1, description="Rest in each part, to be watched.")


class Chunk(BaseModel):
    """The rows of one part."""

    file: str
    rows: list[Row]
    database: Path | None = None
    pause_seconds: float = 0


@task(
    "customers.import_file",
    retry=Retry(max_attempts=3, give_up_on=(OSError,)),
    timeout=600,
    on_join="customers.report",
)
def import_file(ctx: TaskContext, input: ImportFile) -> None:
    """Split a CSV file of customers into parts; the report becomes the result."""
    with customer_database(input.database):
        ctx.fan_out(chunks_of(input), type="customers.import_chunk")


@task("customers.import_chunk", retry=Retry(max_attempts=5, backoff=0.5), timeout=60)
def import_chunk(input: Chunk) -> dict[str, Any]:
    """Import the good rows of a part, all or none, and name the bad ones.

    Running it again changes nothing: a customer is known by the id.
    """
    good: list[Customer] = []
    errors = []
    for row in input.rows:
        try:
            good.append(customer_of(row))
        except ValueError as error:
            errors.append({"line": row.line, "reason": reason_of(error)})
    with customer_database(input.database) as database:
        keep(database, good)
    time.sleep(input.pause_seconds)
    return {"file": input.file, "read": len(input.rows), "imported": len(good), "errors": errors}


@task("customers.report", retry=Retry(max_attempts=3))
def report(ctx: TaskContext) -> dict[str, Any]:
    """Add up the results of the parts, in the order of the file."""
    parts = [one.result for one in ctx.results()]
    errors = [error for part in parts for error in part["errors"]]
    return {
        "file": parts[0]["file"] if parts else "",
        "read": sum(part["read"] for part in parts),
        "imported": sum(part["imported"] for part in parts),
        "rejected": len(errors),
        "errors": errors,
    }


def customer_of(row: Row) -> Customer:
    """The customer of a row. Raises ValueError."""
    if row.first_line is not None:
        raise ValueError(f"id {row.cells[0]} was there before, in line {row.first_line}")
    return read_customer(row.cells, set())


def chunks_of(input: ImportFile) -> Iterator[Chunk]:
    """Yield the parts of a file, which is read meanwhile."""
    rows = rows_of(input.path)
    while chunk := list(islice(rows, input.rows_a_part)):
        yield Chunk(
            file=input.path.name,
            rows=chunk,
            database=input.database,
            pause_seconds=input.pause_seconds,
        )


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, each with the earlier line that has the same id."""
    first_lines: dict[str, int] = {}
    for line, cells in read_lines(path):
        key = cells[0].strip().lstrip("0") if cells else ""
        first = first_lines.setdefault(key, line) if key else line
        yield Row(line, cells, None if first == line else first)
