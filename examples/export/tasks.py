"""Export tables of a database as CSV files in one ZIP, row by row, so that size does not matter.

`database.export` writes a ZIP where you say. The sequence `database.export_and_mail` writes it to a
store (a folder, given by the input) and mails the link.
"""

import csv
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from mailing import send_mail
from pydantic import BaseModel, Field
from sqlalchemy import Connection, MetaData, Table, create_engine, func, inspect, select

from taskdb import Cancel, Fail, Retry, Sequence, Step, TaskContext, task

ROWS_A_STEP = 1_000


class Export(BaseModel):
    """What is exported."""

    tables: list[str] = Field([], description="Only these tables; none named: all of them.")
    url_variable: str = Field(
        "DATABASE_URL",
        description="The environment variable of the worker that holds the database's URL: a "
        "password must not stand in a task.",
    )


class ExportDatabase(Export):
    target: Path = Field(description="The ZIP file to write.")


class ExportAndMail(Export):
    """The payload of the sequence."""

    store: Path = Field(description="The folder that keeps exports.")
    mail_to: str = Field(description="Who gets the link.")
    link_base: str = Field(
        "", description="The URL under which that folder is served; none: a file:// link."
    )


RETRY = Retry(max_attempts=3, give_up_on=(KeyError,))


@task("database.export", retry=RETRY, timeout=3_600)
def export_database(ctx: TaskContext, input: ExportDatabase) -> dict[str, Any]:
    """Write one CSV file a table. The ZIP appears under its name only when it is whole."""
    return write_archive(ctx, input, input.target)


@task("export.store", retry=RETRY, timeout=3_600)
def store_export(ctx: TaskContext, input: ExportAndMail) -> dict[str, Any]:
    """Write the ZIP to the store; its name is that of the sequence, so a retry makes no second."""
    name = f"{'-'.join(input.tables) or 'database'}-{ctx.parent_id}.zip"
    target = input.store / name
    input.store.mkdir(parents=True, exist_ok=True)
    written = write_archive(ctx, input, target)
    base = input.link_base.rstrip("/")
    return {**written, "link": f"{base}/{quote(name)}" if base else target.absolute().as_uri()}


@task("export.mail", retry=Retry(max_attempts=5, backoff=2), timeout=60)
def mail_link(ctx: TaskContext, input: dict[str, Any]) -> dict[str, Any]:
    """Mail the link; a mail server that is away for a while only delays it."""
    payload = ExportAndMail.model_validate(ctx.parent_input)
    counts = "\n".join(f"{table}: {rows:,} rows" for table, rows in input["rows"].items())
    send_mail(
        to=payload.mail_to,
        subject=f"Your export is ready ({input['bytes']:,} bytes)",
        text=f"{input['link']}\n\n{counts}\n",
        name=ctx.task_id,
    )
    return {**input, "mailed_to": payload.mail_to}


export_and_mail = Sequence(
    "database.export_and_mail",
    [Step(store_export, name="export"), Step(mail_link, name="mail")],
)


def write_archive(ctx: TaskContext, input: Export, target: Path) -> dict[str, Any]:
    """Write the tables as they are at one moment; answers what was written."""
    engine = create_engine(os.environ[input.url_variable])
    try:
        with engine.connect() as line, whole_file(target) as file:
            connection = line
            if engine.dialect.name == "postgresql":
                # Else each table would be that of its own moment.
                connection = line.execution_options(isolation_level="REPEATABLE READ")
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
    return {"file": str(target), "rows": done, "bytes": target.stat().st_size}


def chosen_tables(connection: Connection, names: list[str]) -> list[Table]:
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
    return io.TextIOWrapper(archive.open(name, "w", force_zip64=True), encoding="utf-8", newline="")


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A file beside the target that takes its place when all is written."""
    part = target.with_name(f".{target.name}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
