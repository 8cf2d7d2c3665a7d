"""The statements of tasks, read from the files beside this module and written for a dialect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Generic, TypeVar

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
from taskdb.store.engine.sql_text import Section, Writer, columns_of, listed, sections, split
from taskdb.store.engine.task_table import JSON_COLUMNS
from taskdb.store.task.parent import PARENT
from taskdb.store.task.row import (
    ASKED,
    CLAIM,
    DRAFT_COLUMNS,
    DRAFT_JSON,
    PUBLICATION,
    RESUBMITTED,
    TRACED_COLUMNS,
    WHEN,
)

MOVE_FILES = ("task/moves_of_runs", "task/moves_of_tasks")
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

T = TypeVar("T")


class Statements(Generic[T]):
    """The statements of a file for one dialect, as attributes.

    Each is written when it is first used, since a process uses few of them.
    """

    def __init__(self, names: Iterable[str], write: Callable[[str], T]) -> None:
        self.names = tuple(names)
        self._write = write

    def __getattr__(self, name: str) -> T:
        if name not in self.names:
            raise AttributeError(name)
        # Of two threads the first one's statement counts, since dialects know moves by identity.
        written: T = self.__dict__.setdefault(name, self._write(name))
        return written


Moves = Statements[MoveStatement]
Queries = Statements[str]


@cache
def moves_for(d: StoreDialect) -> Moves:
    """Return the moves for one dialect."""
    found = {one.name: one for one in sections(d.name, *MOVE_FILES) if one.kind == "move"}
    writer = _writer(d, *MOVE_FILES)
    return Moves(found, lambda name: _move(found[name], found, writer))


@cache
def queries_of(d: StoreDialect, file: str) -> Queries:
    """Return the queries of a file under `taskdb/store`, such as `admission/queries`."""
    texts = {one.name: one.text for one in sections(d.name, file) if one.kind == "query"}
    writer = _writer(d, file)
    return Queries(texts, lambda name: writer.write(texts[name]))


def _writer(d: StoreDialect, *files: str) -> Writer:
    """Return a writer with the parts of these files and of `parts.sql`."""
    columns = {**_COLUMNS, **columns_of(*files)}

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
        "spelled": lambda *names: d.spelled(", ".join(names)),
        "read": lambda *names: ", ".join(map(_read, split(", ".join(names)))),
        "claim": CLAIM.columns,
        "parent": PARENT.columns,
        "publication": PUBLICATION.columns,
        "bound": bound,
        "drafted": lambda name: ", ".join(f"{one} = {given(one)}" for one in columns[name]),
        "names": lambda name: ", ".join(one for one in columns[name] if one not in WHEN),
        "values": lambda name: ", ".join(
            _HELD.get(one) or given(one) for one in columns[name] if one not in WHEN
        ),
    }
    return Writer(d, sections(d.name, "task/parts", *files), columns, words)


_HELD = {
    # An item that needs slots gets a message of its own, once it has them.
    "chunk": "CASE WHEN NOT draft.limited THEN draft.chunk END",
    "held_by": "COALESCE(draft.held_by, CASE WHEN draft.limited THEN 'admission' END)",
}


def _clauses(section: Section, moves: Mapping[str, Section]) -> dict[str, str]:
    """Return the clauses of a move. The move named by `like` gives those that are left out."""
    _, *words = _CLAUSE.split(section.text)
    own = dict(zip(words[::2], words[1::2], strict=True))
    like = _option(section, "like")
    base = _clauses(moves[like], moves) if like else {}
    both = _assignments(base.get("SET", "")) | _assignments(own.get("SET", ""))
    changes = ", ".join(f"{name} = {value}" if value else name for name, value in both.items())
    return {**base, **own, "SET": changes}


def _move(section: Section, moves: Mapping[str, Section], writer: Writer) -> MoveStatement:
    clauses = _clauses(section, moves)
    changes = _assignments(clauses["SET"])
    status = writer.write(changes["status"])
    given = _option(section, "given")
    return MoveStatement(
        _option(section, "as") or section.name,
        writer.write(clauses["ROWS"]),
        writer.write(clauses["IF"]),
        tuple(_assignments(writer.write(clauses["SET"], status=status)).items()),
        answer=tuple(one for one in split(writer.write(clauses.get("RETURNS", ""))) if one != "id"),
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
