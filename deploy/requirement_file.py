"""A file of requirements with hashes, as deploy/lock.py writes it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^([\w.-]+)==(\S+)((?:\s*\\\n\s+--hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pinned:
    """One release, and the hashes of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]


def read(file: Path) -> Iterator[Pinned]:
    for name, version, hashes in _LINE.findall(file.read_text()):
        yield Pinned(name, version, tuple(_HASH.findall(hashes)))
