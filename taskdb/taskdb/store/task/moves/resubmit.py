"""What becomes of a task whose unique key is submitted again: all is as the new submit says."""

from __future__ import annotations

from collections.abc import Callable

from taskdb.model.status import MOVES, TaskStatus
from taskdb.store.engine.dialect import MoveStatement, StoreDialect
from taskdb.store.task.draft_columns import ASKED, DRAFT_JSON, RESUBMITTED, WHEN
from taskdb.store.task.moves.fragments import ALONE, BLANK, FRESH_BUDGET, NOBODY, is_in
from taskdb.store.task.slot_need import is_gated_by

_SOURCES = MOVES["resubmit"].sources
_ANEW = (*FRESH_BUDGET, *BLANK, *NOBODY, ("spec", "NULL"), ("started_at", "NULL"))


def resubmit_moves(d: StoreDialect) -> dict[str, MoveStatement]:
    """Of a task without sub-tasks, and of a tree that goes on."""
    is_tree = " OR ".join(
        f"{d.member('old.spec', stage)} IS NOT NULL" for stage in ("fan_out", "sequence")
    )
    chosen = f"old.id IN {d.listed_ids('ids')}"
    given = _given(d)
    return {
        "resubmit": MoveStatement(
            "resubmit",
            "old.tenant = :tenant AND old.type = :type AND old.unique_key = :unique_key",
            f"{is_in(_SOURCES)} AND {d.text('kind')} = 'TASK' AND NOT ({is_tree})",
            (
                *_ANEW,
                *_when(d, _bound(d), window="NULL", may_schedule="true"),
                *((name, _bound(d)(name)) for name in RESUBMITTED),
            ),
        ),
        # A part of a fan-out that goes on. One that was CANCELED waits as CREATED until it is due.
        "resubmit_part": MoveStatement(
            "retry",
            chosen,
            is_in({*_SOURCES, TaskStatus.CANCELED}),
            (
                *_ANEW,
                *ALONE,
                *_when(d, given, window=d.text("held_by"), may_schedule="old.status <> 'CANCELED'"),
                *((name, given(name)) for name in ASKED),
            ),
            many=True,
            given={**ASKED, **WHEN, "id": "id"},
        ),
        # The root of a tree that goes on; the move follows.
        "ask_anew": MoveStatement(
            "resubmit",
            chosen,
            is_in(_SOURCES),
            (("status", "old.status"), *((name, given(name)) for name in ASKED)),
            many=True,
            given={**ASKED, "id": "id"},
        ),
    }


def _when(
    d: StoreDialect, said: Callable[[str], str], *, window: str, may_schedule: str
) -> tuple[tuple[str, str], ...]:
    """When it is due, and what holds it until then: as an insert decides it for a new row."""
    due = f"COALESCE({d.later(said('delay'))}, {said('run_at')})"
    is_later = f"{due} > {d.now}"
    places = {"queue": said("queue"), "type": "old.type", "tenant": "old.tenant"}
    gated = f"(old.is_gated OR {is_gated_by(said('mutex_key'), places)})"
    return (
        (
            "status",
            f"CASE WHEN {is_later} AND {may_schedule} THEN 'SCHEDULED' ELSE 'CREATED' END",
        ),
        ("run_at", due),
        ("is_gated", gated),
        ("held_by", f"COALESCE({window}, CASE WHEN {gated} THEN 'gate' END)"),
        (
            "relay_at",
            (
                f"CASE WHEN {window} IS NOT NULL THEN {d.never} WHEN {is_later} THEN {due}"
                f" WHEN {gated} THEN {d.now} ELSE {d.later(':grace')} END"
            ),
        ),
    )


def _bound(d: StoreDialect) -> Callable[[str], str]:
    """What a draft says, as parameters of their own."""
    of_kind = {"text": d.text, "integer": d.integer, "moment": d.moment, "number": d.number}
    kinds = {**RESUBMITTED, **WHEN}
    return lambda name: d.json(name) if name in DRAFT_JSON else of_kind[kinds[name]](name)


def _given(d: StoreDialect) -> Callable[[str], str]:
    """The same, of the drafts that are handed over for each row."""
    return lambda name: d.as_json(f"draft.{name}") if name in DRAFT_JSON else f"draft.{name}"
