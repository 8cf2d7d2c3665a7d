"""The archive: pruned tasks as JSON lines, one file a day.

A batch is on the disk before its rows are deleted, so a crash in between repeats lines and loses
none. The line contains the payload itself: its file is deleted with the task, so a reference would
be useless.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from taskdb.private_path import make_folder, open_file
from taskdb.store.payload.payload import sync_folder


class Archive:
    """Files `tasks-YYYY-MM-DD.jsonl` of a folder, named by the day of the pruning in UTC."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, tasks: Iterable[Mapping[str, Any]], at: datetime) -> None:
        """Append one line a task, and sync them to the disk.

        Several processes may append at once. Raises OSError; then the caller deletes nothing.
        """
        path = self._folder / f"tasks-{at.astimezone(UTC):%Y-%m-%d}.jsonl"
        make_folder(self._folder)
        handle = open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        with os.fdopen(handle, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _end_torn_line(file)
            for task in tasks:
                file.write(_line(task))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._folder)


def _line(task: Mapping[str, Any]) -> bytes:
    return json.dumps(task, ensure_ascii=False, default=_moment).encode() + b"\n"


def _moment(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value)


def _end_torn_line(file: IO[bytes]) -> None:
    """End a partial line of a crash, so that the next line stays intact."""
    if file.seek(0, os.SEEK_END) > 0:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
