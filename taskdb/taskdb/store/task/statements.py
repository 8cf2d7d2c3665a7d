"""The statements of tasks, read from the files beside this module and written for a dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from taskdb.model.status import (
    MOVES,
    OPEN,
    PUBLISHABLE,
    RETRIED_IN_BULK,
    RUNNING,
    TERMINAL,
    WAITING,
    TaskStatus,
)
from taskdb.store.engine.aside import not_aside
from taskdb.store.engine.dialect import Columns, MoveStatement, StoreDialect
from taskdb.store.engine.event_order import has_order
from taskdb.store.engine.sql_text import Section, Writer, listed, sections, split
from taskdb.store.engine.tables import JSON_COLUMNS
from taskdb.store.task.draft_columns import (
    ASKED,
    DRAFT_COLUMNS,
    DRAFT_JSON,
    RESUBMITTED,
    TRACED_COLUMNS,
    WHEN,
)

PACKAGE = "taskdb.store.task"
MOVE_FILES = ("moves_of_runs.sql", "moves_of_tasks.sql")
BUSY = WAITING | RUNNING
"""The statuses of sub-tasks that take a place in the window of their parent."""
UNDONE = frozenset({TaskStatus.FAILED, TaskStatus.CANCELED})
"""The bad terminal statuses."""
BAD = frozenset({TaskStatus.FAILED, TaskStatus.CANCELED, TaskStatus.HALTED})
"""The statuses of sub-tasks that `retry_task` of their parent runs again."""
FEW = 16
"""Open parts are counted up to this number. A higher number makes no difference."""
REFUSED_SECONDS = 5.0
REFUSED_LONGEST_SECONDS = 300.0
"""The shortest and the longest pause before a message that the broker refused is tried again."""
_RESUBMITTABLE = MOVES["resubmit"].sources
_STATUSES: Mapping[str, Iterable[TaskStatus]] = {
    "OPEN": OPEN,
    "PUBLISHABLE": PUBLISHABLE,
    "RUNNING": RUNNING,
    "TERMINAL": TERMINAL,
    "WAITING": WAITING,
    "BUSY": BUSY,
    "UNDONE": UNDONE,
    "BAD": BAD,
    "RETRIED_IN_BULK": RETRIED_IN_BULK,
    "CANCELABLE": MOVES["cancel"].sources,
    "RETRYABLE": MOVES["retry"].sources,
    "REOPENABLE": {*TERMINAL, TaskStatus.HALTED},
    "RESUBMITTABLE": _RESUBMITTABLE,
    "RESUBMITTABLE_PART": {*_RESUBMITTABLE, TaskStatus.CANCELED},
}
_MARKS: Columns = {"id": "id", "relay_at": "moment"}
_COLUMNS: Mapping[str, Columns] = {
    "marks": _MARKS,
    "refusals": {**_MARKS, "reason": "text"},
    "results": {"id": "id", "result": "text", "result_ref": "text"},
    "part": {**ASKED, **WHEN, "id": "id"},
    "root": {**ASKED, "id": "id"},
    "asked": ASKED,
    "resubmitted": RESUBMITTED,
    "drafts": {**DRAFT_COLUMNS, **WHEN},
    "traced": {**TRACED_COLUMNS, **WHEN},
}
_CLAUSE = re.compile(r"^(ROWS|IF|SET|RETURNS)\b", re.MULTILINE)


class Moves(dict[str, MoveStatement]):
    """The moves for one dialect, by name and as attributes."""

    def __getattr__(self, name: str) -> MoveStatement:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Queries(dict[str, str]):
    """The other statements for one dialect, by name and as attributes."""

    def __getattr__(self, name: str) -> str:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@cache
def moves_for(d: StoreDialect) -> Moves:
    """Write every move for one dialect."""
    found = [one for file in MOVE_FILES for one in sections(PACKAGE, file)]
    writer = writer_for(d, found)
    moves = Moves()
    clauses: dict[str, dict[str, str]] = {}
    for section in found:
        if section.kind == "move":
            clauses[section.name] = _clauses(section, clauses)
            moves[section.name] = _move(section, clauses[section.name], writer)
    return moves


@cache
def queries_for(d: StoreDialect) -> Queries:
    """Write every other statement for one dialect."""
    return queries_of(d, PACKAGE, {})


def queries_of(d: StoreDialect, package: str, columns: Mapping[str, Columns]) -> Queries:
    """Write the file `queries.sql` of a package. `columns`: the columns of its own parameters."""
    found = list(sections(package, "queries.sql"))
    writer = writer_for(d, found, columns)
    return Queries(
        (section.name, writer.write(section.text)) for section in found if section.kind == "query"
    )


def writer_for(
    d: StoreDialect, found: Iterable[Section], columns: Mapping[str, Columns] = _COLUMNS
) -> Writer:
    """Return a writer with the parts of `parts.sql` and those of a file."""
    columns = {**_COLUMNS, **columns}

    def bound(name: str) -> str:
        of_kind = {"text": d.text, "integer": d.integer, "moment": d.moment, "number": d.number}
        return ", ".join(
            f"{column} = {d.json(column) if column in DRAFT_JSON else of_kind[kind](column)}"
            for column, kind in columns[name].items()
        )

    def given(column: str) -> str:
        return d.as_json(f"draft.{column}") if column in DRAFT_JSON else f"draft.{column}"

    words: dict[str, Any] = {
        **{name: listed(statuses) for name, statuses in _STATUSES.items()},
        "few": str(FEW + 1),
        "refused": str(REFUSED_SECONDS),
        "refused_longest": str(REFUSED_LONGEST_SECONDS),
        "not_aside": lambda loop, column="id": not_aside(d, loop, column),
        "has_order": lambda column: has_order(d.name, column),
        "told": lambda *names: d.told(", ".join(names)),
        "read": lambda *names: ", ".join(map(_read, names)),
        "bound": bound,
        "drafted": lambda name: ", ".join(f"{one} = {given(one)}" for one in columns[name]),
        "names": lambda name: ", ".join(one for one in columns[name] if one not in WHEN),
        "values": lambda name: ", ".join(
            _HELD.get(one) or given(one) for one in columns[name] if one not in WHEN
        ),
    }
    parts = [*sections(PACKAGE, "parts.sql"), *(one for one in found if one.kind == "part")]
    return Writer(d, parts, columns, words)


_HELD = {
    # An item that needs slots gets a message of its own, once it has them.
    "chunk": "CASE WHEN NOT draft.gated THEN draft.chunk END",
    "held_by": "COALESCE(draft.held_by, CASE WHEN draft.gated THEN 'gate' END)",
}


def _clauses(section: Section, known: Mapping[str, dict[str, str]]) -> dict[str, str]:
    """Return the clauses of a move. The move named by `like` gives those that are left out."""
    _, *words = _CLAUSE.split(section.text)
    own = dict(zip(words[::2], words[1::2], strict=True))
    base = known.get(_option(section, "like"), {})
    both = _assignments(base.get("SET", "")) | _assignments(own.get("SET", ""))
    changes = ", ".join(f"{name} = {value}" if value else name for name, value in both.items())
    return {**base, **own, "SET": changes}


def _move(section: Section, clauses: Mapping[str, str], writer: Writer) -> MoveStatement:
    changes = _assignments(clauses["SET"])
    status = writer.write(changes["status"])
    given = _option(section, "given")
    return MoveStatement(
        _option(section, "as") or section.name,
        writer.write(clauses["ROWS"]),
        writer.write(clauses["IF"]),
        tuple(_assignments(writer.write(clauses["SET"], status=status)).items()),
        answer=tuple(split(clauses.get("RETURNS", ""))),
        durable="lazy" not in section.options,
        many="many" in section.options,
        skip_locked="skip locked" in section.options,
        given=_COLUMNS[given] if given else None,
        is_likely="likely" in section.options,
        planned_each_time="planned each time" in section.options,
    )


def _assignments(text: str) -> dict[str, str]:
    """Return the assignments by column. A token for several assignments has an empty value."""
    found = (one.partition(" = ") for one in split(text))
    return {name: value for name, _, value in found}


def _option(section: Section, word: str) -> str:
    return next((one.split()[1] for one in section.options if one.startswith(f"{word} ")), "")


def _read(column: str) -> str:
    return f"CAST({column} AS TEXT) AS {column}" if column in JSON_COLUMNS else column
