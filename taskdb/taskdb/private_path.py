"""Files and folders of this user alone: 0600 and 0700, whatever the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o600, 0o700
_SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal", ".migrate")


def make_folder(folder: Path) -> None:
    """Make a folder with its missing parents; one that exists keeps its mode. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        try:
            one.mkdir(FOLDER_MODE)
        except FileExistsError:
            # Another process has just made it.
            continue
        one.chmod(FOLDER_MODE)
    if not folder.is_dir():
        # The error that says so.
        folder.mkdir()


def make_file(path: Path) -> None:
    """Make an empty file unless there is one, before a library makes it with wider rights.

    SQLite gives the files beside a database the mode of the database. A file that exists is never
    opened here: closing it would drop the locks that SQLite holds on it in this process. A path
    where no file can be made is left to that library, whose error says more.
    """
    with suppress(OSError):
        os.close(open_file(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def open_file(path: Path, flags: int) -> int:
    """`os.open`, where a new file belongs to this user alone. Raises OSError."""
    is_new = bool(flags & os.O_CREAT) and not path.exists()
    number = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    if is_new:
        # A umask may have taken away even the owner's bits.
        os.fchmod(number, FILE_MODE)
    return number


def files_of_database(path: Path) -> Iterator[Path]:
    """An SQLite file and those that SQLite and a migration put beside it."""
    return (path.with_name(f"{path.name}{suffix}") for suffix in _SQLITE_SUFFIXES)


def is_wide(path: Path) -> bool:
    """Whether other users may read or write a file or folder. One that is missing is not wide."""
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def owner_of(path: Path) -> int | None:
    """The id of another user who owns it and may so change its rights; None: this user or root."""
    try:
        owner = path.stat().st_uid
    except OSError:
        return None
    return None if owner in {os.geteuid(), 0} else owner


def is_replaceable(folder: Path) -> bool:
    """Whether other users may replace what lies in a folder."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & 0o022) and not mode & stat.S_ISVTX
