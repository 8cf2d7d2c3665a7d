"""Every statement that moves a row, by the verb of the state machine that it carries out.

Each is one guarded move over the row alias `old`; the loser of a race changes nothing. They are
spelled in the modules beside this one, by whom a task belongs to when it moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from taskdb.store.engine.dialect import MoveStatement, StoreDialect
from taskdb.store.task.moves.lost import crash_moves, hand_backs
from taskdb.store.task.moves.parent import parent_moves
from taskdb.store.task.moves.resubmit import resubmit_moves
from taskdb.store.task.moves.running import running_moves
from taskdb.store.task.moves.waiting import waiting_moves


@dataclass(frozen=True, slots=True)
class Moves:
    """The statements, for one dialect."""

    queue: MoveStatement
    claim: MoveStatement
    claim_chunk: MoveStatement
    progress: MoveStatement
    complete: MoveStatement
    complete_silent: MoveStatement
    complete_many: MoveStatement
    fan_out: MoveStatement
    await_callback: MoveStatement
    answer: MoveStatement
    finish: MoveStatement
    error: MoveStatement
    fail: MoveStatement
    snooze: MoveStatement
    halt: MoveStatement
    cancel_own: MoveStatement
    crash: MoveStatement
    crash_chunk: MoveStatement
    hand_back_chunk: MoveStatement
    rescue: MoveStatement
    hand_back: MoveStatement
    hand_back_unclaimed: MoveStatement
    hand_back_unclaimed_chunk: MoveStatement
    hand_back_lost: MoveStatement
    hand_back_worker: MoveStatement
    hold: MoveStatement
    hold_chunk: MoveStatement
    stray: MoveStatement
    stray_chunk: MoveStatement
    revoke: MoveStatement
    expire: MoveStatement
    expire_due: MoveStatement
    expire_chunk: MoveStatement
    cancel: MoveStatement
    retry: MoveStatement
    retry_ended_badly: MoveStatement
    resubmit: MoveStatement
    resubmit_part: MoveStatement
    ask_anew: MoveStatement
    wait: MoveStatement
    doom: MoveStatement
    reopen: MoveStatement
    join_complete: MoveStatement
    join_finish: MoveStatement
    join_fail: MoveStatement
    join_cancel: MoveStatement


@cache
def moves_for(d: StoreDialect) -> Moves:
    """Spell every move for one database."""
    return Moves(
        **running_moves(d),
        **crash_moves(d),
        **hand_backs(d),
        **waiting_moves(d),
        **resubmit_moves(d),
        **parent_moves(d),
    )
