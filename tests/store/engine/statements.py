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

from taskdb.store.admission.queries import gate_queries_for
from taskdb.store.doctor.drift import drift_queries_for
from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.engine.dialects import spoken
from taskdb.store.engine.postgresql.postgresql import PostgreSQL
from taskdb.store.task.statements import Queries, moves_for, queries_for

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
    found = [
        *_moves(d),
        *_queries("task", queries_for(d)),
        *_queries("limit", gate_queries_for(d)),
        *_queries("drift", drift_queries_for(d)),
    ]
    return "\n".join(f"-- {name}\n{_lines(sql)}\n" for name, sql in found)


def _moves(d: StoreDialect) -> Iterator[tuple[str, str]]:
    dialect: Any = d
    for name, statement in sorted(moves_for(d).items()):
        sql = dialect.move_sql(statement)
        for number, text in enumerate([sql] if isinstance(sql, str) else sql, 1):
            yield f"move {name}" + ("" if isinstance(sql, str) else f", {number}"), text
        if statement.is_likely and isinstance(d, PostgreSQL):
            yield f"move {name}, tried first", d.likely_sql(statement)


def _queries(noun: str, queries: Queries) -> Iterator[tuple[str, str]]:
    for name, sql in sorted(queries.items()):
        yield f"{noun} {name}", sql


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
