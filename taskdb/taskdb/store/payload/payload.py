"""Large inputs and results, kept beside the database: as files, or as objects of a bucket.

A payload is written whole before the row that names it, so a row never points at half of one; a
payload whose row was rolled back is an orphan that pruning removes.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from taskdb.errors import PayloadMissing, PayloadStoreUnreachable, PayloadTooLarge
from taskdb.logger import get_logger
from taskdb.model.bounds import DEEPEST, clipped
from taskdb.model.json_text import decode, encode
from taskdb.private_path import FILE_MODE, make_folder

log = get_logger("taskdb.payload")

_REFERENCE_BYTES = 255
"""Of a reference that a payload store has chosen: a day and a name."""


class PayloadStore(Protocol):
    """Where large payloads lie; references are its own to choose."""

    def write(self, name: str, content: bytes) -> str:
        """Keep the content durably and answer its reference. `name` is unique and file-safe.

        Like every verb, raises PayloadStoreUnreachable where the store cannot do it now.
        """

    def read(self, reference: str) -> bytes:
        """The content; raises PayloadMissing."""

    def remove(self, reference: str) -> None:
        """Forget it; a missing one is fine."""

    def has(self, reference: str) -> bool:
        """Whether it is there."""

    def older_than(self, age: timedelta) -> Iterator[str]:
        """References that were written longer ago than this, also halves of them; oldest first."""

    def check(self) -> None:
        """Raise PayloadStoreUnreachable where it cannot be used; changes nothing."""


class FolderPayloadStore:
    """Payloads as files in folders by day, readable by this user only."""

    def __init__(self, folder: Path) -> None:
        # A body may change the folder of its process.
        self._folder = folder.absolute()

    def write(self, name: str, content: bytes) -> str:
        reference = f"{datetime.now(UTC):%Y-%m-%d}/{name}"
        with self._usable():
            self._write(self._path(reference), content)
        return reference

    def read(self, reference: str) -> bytes:
        with self._usable():
            try:
                return self._path(reference).read_bytes()
            except (FileNotFoundError, IsADirectoryError):
                raise PayloadMissing(reference, is_all_gone=not self._folder.is_dir()) from None

    def remove(self, reference: str) -> None:
        with self._usable():
            self._path(reference).unlink(missing_ok=True)

    def has(self, reference: str) -> bool:
        with self._usable():
            try:
                return stat.S_ISREG(self._path(reference).stat().st_mode)
            except (PayloadMissing, FileNotFoundError):
                return False

    def check(self) -> None:
        folder = self._folder
        with self._usable():
            existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not existing.is_dir():
            raise PayloadStoreUnreachable(f"{existing} is not a folder")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PayloadStoreUnreachable(f"{existing} cannot be written")

    def older_than(self, age: timedelta) -> Iterator[str]:
        before = (datetime.now(UTC) - age).timestamp()
        with self._usable():
            days = sorted(self._folder.glob("????-??-??"))
        for day in days:
            with self._usable():
                old = [path.name for path in _files_of(day) if _is_older(path, before)]
            yield from (f"{day.name}/{name}" for name in old)
            with suppress(OSError):  # it is not empty
                if day.stat().st_mtime < before:
                    day.rmdir()

    def _write(self, target: Path, content: bytes) -> None:
        make_folder(target.parent)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, FILE_MODE)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
            sync_folder(target.parent)
        except BaseException:
            with suppress(OSError):  # a disk that takes nothing any more; half a file is swept up
                Path(temporary).unlink(missing_ok=True)
            raise

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            message = (
                f"the payload folder {self._folder} cannot be used ({reason}): check its disk, its "
                "permissions and TASKDB_PAYLOAD_DIR"
            )
            raise PayloadStoreUnreachable(message) from error

    def _path(self, reference: str) -> Path:
        folder = self._folder.resolve()
        try:
            path = (folder / reference).resolve()
        except ValueError:  # a NUL character
            raise PayloadMissing(reference) from None
        if not path.is_relative_to(folder):
            raise PayloadMissing(reference)
        return path


def _is_older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:  # another process sweeps as well
        return False


def _files_of(day: Path) -> list[Path]:
    try:
        return sorted(day.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # it has just been swept, or is not ours
        return []


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON value on its way into a row: inline, or as a reference to the payload store."""

    value: Any
    text: str | None
    reference: str | None = None


class Payloads:
    """Decides what stays in the row."""

    def __init__(self, store: PayloadStore, inline_bytes: int, limit_bytes: int) -> None:
        self._store = store
        self._inline = min(inline_bytes, limit_bytes)
        self._limit = limit_bytes

    def pack(
        self, value: Any, name: str, subject: str, *, deepest: int | None = DEEPEST
    ) -> Payload:
        """Encode a value and move it out when it is large; `deepest` is that of `encode`.

        Raises NotEncodable, and PayloadTooLarge past the hard limit; then nothing was written.
        """
        if value is None:
            return Payload(None, None)
        text = encode(value, subject, deepest=deepest)
        # A character takes at least a byte, so most need not be counted in bytes.
        if len(text) * 4 <= self._inline:
            return Payload(value, text)
        content = text.encode()
        if len(content) > self._limit:
            raise PayloadTooLarge(subject, len(content), self._limit)
        if len(content) <= self._inline:
            return Payload(value, text)
        return Payload(None, None, self._store.write(f"{name}.json", content))

    def unpack(self, inline: Any, reference: str | None) -> Any:
        """The value of a row's two columns; raises PayloadMissing."""
        return inline if reference is None else self.read(reference)

    def read(self, reference: str) -> Any:
        """The value behind a reference; raises PayloadMissing."""
        if len(reference.encode()) > _REFERENCE_BYTES:
            # Of a row by plain SQL: a folder would call itself unusable for it, and a bucket too.
            raise PayloadMissing(clipped(reference))
        return decode(self._store.read(reference).decode())

    def has(self, reference: str) -> bool:
        """Whether there is something behind a reference."""
        return self._store.has(reference)

    def check(self) -> None:
        """Raise PayloadStoreUnreachable where the payload store cannot be used."""
        self._store.check()

    def older_than(self, age: timedelta) -> Iterator[str]:
        """References that were written longer ago than this, whether a row names them or not."""
        return self._store.older_than(age)

    def remove(self, reference: str) -> None:
        """Remove what no row names; raises PayloadStoreUnreachable."""
        self._store.remove(reference)

    def discard(self, reference: str | None) -> None:
        """Remove what no row will name; what cannot be removed now is swept up later."""
        if reference is None:
            return
        try:
            self._store.remove(reference)
        except (PayloadMissing, PayloadStoreUnreachable) as error:
            log.warning("payload.removal_failed", reference=reference, reason=str(error))


class _NoPayloadStore:
    """For a store of rows alone: every payload stays in its row."""

    def write(self, name: str, content: bytes) -> str:
        raise PayloadTooLarge(name, len(content), 0)

    def read(self, reference: str) -> bytes:
        raise PayloadMissing(reference)

    def remove(self, reference: str) -> None:
        """There is none."""

    def has(self, reference: str) -> bool:  # noqa: ARG002 - there is none
        return False

    def check(self) -> None:
        """There is none."""

    def older_than(self, age: timedelta) -> Iterator[str]:  # noqa: ARG002 - there is none
        return iter(())


_UNLIMITED = 2**63
NO_PAYLOADS = Payloads(_NoPayloadStore(), _UNLIMITED, _UNLIMITED)
"""Keeps everything in the row."""
