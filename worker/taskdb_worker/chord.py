"""The chord of a fan-out, on the rows: Celery counts a part, the rows say what follows.

A part's message names the chord's body (`taskdb.finalize`). Celery asks the result backend after
each part, in the process that ran it; when no part is open the body is published, and ends the
parent. Whatever ends a part elsewhere (a killed process, a revocation, a cancel) asks the rows
itself, and the reconcile loop asks for whom nobody asked: all of them may, as often as they like.
"""

# Celery has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery, states
from celery.canvas import maybe_signature

from taskdb.celery.publish import FINALIZE
from taskdb_worker.member import Member
from taskdb_worker.tracked_task import ENDED

log = structlog.get_logger("taskdb.join")


def install_chord(app: Celery, member: Member) -> None:
    """Let this app count parts, and end parents."""
    app.taskdb_part_ended = _PartEnded(app, member)

    @app.task(name=FINALIZE, ignore_result=True, shared=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def finalize(parent_id: str) -> None:
        """End a parent whose sub-tasks are over; harmless as often as it is run."""
        member.execution.join(parent_id)


class _PartEnded:
    """What the result backend calls after each part of a chord."""

    def __init__(self, app: Celery, member: Member) -> None:
        self._app = app
        self._member = member

    def __call__(self, request: Any, state: str) -> None:
        # Where the run did not write its own end, the main process reports it, and asks then.
        if not request.group or not getattr(request, ENDED, False):
            return
        try:
            self._count(request, state)
        except Exception:
            # The part has ended well: nothing here may make Celery say otherwise.
            log.exception("join.later", parent_id=request.group)

    def _count(self, request: Any, state: str) -> None:
        parent_id: str = request.group
        is_bad = state != states.SUCCESS
        if not self._member.execution.part_ended(parent_id, badly=is_bad):
            return
        try:
            maybe_signature(request.chord, app=self._app).apply_async(retry=False)
        except Exception as error:  # noqa: BLE001 - the broker is away: this process can do it
            log.warning("join.without_broker", parent_id=parent_id, reason=str(error))
            self._member.execution.join(parent_id)
