"""Where words go: results to standard output, messages to standard error, each in one form.

For people: tables and colours on a terminal, plain lines elsewhere or with NO_COLOR. For
programs (`--json`): one JSON document, or one JSON value a line, and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from taskdb.redaction.printable import escaped_json, printable

Cell = str | Text


class Output:
    """The two streams of one command."""

    def __init__(self, *, is_json: bool = False) -> None:
        self.is_json = is_json
        _never_fail_on_letters(sys.stdout, sys.stderr)
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)

    @property
    def is_live(self) -> bool:
        """A person watches: tables, colours and bars may move."""
        return self.out.is_terminal and not self.out.no_color and not self.is_json

    def document(self, value: Any) -> None:
        """The one JSON document of this command, or one line of several."""
        sys.stdout.write(json_text(value) + "\n")
        sys.stdout.flush()

    def line(self, text: RenderableType = "", style: str = "") -> None:
        """A line of the result, for people; nothing of a str moves the cursor."""
        if not self.is_json:
            text = Text(_safe_lines(text), style=style) if isinstance(text, str) else text
            self.out.print(text, soft_wrap=not self.is_live)

    def note(self, text: str, style: str = "") -> None:
        """A message beside the result, on standard error."""
        self.err.print(Text(_safe_lines(text), style=style), soft_wrap=True)

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """Rows for people: a table on a terminal, else plain columns that are never cut."""
        found = [list(row) for row in rows]
        if self.is_live:
            self.out.print(rich_table(headers, found))
        else:
            for line in plain_lines([list(headers), *found]):
                self.line(line)

    def pairs(self, rows: Iterable[tuple[str, Cell]]) -> None:
        """Print names with values, one pair on each line."""
        found = list(rows)
        width = max((len(name) for name, _ in found), default=0)
        for name, value in found:
            self.line(Text.assemble((printable(name).ljust(width + 2), "bold"), _clean(value)))

    def result(self, document: Any, text: str | Text) -> None:
        """The result of this command: a document for programs, one line for people."""
        if self.is_json:
            self.document(document)
        else:
            self.line(_clean(text))


def json_text(value: Any) -> str:
    """A value as JSON in one line that no terminal reads as commands."""
    return escaped_json(json.dumps(value, ensure_ascii=False, default=str))


def _safe_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def rich_table(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table without lines around it, that fits the terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(
            header,
            overflow="ellipsis",
            no_wrap=header in _NEVER_WRAPPED,
            max_width=_LONGEST.get(header),
        )
    for row in rows:
        table.add_row(*(_clean(cell) for cell in row))
    return table


def plain_lines(rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Rows as aligned text."""
    texts = [[_clean(cell).plain for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in texts) for place in range(len(texts[0]))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]


_NEVER_WRAPPED = {"CODE", "STATUS", "RUN", "TYPE", "WHEN", "AT"}
_LONGEST = {"TYPE": 18}
"""Else the code, which people copy, would be cut before a long name of a type."""


def _clean(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(cell))


def _console(stream: TextIO) -> Console:
    # What a user named may look like markup; it is shown as it is.
    return Console(
        file=stream,
        markup=False,
        highlight=False,
        emoji=False,
        no_color=bool(os.environ.get("NO_COLOR")) or None,
    )


def _never_fail_on_letters(*streams: TextIO) -> None:
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
