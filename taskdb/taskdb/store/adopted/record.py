"""The locked row of one adopted task, while observations are applied to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from taskdb.model.adopted import AdoptedReport, AdoptedRow, ReportKind, Step, follow, tells_late
from taskdb.model.entity import TaskError
from taskdb.model.json_text import encode, storable
from taskdb.model.status import TERMINAL, WAITING, TaskStatus
from taskdb.store.engine.sql_text import columns_of
from taskdb.store.task.detail import spelled_error

QUERIES = "adopted/queries"
_TEXT_LIMIT = 500
_QUEUE = "celery"
_DEFAULT_PRIORITY = 5
_HIGHEST_PRIORITY = 9


@dataclass(slots=True)
class Record:
    """One locked row, or one that does not exist yet."""

    id: str
    is_new: bool = True
    is_owned: bool = False
    is_changed: bool = False
    tenant: str = ""
    is_guess: bool = False
    has_input: bool = False
    has_attributes: bool = False
    has_error: bool = False
    columns: dict[str, Any] = field(default_factory=dict)
    late: list[AdoptedReport] = field(default_factory=list)
    """Observations of earlier runs than the current one of the row."""

    def take(self, seen: AdoptedReport) -> list[dict[str, Any]]:
        """Apply an observation. Returns the history rows of its moves."""
        standing = self._standing()
        steps = follow(standing, seen)
        if not steps and standing is None:
            return []
        if standing is None:
            self._begin(seen)
        elif not steps and tells_late(standing, seen) and seen not in self.late:
            self.late.append(seen)
        self._fill(seen)
        if steps and steps[-1].source is not steps[-1].target:
            self._move(seen, steps[-1])
        self._fill_deadline(seen)
        return [self._event(seen, step, steps[-1]) for step in steps]

    def remarks(self) -> list[dict[str, Any]]:
        """History rows of late observations; they come last and do not move the row."""
        if not self.late:
            return []
        status = TaskStatus(self.columns["status"])
        steps = [Step(status, status, seen.attempt, seen.at) for seen in self.late]
        return [self._event(seen, step, step) for seen, step in zip(self.late, steps, strict=True)]

    def _standing(self) -> AdoptedRow | None:
        if not self.columns:
            return None
        return AdoptedRow(
            status=TaskStatus(self.columns["status"]),
            attempt=self.columns["attempt"],
            token=self.columns["claim_token"],
            started_at=self.columns["started_at"],
            ended_at=self.columns["ended_at"],
            is_guess=self.is_guess,
        )

    def _begin(self, seen: AdoptedReport) -> None:
        self.tenant = seen.tenant
        self.columns = {
            **dict.fromkeys(columns_of(QUERIES)["written"]),
            "id": self.id,
            "type": storable(seen.type, _TEXT_LIMIT) or "?",
            "status": seen.status.value,
            "queue": _QUEUE,
            "priority": _DEFAULT_PRIORITY,
            "attempt": 0,
            "created_at": seen.began_at or seen.at,
        }

    def _fill(self, seen: AdoptedReport) -> None:
        """Fill the other columns from an observation, also from one too late to move the row."""
        known = self.columns
        if seen.type and (known["type"] == "?" or seen.kind is ReportKind.BEGUN):
            self._set("type", storable(seen.type, _TEXT_LIMIT))
        if seen.queue and known["queue"] == _QUEUE:
            self._set("queue", storable(seen.queue, _TEXT_LIMIT))
        if seen.priority is not None:
            self._set("priority", min(max(int(seen.priority), 0), _HIGHEST_PRIORITY))
        if seen.input is not None and not self.has_input:
            self.has_input = True
            self._set("input", encode(seen.input, "the arguments"))
        if seen.attributes and not self.has_attributes:
            self.has_attributes = True
            self._set("attributes", encode(seen.attributes, "the attributes"))
        self._fill_times(seen)
        if seen.error is not None and self._lacks_error(seen):
            self._say(seen.error)

    def _fill_times(self, seen: AdoptedReport) -> None:
        known = self.columns
        if seen.kind is ReportKind.PUBLISHED and seen.attempt == 0:
            if known["queued_at"] is None and seen.status is TaskStatus.QUEUED:
                self._set("queued_at", seen.at)
            self._set("created_at", min(known["created_at"], seen.at))
        if seen.run_at is not None and known["run_at"] is None:
            self._set("run_at", seen.run_at)

    def _fill_deadline(self, seen: AdoptedReport) -> None:
        """Set the deadline only while the task waits: deadline loops need not skip other rows."""
        if self.columns["status"] not in WAITING:
            self._set("deadline_at", None)
        elif seen.expires_at is not None:
            self._set("deadline_at", seen.expires_at)

    def _lacks_error(self, seen: AdoptedReport) -> bool:
        """Whether the end of the run, which has the error, was seen only after its retry."""
        is_its_end = seen.status is TaskStatus.ERRORED and seen.attempt == self.columns["attempt"]
        return is_its_end and self.columns["status"] == seen.status and not self.has_error

    def _move(self, seen: AdoptedReport, last: Step) -> None:
        known = self.columns
        known["status"] = last.target.value
        known["attempt"] = max(known["attempt"], last.attempt)
        if seen.kind is ReportKind.BEGUN:
            known["started_at"] = seen.at
        elif seen.began_at is not None:
            known["started_at"] = seen.began_at
        if seen.token is not None:
            known["claim_token"] = seen.token
        if seen.worker is not None:
            known["worker"] = storable(seen.worker, _TEXT_LIMIT)
        known["ended_at"] = seen.at if last.target in TERMINAL else None
        if last.target is TaskStatus.ERRORED:
            known["run_at"] = seen.run_at
        if last.target is TaskStatus.COMPLETED:
            known["error"] = None
            if seen.result is not None:
                known["result"] = encode(seen.result, "the result")
        elif seen.error is not None:
            self._say(seen.error)
        self.is_guess = seen.kind is ReportKind.MISSED
        self.is_changed = True

    def _say(self, error: TaskError) -> None:
        whole = replace(error, attempt=self.columns["attempt"])
        self._set("error", spelled_error(whole)["error"])
        self.has_error = True

    def _set(self, column: str, value: Any) -> None:
        if self.columns[column] != value:
            self.columns[column] = value
            self.is_changed = True

    def _event(self, seen: AdoptedReport, step: Step, last: Step) -> dict[str, Any]:
        # The observation names the worker of its own attempt only.
        worker = seen.worker if step.attempt == last.attempt else None
        return {
            "task_id": self.id,
            "tenant": self.tenant,
            "from_status": None if step.source is None else step.source.value,
            "to_status": step.target.value,
            "attempt": step.attempt,
            "worker": None if worker is None else storable(worker, _TEXT_LIMIT),
            "at": step.at,
            "detail": _detail(seen) if step is last else None,
        }


def _detail(seen: AdoptedReport) -> str | None:
    if seen.error is not None:
        return str(spelled_error(seen.error)["detail"])
    if not seen.reason:
        return None
    return encode({"reason": storable(seen.reason, _TEXT_LIMIT)}, "detail")
