"""A class of drift that was found, and the limits past which a finding is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

EXAMPLES = 5
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Drift:
    """Some rows of one class: how many (10,000 may be more), and a few of them."""

    name: str
    count: int
    examples: tuple[str, ...]
    meaning: str
    advice: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the doctor; the settings that begin with `doctor_` have their meaning."""

    transaction: timedelta = timedelta(minutes=5)
    """An older transaction that holds vacuum back is listed."""
    transactions_behind: int = 100_000
    """A snapshot that is further behind is listed where its session cannot be seen."""
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
    """A class of which these were found; None where there is none."""
    if not found:
        return None
    return Drift(name, len(found), tuple(found[:EXAMPLES]), meaning, advice)
