"""The final text of every statement of the store, in one file for each database.

    python -m tests.store.engine.statements

writes the files in `statements/` beside this module anew. A test holds them against the code, so
that a reader sees each statement whole, and a review shows what a change does to it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import taskdb.store
from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.engine.dialects import spoken
from taskdb.store.engine.postgresql.postgresql import PostgreSQL
from taskdb.store.task.statements import moves_for, queries_of

STORE = Path(taskdb.store.__file__).parent
FOLDER = Path(__file__).parent / "statements"
DATABASES = ("postgresql", "sqlite")
_CLAUSE = re.compile(
    r"(?<=[ (])(?=(?:WITH|SELECT|FROM|WHERE|UPDATE \w+ (?:AS \w+ )?SET|SET|INSERT INTO|DELETE FROM"
    r"|RETURNING|VALUES|UNION ALL|ORDER BY|GROUP BY|LEFT JOIN|(?<!LEFT )JOIN|ON CONFLICT|LIMIT)\b)"
)
_WIDTH = 100


def written(database: str) -> str:
    """Return every statement as this database gets it."""
    d = spoken(database)
    found = [*_moves(d), *(one for file in query_files() for one in _queries(d, file))]
    return "\n".join(f"-- {name}\n{_lines(sql)}\n" for name, sql in found)


def query_files() -> list[str]:
    """Return every file of the store that has queries, as `queries_of` names it."""
    names = (path.relative_to(STORE).with_suffix("") for path in STORE.rglob("*.sql"))
    files = sorted(str(name) for name in names if "migrations" not in name.parts)
    return [file for file in files if "-- query " in (STORE / f"{file}.sql").read_text()]


def _moves(d: StoreDialect) -> Iterator[tuple[str, str]]:
    dialect: Any = d
    moves = moves_for(d)
    for name in sorted(moves.names):
        statement = getattr(moves, name)
        sql = dialect.move_sql(statement)
        for number, text in enumerate([sql] if isinstance(sql, str) else sql, 1):
            yield f"move {name}" + ("" if isinstance(sql, str) else f", {number}"), text
        if statement.is_likely and isinstance(d, PostgreSQL):
            yield f"move {name}, tried first", d.likely_sql(statement)


def _queries(d: StoreDialect, file: str) -> Iterator[tuple[str, str]]:
    queries = queries_of(d, file)
    for name in sorted(queries.names):
        yield f"{file.removesuffix('/queries')} {name}", getattr(queries, name)


def _lines(sql: str) -> str:
    """Return the statement with a line for each clause, indented by its parentheses."""
    lines, depth = [], 0
    for clause in _CLAUSE.split(sql):
        indent = "  " * depth
        lines += textwrap.wrap(
            clause.strip(),
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=f"{indent}    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        depth += clause.count("(") - clause.count(")")
    return "\n".join(lines)


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for database in DATABASES:
        (FOLDER / f"{database}.sql").write_text(written(database))


if __name__ == "__main__":
    main()
