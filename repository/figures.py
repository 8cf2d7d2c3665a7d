"""Prints how large the code is, beside its goals: `make figures`.

Counts are held by a test: none may rise above its ceiling in figures.toml. `--lower` writes the
counts of today into that file, where they are lower. Times are printed only.
"""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import taskdb

ROOT = Path(__file__).parents[1]
LIMITS = ROOT / "repository" / "figures.toml"
PACKAGES = ("taskdb/taskdb", "worker/taskdb_worker", "beat/taskdb_beat")
_MIGRATIONS = ("migrations/versions", "migrations/first")
_RUNS = 3
"""A time is the shortest of so many runs."""


def main(arguments: list[str]) -> None:
    """Print one line a figure; with `--lower` also lower the ceilings."""
    counts = counted()
    limits = read_limits()
    times = {} if "--lower" in arguments else measured()
    print(f"{'figure':32} {'now':>8} {'ceiling':>8} {'goal':>8}")
    for name, value in {**counts, **times}.items():
        limit = limits[name]
        ceiling = f"{limit.most:,}" if limit.ceiling else ""
        print(f"{name:32} {value:>8,} {ceiling:>8} {limit.goal:>8,}")
    if "--lower" in arguments:
        lower(counts, limits)


@dataclass(frozen=True, slots=True)
class Limit:
    """A goal, and the most that a count may be until the goal is reached (0: not held)."""

    goal: float
    ceiling: int = 0

    @property
    def most(self) -> float:
        """The largest allowed count: the goal, once the code has reached it."""
        return max(self.goal, self.ceiling)


def read_limits() -> dict[str, Limit]:
    """The goals and ceilings of figures.toml, by name of the figure."""
    entries = tomllib.loads(LIMITS.read_text())
    return {name.replace("_", " "): Limit(**entry) for name, entry in entries.items()}


def counted() -> dict[str, int]:
    """Every count of the code as it is now, by name of the figure."""
    sources = [Source(path) for path in _code_files()]
    core = [Source(path) for path in core_files()]
    modules = [s.path for s in sources if s.path.suffix == ".py" and s.path.name != "__init__.py"]
    folders = Counter(path.parent for path in modules)
    return {
        "core files": len(core),
        "core code lines": sum(source.code_lines for source in core),
        "code lines": sum(source.code_lines for source in sources),
        "public names": len(taskdb.__all__),
        "modules in one folder": max(folders.values()),
        "lines of the largest file": max(source.lines for source in sources),
        "lines of the largest function": max(source.longest_function for source in sources),
    }


def core_files() -> list[Path]:
    """The files that CONTRIBUTING.md lists as the core, in order of reading."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("## The core")[2].partition("\n## ")[0]
    return [ROOT / name for name in re.findall(r"`([a-z_/]+\.(?:py|sql))`", section)]


class Source:
    """One file of Python or SQL, measured without importing it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = path.read_text()
        self._is_sql = path.suffix == ".sql"
        self._tree = ast.parse("" if self._is_sql else self._text)

    @property
    def lines(self) -> int:
        return len(self._text.splitlines())

    @cached_property
    def code_lines(self) -> int:
        """Lines that are not blank and hold more than a comment or a docstring."""
        if self._is_sql:
            lines = (line.strip() for line in self._text.splitlines())
            return sum(bool(line) and not line.startswith("--") for line in lines)
        skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT}
        skipped |= {tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}
        found: set[int] = set()
        with self.path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type not in skipped:
                    found.update(range(token.start[0], token.end[0] + 1))
        return len(found - self._docstring_lines())

    @property
    def longest_function(self) -> int:
        """Lines of the longest function, with its signature and docstring."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        functions = [node for node in ast.walk(self._tree) if isinstance(node, kinds)]
        return max(((node.end_lineno or 0) - node.lineno + 1 for node in functions), default=0)

    def _docstring_lines(self) -> set[int]:
        found: set[int] = set()
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return found


def measured() -> dict[str, float]:
    """Processor time of the first import of a process, and of the shortest command.

    Each package imports the name that a module of tasks imports: both load the rest at first use.
    """
    celery = _seconds("-c", "from celery import Celery")
    own = _seconds("-c", "from taskdb import task")
    return {
        "import taskdb over celery": round(own / celery, 2),
        "seconds of taskdb help": round(_seconds("-m", "taskdb.cli", "--help"), 2),
    }


def _seconds(*arguments: str) -> float:
    """Processor time of Python with these arguments, user and system, in seconds."""
    command = [sys.executable, *arguments]
    found = []
    for _ in range(_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def lower(counts: dict[str, int], limits: dict[str, Limit]) -> None:
    """Write each count that is below its ceiling as the new ceiling."""
    text = LIMITS.read_text()
    for name, value in counts.items():
        limit = limits[name]
        if value < limit.ceiling:
            entry = rf"^({name.replace(' ', '_')} = .*ceiling = )\d+"
            lowest = max(value, int(limit.goal))
            text = re.sub(entry, rf"\g<1>{lowest}", text, flags=re.MULTILINE)
    LIMITS.write_text(text)


def _code_files() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.*")):
            if path.suffix not in {".py", ".sql"}:
                continue
            if not any(folder in path.as_posix() for folder in _MIGRATIONS):
                yield path


if __name__ == "__main__":
    main(sys.argv[1:])
