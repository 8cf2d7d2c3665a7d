"""A ZIP of CSV files as a sequence: unpack, import every file in parts, write a report, mail it.

The import of one file is the very module that `taskdb demo` runs, imported from its package.
"""

import csv
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mailing import send_mail
from pydantic import BaseModel, Field

from taskdb import Fail, FanOut, Retry, Sequence, Step, TaskContext, task
from taskdb.cli.demo.tasks.customer_chunks import import_chunk, import_file, report
from taskdb.cli.demo.tasks.customer_table import customer_database

__all__ = ["import_chunk", "import_file", "report"]


MOST_FILES = 1_000
MOST_BYTES = 1024**3
"""Of all files together, unpacked."""
MOST_RATIO = 200
"""Of a file's size to its size in the ZIP; tables of text come to 20, a bomb to 1,000."""
BLOCK = 64 * 1024


class Archive(BaseModel):
    """The payload of the sequence."""

    archive: Path = Field(description="The ZIP.")
    folder: Path = Field(description="Where its files are unpacked, and the report is written.")
    report_to: str = Field(description="Who gets the report by mail.")
    database: Path | None = None
    rows_a_part: int = 500


@task("archive.unpack", retry=Retry(max_attempts=3, give_up_on=(OSError,)), timeout=600)
def unpack(ctx: TaskContext, input: Archive) -> list[dict[str, Any]]:
    """Unpack the CSV files; what it returns are the items of the next step."""
    folder = folder_of(ctx, input)
    try:
        files = unpack_all(ctx, input.archive, folder)
    except Fail:
        # Half of an archive is imported by nothing, and would only keep the disk full.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not files:
        raise Fail(f"there is no CSV file in {input.archive.name}")
    # The table is made here, so that files imported at the same time find it.
    options = input.model_dump(mode="json", include={"database", "rows_a_part"})
    with customer_database(input.database):
        return [{"path": str(file), **options} for file in files]


def unpack_all(ctx: TaskContext, path: Path, folder: Path) -> list[Path]:
    """Unpack the CSV files of an archive, within the limits above."""
    files = []
    room = MOST_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            for member, target in members_of(archive, folder):
                room -= unpack_one(archive, member, target, room)
                files.append(target)
                ctx.progress(len(files), message=member.filename)
    except zipfile.BadZipFile as error:
        raise Fail(f"{path.name} is no ZIP: {error}") from None
    except (NotImplementedError, RuntimeError) as error:
        # A compression that Python does not know, and a member with a password.
        raise Fail(f"{path.name} cannot be unpacked: {error}") from None
    return files


def members_of(archive: zipfile.ZipFile, folder: Path) -> Iterator[tuple[zipfile.ZipInfo, Path]]:
    """The CSV files and where each goes; fails for an archive that goes past a limit.

    Somebody else made the archive, so what it says of itself is looked at before anything is
    written, and does not count while it is written.
    """
    found = sorted(
        (one for one in archive.infolist() if one.filename.endswith(".csv") and not one.is_dir()),
        key=lambda one: one.filename,
    )
    if len(found) > MOST_FILES:
        raise Fail(f"the archive has {len(found):,} files: at most {MOST_FILES:,}")
    if sum(one.file_size for one in found) > MOST_BYTES:
        raise Fail(f"the archive is larger than {MOST_BYTES:,} bytes once it is unpacked")
    targets: set[Path] = set()
    for one in found:
        if one.file_size > MOST_RATIO * max(one.compress_size, BLOCK):
            raise Fail(f"{one.filename!r} grows more than {MOST_RATIO} times when unpacked")
        target = target_of(one.filename, folder)
        if target in targets:
            raise Fail(f"the archive has {one.filename!r} twice")
        targets.add(target)
    return ((one, target_of(one.filename, folder)) for one in found)


def target_of(name: str, folder: Path) -> Path:
    """Where a member is written; fails for one that would leave the folder."""
    target = (folder / name).resolve()
    if not name.isprintable() or "\\" in name or not target.is_relative_to(folder.resolve()):
        raise Fail(f"the archive would write outside of its folder: {name!r}")
    return target


def unpack_one(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, room: int) -> int:
    """Copy one member, a block at a time, and return its size; fails where it needs more room."""
    target.parent.mkdir(parents=True, exist_ok=True)
    most = min(room, MOST_RATIO * max(member.compress_size, BLOCK))
    written = 0
    with archive.open(member) as source, target.open("wb") as file:
        while block := source.read(BLOCK):
            written += len(block)
            if written > most:
                raise Fail(f"{member.filename!r} is larger than it says, or than there is room for")
            file.write(block)
    return written


@task("archive.collect", retry=Retry(max_attempts=3))
def collect(ctx: TaskContext) -> dict[str, Any]:
    """Put the reports of all files together."""
    files = [one.result for one in ctx.results()]
    names = ("read", "imported", "rejected")
    return {
        **{name: sum(one[name] for one in files) for name in names},
        "files": [{name: one[name] for name in ("file", *names)} for one in files],
        "errors": [{"file": one["file"], **error} for one in files for error in one["errors"]],
    }


@task("archive.write_report", retry=Retry(max_attempts=3))
def write_report(ctx: TaskContext, input: dict[str, Any]) -> dict[str, Any]:
    """Write every rejected row with its reason to a CSV file, and the sums in words."""
    path = folder_of(ctx, payload_of(ctx)) / "rejected.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["file", "line", "reason"])
        writer.writeheader()
        writer.writerows(input["errors"])
    lines = [
        f"{one['file']}: {one['read']} rows, {one['imported']} imported, {one['rejected']} rejected"
        for one in input["files"]
    ]
    sums = {name: input[name] for name in ("read", "imported", "rejected")}
    return {**sums, "report": str(path), "text": "\n".join(lines)}


@task("archive.mail_report", retry=Retry(max_attempts=5, backoff=2), timeout=60)
def mail_report(ctx: TaskContext, input: dict[str, Any]) -> dict[str, Any]:
    """Mail the report; a mail server that is away for a while only delays it."""
    payload = payload_of(ctx)
    send_mail(
        to=payload.report_to,
        subject=f"{payload.archive.name}: {input['imported']} customers imported",
        text=input["text"],
        name=ctx.task_id,
        attachment=Path(input["report"]),
    )
    return {**input, "mailed_to": payload.report_to}


def payload_of(ctx: TaskContext) -> Archive:
    """What the sequence was given: a step gets what the step before returned, and no more."""
    return Archive.model_validate(ctx.parent_input)


def folder_of(ctx: TaskContext, payload: Archive) -> Path:
    """A folder of this very sequence."""
    return payload.folder / f"{payload.archive.stem}-{ctx.parent_id}"


import_archive = Sequence(
    "customers.import_archive",
    [
        Step(unpack, name="unpack"),
        Step(import_file, name="import", fan_out=FanOut(on_join=collect)),
        Step(write_report, name="report"),
        Step(mail_report, name="mail"),
    ],
)
