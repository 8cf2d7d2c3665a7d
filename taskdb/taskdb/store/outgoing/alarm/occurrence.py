"""Writes observed failures into alarms, by fingerprint, in the transaction that read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update
from uuid_utils.compat import uuid7

from taskdb.model.alarm.alarm import DEFAULT_SEVERITIES, Alarm, AlarmSource, AlarmState, Severity
from taskdb.model.alarm.route import AlarmRules
from taskdb.store.engine.aside import is_of_a_row
from taskdb.store.engine.tables import alarm

SAMPLES = 10
"""The number of newest tasks that an alarm names."""
_EVIDENCE = 500


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of an alarm; failures of one cause are counted together."""

    source: AlarmSource
    type: str = ""
    error_type: str = ""
    place: str = ""
    tenant: str | None = None

    @property
    def fingerprint(self) -> str:
        """A hash that identifies the cause."""
        parts = [str(self.source), self.type, self.error_type, self.place, self.tenant]
        text = json.dumps(parts, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(slots=True)
class Observed:
    """The observations of one cause in one pass.

    `evidence` names the causes that hold a condition now; a known one is not counted again.
    """

    cause: Cause
    severity: Severity
    first_at: datetime
    last_at: datetime
    count: int = 0
    task_ids: list[str] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    """Ids of the counted events."""
    message: str = ""
    sample: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()

    def add(self, at: datetime, task_id: str) -> None:
        """Add one occurrence."""
        self.count += 1
        self.first_at, self.last_at = min(self.first_at, at), max(self.last_at, at)
        self.task_ids = [*self.task_ids, task_id][-SAMPLES:]


def severity_of(policy: Alarm | None, source: AlarmSource) -> Severity:
    """The severity by the policy, or the default of the source."""
    return policy.severity if policy and policy.severity else DEFAULT_SEVERITIES[source]


def raises(policy: Alarm | None, source: AlarmSource, rules: AlarmRules) -> bool:
    """Whether this source raises an alarm."""
    return source in (rules.sources if policy is None or policy.on is None else policy.on)


def tenant_of(policy: Alarm | None, tenant: str, rules: AlarmRules) -> str | None:
    """The tenant of an alarm; None if it counts for all tenants."""
    wanted = rules.group_by_tenant
    if policy is not None and policy.group_by_tenant is not None:
        wanted = policy.group_by_tenant
    return tenant if wanted else None


def write_each(
    connection: Connection, seen: Iterable[Observed], now: datetime
) -> list[tuple[Observed, Exception]]:
    """Write each with a savepoint. Returns those that could not be written, with the error."""
    failed = []
    for one in seen:
        try:
            with connection.begin_nested():
                write_observed(connection, [one], now)
        except Exception as error:
            if not is_of_a_row(error):
                raise
            failed.append((one, error))
    return failed


def write_observed(connection: Connection, seen: Iterable[Observed], now: datetime) -> None:
    """Count observations in their alarms; a resolved alarm opens again."""
    by_fingerprint = {one.cause.fingerprint: one for one in seen}
    known = {row["fingerprint"]: row for row in locked(connection, list(by_fingerprint))}
    for fingerprint, one in sorted(by_fingerprint.items()):
        row = known.get(fingerprint)
        if row is None:
            _insert(connection, fingerprint, one, now)
        else:
            _count(connection, row, one, now)


def locked(connection: Connection, fingerprints: Sequence[str]) -> list[RowMapping]:
    """Lock the alarms of these fingerprints until the transaction ends, and return them."""
    statement = select(alarm).where(alarm.c.fingerprint.in_(fingerprints)).order_by(alarm.c.id)
    return list(connection.execute(statement.with_for_update()).mappings())


def _insert(connection: Connection, fingerprint: str, one: Observed, now: datetime) -> None:
    cause = one.cause
    values = {
        "id": str(uuid7()),
        "fingerprint": fingerprint,
        "source": str(cause.source),
        "type": cause.type,
        "error_type": cause.error_type,
        "place": cause.place,
        "tenant": cause.tenant,
        "severity": str(one.severity),
        "state": str(AlarmState.OPEN),
        "count": len(one.evidence) or one.count,
        "reported": 0,
        "sequence": 0,
        "is_regression": False,
        "channels": [],
        "evidence": list(one.evidence)[:_EVIDENCE],
        "task_ids": one.task_ids,
        "sample": one.sample,
        "message": one.message,
        "first_seen_at": one.first_at,
        "last_seen_at": one.last_at,
        "opened_at": now,
    }
    connection.execute(insert(alarm).values(values))


def _count(connection: Connection, row: RowMapping, one: Observed, now: datetime) -> None:
    new = [key for key in one.evidence if key not in row["evidence"]]
    count = len(new) if one.evidence else one.count
    if one.evidence and not count and row["state"] != AlarmState.RESOLVED:
        # The condition still holds, and is known.
        return
    state = row["state"]
    values: dict[str, Any] = {
        "count": row["count"] + max(count, 1),
        "severity": str(one.severity),
        "evidence": list(one.evidence)[:_EVIDENCE],
        "task_ids": [*row["task_ids"], *one.task_ids][-SAMPLES:],
        "sample": one.sample,
        "message": one.message,
        "last_seen_at": max(row["last_seen_at"], one.last_at),
    }
    if state == AlarmState.ACKNOWLEDGED:
        # A person knows of it: no message is sent, also not later.
        values["reported"] = values["count"]
    elif state == AlarmState.RESOLVED:
        values |= {
            "state": str(AlarmState.OPEN),
            "reported": row["count"],
            "is_regression": True,
            "is_routed": None,
            "opened_at": now,
            "resolved_at": None,
            "note": None,
        }
    connection.execute(update(alarm).where(alarm.c.id == row["id"]).values(values))
