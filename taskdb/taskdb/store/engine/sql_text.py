"""SQL in files: named statements, with tokens for the differences between databases.

A file stands beside the module that uses it. It has sections, each under a line
`-- KIND NAME: OPTIONS`; other lines that begin with `--` are comments. A `query` or `move` is a
statement, a `part` is a fragment that several statements share, and `columns` are those of a
parameter that carries rows, added to those that its options name. The option `postgresql` or
`sqlite` limits a section to that database.

A token is in braces: `{now}`, `{later :delay}`, `{text_in spec, fan_out, join}`. Its name is one of
these, in this order: an argument of the current part, a part, a word of
`taskdb.store.task.statements`, or an attribute of the dialect. After the name come arguments, which
may contain tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from taskdb.model.status import TaskStatus, in_order
from taskdb.store.engine.dialect import Columns, StoreDialect

_STORE = Path(__file__).parents[1]
_HEADER = re.compile(r"-- (columns|part|move|query) (\w+)([ \w]*)(?:: (.*))?")
_TOKEN = re.compile(r"\{(\w+) ?")
_MARK = re.compile(r"[(){},']")
_DATABASES = frozenset({"postgresql", "sqlite"})


@dataclass(frozen=True, slots=True)
class Section:
    """One statement or part of a file; `options` are words of its header."""

    kind: str
    name: str
    parameters: tuple[str, ...]
    options: tuple[str, ...]
    text: str


def sections(database: str, *files: str) -> list[Section]:
    """Return what a database has of some files under `taskdb/store`, such as `task/parts`."""
    others = _DATABASES - {database}
    return [one for file in files for one in _read(file) if others.isdisjoint(one.options)]


@cache
def columns_of(*files: str) -> Mapping[str, Columns]:
    """Return the columns of each parameter that carries rows, by the name of its section."""
    found: dict[str, Any] = {}
    for one in sections("", *files):
        if one.kind == "columns":
            found[one.name] = dict(map(str.split, split(one.text)))
            for other in one.options:
                found[one.name] = found[other] | found[one.name]
    return found


@cache
def _read(file: str) -> list[Section]:
    read, header, lines = list[Section](), None, list[str]()
    text = (_STORE / f"{file}.sql").read_text("utf-8")
    for line in (*text.splitlines(), "-- part end"):
        found = _HEADER.fullmatch(line)
        if found is None:
            if not line.lstrip().startswith("--"):
                lines.append(line)
            continue
        if header is not None:
            kind, name, parameters, options = header.groups()
            given = tuple(option.strip() for option in (options or "").split(",") if option)
            body = "\n".join(lines).strip()
            read.append(Section(kind, name, tuple(parameters.split()), given, body))
        header, lines = found, []
    return read


class Writer:
    """Writes the statements of a file for one dialect."""

    def __init__(
        self,
        dialect: StoreDialect,
        parts: Iterable[Section],
        columns: Mapping[str, Columns],
        words: Mapping[str, Any],
    ) -> None:
        """Take the parts among some sections, and the other names of their tokens.

        `columns`: the columns of each parameter that carries rows. `words`: a text, or a function
        of a token's arguments.
        """
        self._dialect = dialect
        self._parts = {one.name: one for one in parts if one.kind == "part"}
        self._columns = columns
        self._words = words

    def write(self, text: str, **arguments: str) -> str:
        """Return the text with its tokens replaced, on one line."""
        return " ".join(self._expanded(text, arguments).split()).replace("( ", "(")

    def _expanded(self, text: str, arguments: Mapping[str, str]) -> str:
        written, place = list[str](), 0
        while (found := _TOKEN.search(text, place)) is not None:
            end = _end_of(text, found.start())
            given = [self._expanded(one, arguments) for one in split(text[found.end() : end])]
            written += text[place : found.start()], self._token(found[1], given, arguments)
            place = end + 1
        return "".join((*written, text[place:]))

    def _token(self, name: str, given: list[str], arguments: Mapping[str, str]) -> str:
        if name in arguments:
            return arguments[name]
        if name in self._parts:
            part = self._parts[name]
            named = dict(zip_longest(part.parameters, given, fillvalue=""))
            return self._expanded(part.text, {**arguments, **named})
        if name == "rows":
            parameter, columns = given[0], given[-1]
            return self._dialect.drafts(parameter, self._columns[columns])
        found = self._words[name] if name in self._words else getattr(self._dialect, name)
        return str(found if isinstance(found, str) else found(*given))


def split(text: str) -> list[str]:
    """Split at the commas outside parentheses, braces and quotes."""
    found, depth, quoted, start = list[str](), 0, False, 0
    for mark in _MARK.finditer(text):
        character = mark[0]
        if character == "'":
            quoted = not quoted
        elif not quoted and character == ",":
            if depth == 0:
                found.append(text[start : mark.start()])
                start = mark.end()
        elif not quoted:
            depth += 1 if character in "({" else -1
    found.append(text[start:])
    return [one.strip() for one in found if one.strip()]


def listed(statuses: Iterable[TaskStatus]) -> str:
    """Return these statuses as the list of an IN."""
    return ", ".join(f"'{status}'" for status in in_order(statuses))


def _end_of(text: str, start: int) -> int:
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place
    raise ValueError(f"a token that does not end: {text[start : start + 40]!r}")
