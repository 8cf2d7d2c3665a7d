"""The items of a fan-out: a JSON list, or a file that is read while they are submitted."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from taskdb.cli.task.json_option import read_json
from taskdb.cli.usage import wrong_usage


class ItemFormat(StrEnum):
    """The format of a file of items."""

    LINES = "lines"
    NDJSON = "ndjson"
    CSV = "csv"


_SUFFIXES = {".csv": ItemFormat.CSV, ".ndjson": ItemFormat.NDJSON, ".jsonl": ItemFormat.NDJSON}


@contextmanager
def read_items(
    items: str | None, file: str | None, spelled: ItemFormat | None
) -> Iterator[Iterator[Any]]:
    """Yield the items, to be read once inside the block. A file is read while they are.

    Raises InvalidInput, with the line where there is one.
    """
    if (items is None) == (file is None):
        advice = "give the items: --items JSON (or @FILE, or -), or --items-file FILE (or -)"
        raise wrong_usage("", advice)
    if items is not None:
        yield _listed(items)
        return
    with _opened(str(file)) as lines:
        kind = spelled or _SUFFIXES.get(Path(str(file)).suffix.lower(), ItemFormat.LINES)
        yield _READERS[kind](lines)


def _listed(text: str) -> Iterator[Any]:
    value = read_json(text, "--items")
    if not isinstance(value, list):
        raise wrong_usage("--items", f"is {type(value).__name__} in JSON, not a list")
    return iter(value)


@contextmanager
def _opened(file: str) -> Iterator[TextIO]:
    if file == "-":
        yield sys.stdin
        return
    try:
        opened = Path(file).open(encoding="utf-8-sig", newline="")  # noqa: SIM115 - below
    except OSError as error:
        raise wrong_usage("--items-file", f"cannot be read: {error}") from None
    with opened:
        yield opened


def _lines(file: TextIO) -> Iterator[Any]:
    for _, line in _numbered(file):
        yield line


def _ndjson(file: TextIO) -> Iterator[Any]:
    for number, line in _numbered(file):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise wrong_usage("--items-file", f"line {number} is not JSON ({error})") from None
        yield value


def _csv(file: TextIO) -> Iterator[Any]:
    """Yield an object of texts for each row, with the names of the header."""
    reader = csv.DictReader(file, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                names = len(reader.fieldnames or ())
                advice = f"line {reader.line_num} does not have {names} cells, as the header has"
                raise wrong_usage("--items-file", advice)
            yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise wrong_usage("--items-file", f"line {reader.line_num}: {error}") from None


def _numbered(file: TextIO) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, without line ends, with their numbers."""
    number = 0
    try:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise wrong_usage("--items-file", f"behind line {number}: {error}") from None


_READERS: dict[ItemFormat, Callable[[TextIO], Iterator[Any]]] = {
    ItemFormat.LINES: _lines,
    ItemFormat.NDJSON: _ndjson,
    ItemFormat.CSV: _csv,
}
