"""Export tables of a database as CSV files in one ZIP, row by row, so that size does not matter."""

import csv
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, Field
from sqlalchemy import Connection, MetaData, Table, create_engine, func, inspect, select

from taskdb import Cancel, Fail, Retry, TaskContext, task

ROWS_A_STEP = 1_000


class ExportDatabase(BaseModel):
    target: Path = Field(description="The ZIP file to write.")
    tables: list[str] = Field([], description="Only these tables; none named: all of them.")
    url_variable: str = Field(
        "DATABASE_URL",
        description="The environment variable of the worker that holds the database's URL: a "
        "password must not stand in a task.",
    )


@task("database.export", retry=Retry(max_attempts=3, give_up_on=(KeyError,)), timeout=3_600)
def export_database(ctx: TaskContext, input: ExportDatabase) -> dict[str, Any]:
    """Write one CSV file a table. The ZIP appears under its name only when it is whole."""
    engine = create_engine(os.environ[input.url_variable])
    try:
        with engine.connect() as connection, whole_file(input.target) as file:
            tables = chosen_tables(connection, input.tables)
            total = sum(connection.scalar(select(func.count()).select_from(t)) for t in tables)
            done: dict[str, int] = {}
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for table in tables:
                    done[table.name] = 0
                    for count in write_table(connection, table, archive):
                        done[table.name] = count
                        ctx.progress(sum(done.values()), total, table.name)
                        if ctx.cancel_requested:
                            raise Cancel("the export was stopped")
    finally:
        engine.dispose()
    return {"file": str(input.target), "rows": done, "bytes": input.target.stat().st_size}


def chosen_tables(connection: Connection, names: Sequence[str]) -> list[Table]:
    """The tables of these names; none named: all. Fails for a table that is not there."""
    known = inspect(connection).get_table_names()
    missing = sorted(set(names) - set(known))
    if missing:
        raise Fail(f"there is no table {', '.join(missing)}; there are {', '.join(known)}")
    return [Table(name, MetaData(), autoload_with=connection) for name in names or known]


def write_table(connection: Connection, table: Table, archive: zipfile.ZipFile) -> Iterator[int]:
    """Write all rows of a table; answers, step by step, how many there are by now."""
    count = 0
    rows = connection.execution_options(yield_per=ROWS_A_STEP).execute(select(table))
    with closing(text_member(archive, f"{table.name}.csv")) as file:
        writer = csv.writer(file)
        writer.writerow(table.columns.keys())
        for step in rows.partitions():
            writer.writerows(step)
            count += len(step)
            yield count


def text_member(archive: zipfile.ZipFile, name: str) -> TextIO:
    """A file of the archive, to be written as text."""
    return io.TextIOWrapper(archive.open(name, "w"), encoding="utf-8", newline="")


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A file beside the target that takes its place when all is written."""
    part = target.with_name(f".{target.name}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
