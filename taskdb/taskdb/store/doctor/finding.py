"""A class of drift with findings, and the limits of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

EXAMPLES = 5
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Drift:
    """The count of rows of one class (10,000 may be more), and a few examples."""

    name: str
    count: int
    examples: tuple[str, ...]
    meaning: str
    advice: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the doctor; the settings named `doctor_…` document them."""

    transaction: timedelta = timedelta(minutes=5)
    """An older transaction that holds vacuum back is listed."""
    transactions_behind: int = 100_000
    """A snapshot that is further behind is listed if its session is not visible."""
    dead_rows: int = 10_000
    dead_share: float = 0.2
    """A table with more dead rows than both is listed."""
    vacuum_begins: int = 1_000_000
    """A table whose autovacuum waits for more dead rows is listed."""
    clock: timedelta = timedelta(seconds=2)
    disk_free_bytes: int = 1024 * MEBIBYTE
    wal_bytes: int = 256 * MEBIBYTE
    """A larger write-ahead log of SQLite is listed: a reader keeps it from being emptied."""


def drift(name: str, found: list[str], meaning: str, advice: str) -> Drift | None:
    """A class with these findings; None if there are none."""
    if not found:
        return None
    return Drift(name, len(found), tuple(found[:EXAMPLES]), meaning, advice)
