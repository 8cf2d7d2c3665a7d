"""Files and folders of this user only: modes 0600 and 0700, independent of the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o600, 0o700
_SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal", ".migrate")


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents. An existing one keeps its mode. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        try:
            one.mkdir(FOLDER_MODE)
        except FileExistsError:
            # Another process has just created it.
            continue
        one.chmod(FOLDER_MODE)
    if not folder.is_dir():
        # Raises the error for it.
        folder.mkdir()


def make_file(path: Path) -> None:
    """Create an empty file if it is missing, before a library creates it with a wider mode.

    SQLite gives the files beside a database the mode of the database. An existing file is never
    opened here: closing it would drop the locks that SQLite holds on it in this process. An error
    is ignored, since the library raises a better one.
    """
    with suppress(OSError):
        os.close(open_file(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def open_file(path: Path, flags: int) -> int:
    """Call `os.open`; a new file belongs to this user only. Raises OSError."""
    is_new = bool(flags & os.O_CREAT) and not path.exists()
    number = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    if is_new:
        # A umask may remove even the bits of the owner.
        os.fchmod(number, FILE_MODE)
    return number


def files_of_database(path: Path) -> Iterator[Path]:
    """Yield an SQLite file and the files that SQLite and a migration create beside it."""
    return (path.with_name(f"{path.name}{suffix}") for suffix in _SQLITE_SUFFIXES)


def is_wide(path: Path) -> bool:
    """Return whether other users may read or write a path. A missing one is not wide."""
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def owner_of(path: Path) -> int | None:
    """Return the user id of the owner; None for this user or root."""
    try:
        owner = path.stat().st_uid
    except OSError:
        return None
    return None if owner in {os.geteuid(), 0} else owner


def is_replaceable(folder: Path) -> bool:
    """Return whether other users may replace the files in a folder."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & 0o022) and not mode & stat.S_ISVTX
