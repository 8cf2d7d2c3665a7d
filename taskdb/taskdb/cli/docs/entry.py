"""The entries of the docs: a page, a section of it, or a row of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import taskdb

_HEADING = re.compile(r"#{1,3} (.+)")
_CODE_FENCE = "```"
_LINK = re.compile(r"\[([^]]+)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One place of a page: its terms and its text."""

    terms: tuple[str, ...]
    page: str
    title: str
    anchor: str
    line: int
    text: str
    is_row: bool = False


def docs_folder() -> Path:
    """The pages of the installed package, or of the repository that it runs from."""
    package = Path(taskdb.__file__ or "").parent
    installed = package / "docs"
    return installed if installed.is_dir() else package.parents[1] / "docs"


def entries(folder: Path) -> list[Entry]:
    """Every entry; the reference comes first, since it defines the words."""
    pages = [page for page in folder.rglob("*.md") if page.name != "README.md"]
    pages.sort(key=lambda page: (page.parent.name != "reference", page))
    return [
        entry
        for page in pages
        for entry in _entries_of(page.relative_to(folder).as_posix(), page.read_text("utf-8"))
    ]


def matching(term: str, known: list[Entry]) -> list[Entry]:
    """The entries of this term; else those with it in a heading; else those with it in the text."""
    wanted = _plain(term)
    exact = [entry for entry in known if wanted in map(_plain, entry.terms)]
    exact.sort(key=lambda entry: term not in entry.terms)
    headings = [one for one in known if not one.is_row and wanted in _plain(one.terms[0])]
    return exact or headings or [entry for entry in known if wanted in _plain(entry.text)]


def _plain(term: str) -> str:
    """A term without case, punctuation and the name of this package."""
    return re.sub(r"[^\w.]|_", " ", term.lower()).removeprefix("taskdb ").strip()


def _entries_of(page: str, text: str) -> Iterator[Entry]:
    lines, is_code, anchor, title = text.split("\n"), False, "", ""
    for number, line in enumerate(lines, start=1):
        is_code ^= line.lstrip().startswith(_CODE_FENCE)
        if is_code:
            continue
        if heading := _HEADING.fullmatch(line):
            name = _bare(heading[1])
            if title:
                anchor = re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-")
            terms = (name,) if title else (name, Path(page).stem)
            title = title or name
            yield Entry(terms, page, title, anchor, number, _paragraph(lines[number:]))
        elif line.startswith("| ") and lines[number - 2].startswith("|"):
            # A row that is not the head of its table. Errors have a second name: their code.
            first, *others = (_bare(cell) for cell in line.strip("| ").split(" | "))
            codes = [cell for cell in others[:1] if re.fullmatch(r"[A-Z_]{4,}", cell)]
            said = " · ".join(others)
            yield Entry((first, *codes), page, title, anchor, number, said, is_row=True)


def _bare(text: str) -> str:
    return _LINK.sub(r"\1", text).replace("`", "").strip()


def _paragraph(lines: list[str]) -> str:
    """The first paragraph below a heading; empty where a table, code or a heading follows."""
    text = "\n".join(lines).lstrip("\n").partition("\n\n")[0]
    return "" if text.startswith(("|", "#", "<", _CODE_FENCE)) else _bare(text.replace("\n", " "))
