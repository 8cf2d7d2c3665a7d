"""The disks of this machine with files of the store: database, messages, payloads, archive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import make_url

from taskdb.settings.settings import Settings
from taskdb.store.doctor.finding import MEBIBYTE, Drift, Limits, drift


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of one folder; sizes in bytes that a process without privileges may use."""

    place: str
    folder: Path
    free: int
    size: int


def disks(settings: Settings) -> list[Disk]:
    """Measure the disk of every folder on this machine that the settings name.

    This excludes databases, brokers and buckets on servers. For a folder that does not exist yet it
    measures the nearest existing parent; a folder that cannot be read is left out.
    """
    found = []
    for place, folder in _places(settings):
        try:
            usage = shutil.disk_usage(_existing(folder))
        except OSError:
            continue
        found.append(Disk(place, folder, usage.free, usage.total))
    return found


def low_disks(settings: Settings, limits: Limits) -> Drift | None:
    """Report places whose disk is nearly full; None if there are none."""
    low = [one for one in disks(settings) if one.free < limits.disk_free_bytes]
    return drift(
        "disk_low",
        [
            f"{one.place} in {one.folder}: {one.free // MEBIBYTE:,} MiB free"
            f" of {one.size // MEBIBYTE:,} MiB"
            for one in low
        ],
        "disks of this machine with files of TaskDB that are nearly full: a full one refuses"
        " every submit and every outcome",
        "free or add space; `taskdb prune` removes what is over, and TASKDB_RETENTION says for how"
        " long it stays; TASKDB_DOCTOR_DISK_FREE_BYTES is the limit",
    )


def held_log(settings: Settings, limits: Limits) -> Drift | None:
    """Report SQLite's write-ahead logs that a reader keeps from being emptied."""
    found = []
    for place, file in _sqlite_files(settings):
        log = file.with_name(f"{file.name}-wal")
        size = log.stat().st_size if log.exists() else 0
        if size > limits.wal_bytes:
            found.append(f"{place}: {log} has {size // MEBIBYTE:,} MiB")
    return drift(
        "log_not_emptied",
        found,
        "a process reads the SQLite file in one transaction that does not end, so its write-ahead"
        " log grows",
        "end the process that reads it: `fuser` or `lsof` with the name of the file lists them",
    )


def _places(settings: Settings) -> Iterator[tuple[str, Path]]:
    for place, file in _sqlite_files(settings):
        yield place, file.parent
    if settings.payload_bucket is None:
        yield "payloads", settings.payload_folder
    if settings.archive_dir is not None:
        yield "archive", settings.archive_dir


def _sqlite_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    store = make_url(settings.store_url)
    if store.get_backend_name() == "sqlite" and store.database:
        yield "database", Path(store.database.removeprefix("file:").partition("?")[0])
    broker = urlsplit(settings.message_url)
    if broker.scheme == "taskdb-sqlite":
        yield "messages", Path(unquote(broker.path.removeprefix("/")))


def _existing(folder: Path) -> Path:
    return next((one for one in (folder, *folder.parents) if one.exists()), folder)
