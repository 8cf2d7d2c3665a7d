"""Insert tasks, and act on tasks that have the unique key of a new one already."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from taskdb.errors import TaskDBError
from taskdb.model.json_text import encode
from taskdb.model.status import MOVES, TaskStatus
from taskdb.store.contract import Draft, OnConflict
from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.engine.session import Parameters, Row, Session
from taskdb.store.engine.types import as_moment, moment
from taskdb.store.task.row import DRAFT_JSON, RESUBMITTED, TRACED_COLUMNS, WHEN
from taskdb.store.task.statements import moves_for, queries_of

BATCH_ROWS = 1_000
BATCH_CHARACTERS = 8 * 1024 * 1024
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Created:
    """The row that stands for one draft, and whether it waits to be published.

    `id` differs from the id of the draft where a task with the same unique key was found.
    """

    id: str
    status: TaskStatus
    is_new: bool
    relay_at: datetime | None = None
    created_at: datetime | None = None
    run_at: datetime | None = None
    held_by: str | None = None
    is_left: bool = False
    """The row can be resubmitted and is not yet, since the row or the draft is a tree."""


class Creation:
    """The insertion of drafts over one session, which may be in a transaction of the caller."""

    def __init__(
        self,
        session: Session,
        dialect: StoreDialect,
        constants: Parameters,
        grace: timedelta,
    ) -> None:
        self._session = session
        self._dialect = dialect
        self._moves, self._queries = moves_for(dialect), queries_of(dialect, "task/queries")
        self._constants = constants
        self._grace = grace.total_seconds()
        self._insert = self._queries.insert

    def create(self, drafts: Sequence[Draft], on_conflict: OnConflict) -> list[Created]:
        """Insert the drafts. Returns the row of each draft, new or found, in their order."""
        self._heed_traces(drafts)
        # In order of their keys, so that two submits of the same keys do not deadlock.
        by_key = sorted(drafts, key=lambda draft: draft.unique_key or "")
        if on_conflict == "new":
            self._free_keys(by_key)
        new: dict[str, Created] = {}
        for batch in _batches(by_key, self.as_json):
            new.update(self._insert_batch(batch))
        created: dict[str, Created] = {}
        # A second draft of the same key in this call leaves the row of the first one as it is.
        made = set(new)
        for draft in by_key:
            one = new.get(draft.id) or self._found(draft, on_conflict, made)
            created[draft.id] = one
            if one.is_new:
                made.add(one.id)
        return [created[draft.id] for draft in drafts]

    def insert(self, drafts: Sequence[Draft]) -> None:
        """Insert drafts without a unique key, which cannot conflict with a row."""
        self._heed_traces(drafts)
        for batch in _batches(drafts, self.as_json):
            self._insert_rows(batch, answers=False)

    def _heed_traces(self, drafts: Sequence[Draft]) -> None:
        is_traced = any(draft.trace is not None for draft in drafts)
        self._insert = self._queries.insert_traced if is_traced else self._queries.insert

    def _insert_rows(self, batch: list[str], *, answers: bool = True) -> list[Row]:
        return self._dialect.insert(
            self._session,
            self._insert,
            {**self._constants, "drafts": f"[{','.join(batch)}]", "grace": self._grace},
            answers=answers,
        )

    def _insert_batch(self, batch: list[str]) -> dict[str, Created]:
        found = self._insert_rows(batch)
        return {str(row["id"]): _created(row, is_new=True) for row in found}

    def _found(self, draft: Draft, on_conflict: OnConflict, made: Container[str]) -> Created:
        """Act on the task that has the key. Tries again, since it may vanish or end meanwhile."""
        for _ in range(_ROUNDS):
            found = self._existing(draft)
            if found is not None:
                # Its own row, from a try whose reply was lost, or one that this call created.
                settled = found.id == draft.id or found.id in made or on_conflict != "resubmit"
                return found if settled else self._resubmitted(draft, found)
            again = self._insert_batch([self.as_json(draft)])
            if draft.id in again:
                return again[draft.id]
        message = (
            f"the unique key {draft.unique_key!r} of type {draft.type!r} is taken by a task that "
            "this transaction cannot see: submit again after it has ended"
        )
        raise TaskDBError(message)

    def _existing(self, draft: Draft) -> Created | None:
        found = self._dialect.query(self._session, self._queries.existing, _place(draft))
        return _created(found[0], is_new=str(found[0]["id"]) == draft.id) if found else None

    def _resubmitted(self, draft: Draft, found: Created) -> Created:
        values = self._values(draft)
        parameters = {
            **self._constants,
            **_place(draft),
            **{name: values[name] for name in (*RESUBMITTED, *WHEN)},
            "grace": self._grace,
            "detail": encode({"reason": "submitted again"}, "detail"),
        }
        moved = self._dialect.move(self._session, self._moves.resubmit, parameters)
        now = self._existing(draft) or found
        if moved and moved[0].after is not None:
            # It is published again, so it counts as new.
            return replace(now, is_new=True)
        # A row that has moved in the meantime is returned as it is.
        return replace(now, is_left=now.status in MOVES["resubmit"].sources)

    def _free_keys(self, drafts: Sequence[Draft]) -> None:
        """Clear the unique keys of terminal tasks that these drafts need."""
        for draft in drafts:
            if draft.unique_key is not None:
                self._dialect.query(self._session, self._queries.free_key, _place(draft))

    def as_json(self, draft: Draft) -> str:
        """Return a draft as a parameter of a statement."""
        spelled = {
            name: self._dialect.spell(value) if isinstance(value, datetime) else value
            for name, value in self._values(draft).items()
            if value is not None
        }
        return encode(spelled, "the task", deepest=None)

    def _values(self, draft: Draft) -> dict[str, Any]:
        """Return the values of the columns of a draft, JSON as text."""
        values: dict[str, Any] = {name: getattr(draft, name) for name in TRACED_COLUMNS}
        for name in DRAFT_JSON:
            value = list(draft.tags) if name == "tags" else values[name]
            if name == "input" and draft.input_text is not None:
                values[name] = draft.input_text
            elif value is not None:
                values[name] = encode(value, name, deepest=None)
        values["run_at"] = draft.run_at
        values["delay"] = None if draft.delay is None else draft.delay.total_seconds()
        return values


def _place(draft: Draft) -> dict[str, Any]:
    return {
        "id": draft.id,
        "tenant": draft.tenant,
        "type": draft.type,
        "kind": draft.kind,
        "unique_key": draft.unique_key,
    }


def _created(row: Row, *, is_new: bool) -> Created:
    return Created(
        id=str(row["id"]),
        status=TaskStatus(row["status"]),
        is_new=is_new,
        relay_at=moment(row["relay_at"]),
        created_at=moment(row["created_at"]),
        run_at=as_moment(row["run_at"]),
        held_by=row["held_by"],
    )


def _batches(drafts: Sequence[Draft], as_json: Callable[[Draft], str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for draft in drafts:
        text = as_json(draft)
        if batch and (len(batch) >= BATCH_ROWS or size + len(text) > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch
