"""Lists words that plain English replaces, with file and line: a part of `make check`.

It reads docstrings, comments, texts (errors, help, descriptions), names of log events, names of
modules, and the pages of the docs outside their code. words.toml has the words, and how many each
folder may still have. `--all` lists those as well, `--lower` lowers the counts to what is left.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIST = ROOT / "repository" / "words.toml"
_CODE = re.compile(r"`[^`]*`|\]\([^)]*\)")
"""A span of code, or the target of a link."""
_EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
_LEVELS = {"debug", "info", "warning", "error", "exception", "log"}


def main(arguments: list[str]) -> int:
    """Print what is wrong; 1 if a folder has more of it than words.toml allows."""
    words = Words(tomllib.loads(LIST.read_text()))
    found = list(words.findings())
    counts = Counter(finding.folder for finding in found)
    if "--lower" in arguments:
        words.lower(counts)
    over = {folder for folder, count in counts.items() if count > words.allowed.get(folder, 0)}
    for finding in found:
        if "--all" in arguments or finding.folder in over:
            print(finding)
    for folder in sorted(over):
        print(f"{folder}: {counts[folder]} words, allowed are {words.allowed.get(folder, 0)}")
    return 1 if over else 0


@dataclass(frozen=True, slots=True)
class Finding:
    """A wrong word and where it stands."""

    path: Path
    line: int
    wrong: str
    say: str

    @property
    def folder(self) -> str:
        """The folder whose count it belongs to: at most three levels deep; or the file."""
        parents = self.path.parent.parts[:3]
        return "/".join(parents) or self.path.name

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.wrong!r}; say: {self.say}"


class Words:
    """The list of words.toml, and the search for them."""

    def __init__(self, entries: dict[str, Any]) -> None:
        self.allowed: dict[str, int] = dict(entries["allowed"])
        self._modules = frozenset(entries["module_names"])
        self._event: dict[str, Any] = entries["event"]
        self._words = [
            (re.compile("|".join(word["not"]), re.IGNORECASE), word["say"])
            for word in entries["word"]
        ]

    def findings(self) -> Iterator[Finding]:
        """Every wrong word of the repository, file after file."""
        for path in _paths():
            shown = path.relative_to(ROOT)
            if path.suffix == ".md":
                yield from self._in_lines(shown, _prose(path.read_text()))
                continue
            if path.stem.endswith("ing") and path.stem not in self._modules:
                yield Finding(shown, 1, path.stem, "a noun as the name of the module")
            text = path.read_text()
            yield from self._in_lines(shown, _texts(text))
            yield from self._in_events(shown, text)

    def lower(self, counts: Counter[str]) -> None:
        """Write the counts that are below what is allowed, or not in the list at all yet."""
        kept = {
            folder: min(count, self.allowed.get(folder, count))
            for folder, count in sorted(counts.items())
        }
        before, mark, _ = LIST.read_text().partition("[allowed]\n")
        lines = "".join(f'"{folder}" = {count}\n' for folder, count in kept.items())
        LIST.write_text(before + mark + lines)
        self.allowed = kept

    def _in_lines(self, path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Finding]:
        for number, line in lines:
            for pattern, say in self._words:
                for match in pattern.finditer(line):
                    yield Finding(path, number, match[0].strip(), say)

    def _in_events(self, path: Path, text: str) -> Iterator[Finding]:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
                is_event = isinstance(name, str) and _EVENT.fullmatch(name) is not None
                if node.func.attr in _LEVELS and is_event and not self._is_past(str(name)):
                    yield Finding(path, node.lineno, str(name), str(self._event["say"]))

    def _is_past(self, event: str) -> bool:
        last = event.partition(".")[2]
        return last.endswith(("ed", *self._event["participles"]))


def _paths() -> Iterator[Path]:
    for folder in ("taskdb", "worker", "beat"):
        yield from sorted((ROOT / folder).rglob("*.py"))
    yield from (ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))


def _texts(text: str) -> Iterator[tuple[int, str]]:
    """The comments of a module, and its strings of more than one word, line by line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_text = token.type in {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
        if token.type == tokenize.COMMENT or (is_text and " " in token.string):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, _CODE.sub("`", line).strip("\"' #")


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a page without its blocks of code and its spans of code."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, _CODE.sub("`", line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
