"""The processor time of processes: on a busy machine it holds where a duration does not."""

import os
from pathlib import Path

import psycopg

_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(*roots: int) -> float:
    """Processor time of these processes and of all that they started, also of ended ones.

    From `/proc`, so only on Linux.
    """
    return sum(_ticks(pid) for root in roots for pid in _with_children(root)) / _TICKS


def postmaster(url: str) -> int:
    """The process id of the PostgreSQL server behind this URL; it runs on this machine."""
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        (data_directory,) = connection.execute("SHOW data_directory").fetchone() or ("",)
    return int((Path(data_directory) / "postmaster.pid").read_text().split("\n", 1)[0])


def _with_children(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            threads = list(Path(f"/proc/{pid}/task").iterdir())
            children = " ".join((thread / "children").read_text() for thread in threads)
        except OSError:
            continue
        found += map(int, children.split())
    return found


def _ticks(pid: int) -> int:
    """User and system time of a process and of its children that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))
