"""Large inputs and results, stored beside the database: as files, or as objects of a bucket.

A payload is written whole before the row that names it, so a row never names half a payload. If
the row is rolled back, the payload is an orphan, and pruning removes it.
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
"""The limit of a reference, which a payload store builds from a day and a name."""


class PayloadStore(Protocol):
    """A store of large payloads. It chooses the references of its payloads."""

    def write(self, name: str, content: bytes) -> str:
        """Store the content durably. Returns its reference. `name` is unique and file-safe.

        Every verb raises PayloadStoreUnreachable where the store is unavailable.
        """

    def read(self, reference: str) -> bytes:
        """Return the content. Raises PayloadMissing."""

    def remove(self, reference: str) -> None:
        """Remove a payload. A missing one is no error."""

    def has(self, reference: str) -> bool:
        """Return whether a payload exists."""

    def older_than(self, age: timedelta) -> Iterator[str]:
        """Yield the references of payloads older than `age`, also half-written, oldest first."""

    def check(self) -> None:
        """Raise PayloadStoreUnreachable where the store cannot be used. Changes nothing."""


class FolderPayloadStore:
    """Payloads as files in folders by day, which only this user can read."""

    def __init__(self, folder: Path) -> None:
        # A body may change the current folder of its process.
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
            raise PayloadStoreUnreachable(
                f"the payload folder {self._folder} cannot be used ({reason}): check its disk, its "
                "permissions and TASKDB_PAYLOAD_DIR"
            ) from error

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
    """Flush a folder to the disk, so that a new name in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON value to write into a row: inline, or as a reference to the payload store."""

    value: Any
    text: str | None
    reference: str | None = None


class Payloads:
    """The payloads of rows: small ones stay in the row, large ones go to the payload store."""

    def __init__(self, store: PayloadStore, inline_bytes: int, limit_bytes: int) -> None:
        self._store = store
        self._inline = min(inline_bytes, limit_bytes)
        self._limit = limit_bytes

    def pack(
        self, value: Any, name: str, subject: str, *, deepest: int | None = DEEPEST
    ) -> Payload:
        """Encode a value, and store it outside the row when it is large. `deepest`: see `encode`.

        Raises NotEncodable, and PayloadTooLarge past the hard limit. Then nothing is written.
        """
        if value is None:
            return Payload(None, None)
        text = encode(value, subject, deepest=deepest)
        # A character takes at most 4 bytes, so most texts need not be encoded to be measured.
        if len(text) * 4 <= self._inline:
            return Payload(value, text)
        content = text.encode()
        if len(content) > self._limit:
            raise PayloadTooLarge(subject, len(content), self._limit)
        if len(content) <= self._inline:
            return Payload(value, text)
        return Payload(None, None, self._store.write(f"{name}.json", content))

    def unpack(self, inline: Any, reference: str | None) -> Any:
        """Return the value of the two columns of a row. Raises PayloadMissing."""
        return inline if reference is None else self.read(reference)

    def read(self, reference: str) -> Any:
        """Return the value of a reference. Raises PayloadMissing."""
        if len(reference.encode()) > _REFERENCE_BYTES:
            # A row by plain SQL. A folder or a bucket would report itself unavailable for it.
            raise PayloadMissing(clipped(reference))
        return decode(self._store.read(reference).decode())

    def has(self, reference: str) -> bool:
        """Return whether the payload of a reference exists."""
        return self._store.has(reference)

    def check(self) -> None:
        """Raise PayloadStoreUnreachable where the payload store is unavailable."""
        self._store.check()

    def older_than(self, age: timedelta) -> Iterator[str]:
        """Yield references older than `age`, also those that a row names."""
        return self._store.older_than(age)

    def remove(self, reference: str) -> None:
        """Remove a payload that no row names. Raises PayloadStoreUnreachable."""
        self._store.remove(reference)

    def discard(self, reference: str | None) -> None:
        """Remove a payload that no row will name. Logs a failure; a sweep removes it later."""
        if reference is None:
            return
        try:
            self._store.remove(reference)
        except (PayloadMissing, PayloadStoreUnreachable) as error:
            log.warning("payload.removal_failed", reference=reference, reason=str(error))


class _NoPayloadStore:
    """A payload store that stores nothing, since every payload stays in its row."""

    def write(self, name: str, content: bytes) -> str:
        raise PayloadTooLarge(name, len(content), 0)

    def read(self, reference: str) -> bytes:
        raise PayloadMissing(reference)

    def remove(self, reference: str) -> None:
        """Do nothing."""

    def has(self, reference: str) -> bool:  # noqa: ARG002 - there is none
        return False

    def check(self) -> None:
        """Do nothing."""

    def older_than(self, age: timedelta) -> Iterator[str]:  # noqa: ARG002 - there is none
        return iter(())


_UNLIMITED = 2**63
NO_PAYLOADS = Payloads(_NoPayloadStore(), _UNLIMITED, _UNLIMITED)
"""Payloads that all stay in their rows."""
