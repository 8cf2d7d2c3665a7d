"""Folding: counts each failure of the history once in an alarm, also after a crash.

One transaction reads the events after the cursor, counts them, writes messages and moves the
cursor. Only one process does so at a time: a second one finds the cursor taken and does nothing.

While an older transaction is open, the cursor cannot pass later events, since older events may
still appear before them. Folding counts these events at once and keeps their ids beside the cursor
until it may pass them, so an alarm does not wait for an unrelated long transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, or_, select, update

from taskdb.model.alarm.alarm import Alarm, AlarmSource
from taskdb.model.alarm.route import AlarmRules
from taskdb.model.entity import TaskEntity, TaskKind
from taskdb.model.status import TaskStatus
from taskdb.redaction.redaction import Redaction
from taskdb.store.engine.aside import Aside, is_of_a_row
from taskdb.store.engine.database import Database
from taskdb.store.engine.restore import settle
from taskdb.store.engine.session import Row
from taskdb.store.engine.tables import alarm_cursor, set_aside
from taskdb.store.engine.task_table import task
from taskdb.store.engine.types import as_json, moment
from taskdb.store.outgoing.alarm.announcement import ANNOUNCE, Announced, announce
from taskdb.store.outgoing.alarm.occurrence import (
    Cause,
    Observed,
    raises,
    severity_of,
    tenant_of,
    write_each,
    write_observed,
)
from taskdb.store.outgoing.alarm.row import policies
from taskdb.store.outgoing.transaction import QUERIES, ask, changing
from taskdb.store.task import row as rows
from taskdb.store.task.statements import queries_of

EVENTS = "events"
FOLD = "fold"
"""The loop name under which events that could not be counted are set aside, by id."""
BATCH = 2_000
AHEAD = 10 * BATCH
"""The most events counted before the cursor may pass them; their ids are kept."""
_TRACEBACK = 6_000
_INPUT = 4_000


@dataclass(frozen=True, slots=True)
class Folded:
    """The result of a pass.

    `is_busy`: another process was folding, so work may be left. `is_full`: a pass can count more
    now. `unrouted`: ids of alarms due for a message that no route takes.
    """

    events: int = 0
    messages: int = 0
    unrouted: tuple[str, ...] = ()
    is_full: bool = False
    is_busy: bool = False


class Detection:
    """The passes of a notifier."""

    def __init__(
        self, database: Database, aside: Aside, rules: AlarmRules, redaction: Redaction
    ) -> None:
        self._database = database
        self._aside = aside
        self._rules = rules
        self._redaction = redaction

    def fold(self, limit: int = BATCH) -> Folded:
        """Run one pass over at most `limit` events; without work it takes no lock."""
        if not settle(self._database):
            return Folded(is_busy=True)
        again = self._aside.due(FOLD, limit)
        has_work = queries_of(self._database.dialect, QUERIES).has_work
        if not again and not self._database.query(has_work, {}, writes=False):
            self._aside.over(ANNOUNCE, 0.0)
            return Folded()
        try:
            return self._fold(limit, again)[0]
        except Exception as error:
            if not is_of_a_row(error):
                raise
        folded, failed = self._fold(limit, again, is_careful=True)
        for loop, key, reason in failed:
            self._aside.note(loop, key, reason)
        if folded.is_busy:
            return folded
        bad = {key for loop, key, _ in failed if loop == FOLD}
        self._aside.forget(FOLD, [key for key in again if key not in bad])
        return folded

    def _fold(
        self, limit: int, again: Sequence[str], *, is_careful: bool = False
    ) -> tuple[Folded, list[tuple[str, str, Exception]]]:
        """Run one pass, also over the set-aside events `again`; a careful one returns failures."""
        failed: list[tuple[str, str, Exception]] = []
        with changing(self._database) as (connection, now):
            cursor = take_cursor(connection, EVENTS)
            if cursor is None:
                return Folded(is_busy=True), failed
            place = _Place(self._database, connection, cursor)
            fresh = place.fresh_events(limit)
            events = [*fresh, *place.events(again)]
            seen = self._observed(connection, events) if events else []
            if is_careful:
                for one, error in write_each(connection, seen, now):
                    failed += [(FOLD, str(number), error) for number in one.events]
            elif seen:
                write_observed(connection, seen, now)
            announced = announce(connection, self._rules, now, is_careful=is_careful)
            failed += [(ANNOUNCE, key, error) for key, error in announced.failed]
            place.move(fresh, now)
            if again and not is_careful:
                _forget(connection, again)
        is_full = len(fresh) == limit and len(failed) < limit
        return _folded(events, announced, is_full=is_full), failed

    def _observed(self, connection: Connection, events: list[Row]) -> list[Observed]:
        declared = policies(connection, {row["type"] or "" for row in events})
        found: dict[Cause, Observed] = {}
        newest: dict[Cause, Row] = {}
        repeated = self._repeated(connection, events)
        for row in events:
            policy = declared.get(row["type"] or "")
            detail = _detail(row)
            source = _source(row, detail)
            is_asked_for = policy is not None and policy.on is not None
            if not raises(policy, source, self._rules) or (
                row["task_id"] in repeated and not is_asked_for
            ):
                continue
            cause = _cause(row, detail, source, policy, self._rules)
            at = moment(row["at"])
            if cause not in found:
                found[cause] = Observed(cause, severity_of(policy, source), at, at)
            found[cause].add(at, row["task_id"])
            found[cause].events.append(row["id"])
            newest[cause] = row
        self._describe(connection, found, newest)
        return list(found.values())

    def _repeated(self, connection: Connection, events: list[Row]) -> set[str]:
        """Ids of parents whose failure repeats that of a sub-task with an alarm.

        Only a fan-out that is not a sub-task itself has an alarm of its own then.
        """
        joined = {
            row["task_id"] for row in events if _source(row, _detail(row)) is AlarmSource.JOIN
        }
        if not joined:
            return set()
        child = task.alias()
        failed = select(child.c.type).where(
            child.c.parent_id == task.c.id, child.c.status == TaskStatus.FAILED.value
        )
        statement = select(task.c.id, failed.limit(1).scalar_subquery()).where(
            task.c.id.in_(sorted(joined)),
            or_(task.c.kind == TaskKind.SEQUENCE.value, task.c.parent_id.is_not(None)),
        )
        below = {str(task_id): name for task_id, name in connection.execute(statement) if name}
        declared = policies(connection, set(below.values()))
        return {
            task_id
            for task_id, name in below.items()
            if raises(declared.get(name), AlarmSource.FAILED, self._rules)
        }

    def _describe(
        self, connection: Connection, found: dict[Cause, Observed], newest: dict[Cause, Row]
    ) -> None:
        """Add message and sample of the newest task to each observation."""
        ids = {row["task_id"] for row in newest.values()}
        if not ids:
            return
        tasks = _tasks(connection, ids)
        for cause, row in newest.items():
            one, observed = tasks.get(row["task_id"]), found[cause]
            detail = _detail(row)
            observed.message, observed.sample = self._sample(row, detail, one)

    def _sample(
        self, row: Row, detail: Mapping[str, Any], one: TaskEntity | None
    ) -> tuple[str, dict[str, Any]]:
        message, traceback = str(detail.get("message") or detail.get("reason") or ""), ""
        error = one.error if one is not None else None
        # The row may have another ending by now; the history has this one.
        if error is not None and error.type == detail.get("error"):
            traceback = error.traceback
            message = error.message if error.message.startswith(message) else message
        known = () if one is None else self._redaction.secrets_of(one.inline_input)
        said = self._redaction.text(message, known=known)
        sample: dict[str, Any] = {
            "taskId": row["task_id"],
            "tenant": row["tenant"],
            "attempt": row["attempt"],
            "at": moment(row["at"]).isoformat(),
            "traceback": self._redaction.text(traceback, _TRACEBACK, known=known, end=True),
        }
        if one is not None:
            sample |= {"pk": one.pk, "sk": one.sk, "name": self._redaction.text(one.name, 300)}
            if self._rules.with_input:
                sample["input"] = self._redaction.value(one.inline_input, _INPUT)
        return said, sample


class _Place:
    """The cursor of one pass, and the later events that are counted already."""

    def __init__(self, database: Database, connection: Connection, cursor: RowMapping) -> None:
        self._database = database
        self._connection = connection
        self._cursor = cursor
        self._ahead: list[int] = cursor["ahead"]
        self._given = {"xid": cursor["xid"], "event": cursor["event_id"]}
        # Read first: all events below the horizon are visible to the later statements.
        self._horizon = int(self._ask("horizon")[0]["horizon"])
        self._settled = self._settled_ahead()
        self._is_cut = False

    def fresh_events(self, limit: int) -> list[Row]:
        """Return failures that no pass has counted."""
        room = AHEAD - len(self._ahead) + len(self._settled)
        given = {**self._given, "limit": min(limit, room), "ahead": _listed(self._ahead)}
        found = self._ask("new_failures", **given)
        self._is_cut = len(found) == min(limit, room)
        return found

    def events(self, ids: Sequence[str]) -> list[Row]:
        """Return set-aside failures by their ids, on either side of the cursor."""
        if not ids:
            return []
        return self._ask("failures_again", again=_listed([int(one) for one in ids]))

    def move(self, fresh: list[Row], now: Any) -> None:
        """Move the cursor past settled and counted events; keep the ids of later counted ones."""
        settled = sorted(
            [*self._settled, *((row["xid"], row["id"]) for row in fresh if self._is_settled(row))]
        )
        if self._is_cut and fresh:
            # Events after the last one of a full page were not read.
            last = (fresh[-1]["xid"], fresh[-1]["id"])
            settled = [place for place in settled if place <= last]
        ids = {number for _, number in settled}
        ahead = [one for one in self._ahead if one not in ids]
        ahead += [row["id"] for row in fresh if row["id"] not in ids]
        if not settled and ahead == self._ahead:
            return
        xid, event_id = settled[-1] if settled else (self._cursor["xid"], self._cursor["event_id"])
        values = {"xid": xid, "event_id": event_id, "ahead": ahead, "moved_at": now}
        place = alarm_cursor.c.name == self._cursor["name"]
        self._connection.execute(update(alarm_cursor).where(place).values(values))

    def _settled_ahead(self) -> list[tuple[int, int]]:
        """The places of events counted ahead that the cursor may pass now."""
        if not self._ahead:
            return []
        found = self._ask("counted_ahead", **self._given, ahead=_listed(self._ahead))
        return [(row["xid"], row["id"]) for row in found if self._is_settled(row)]

    def _is_settled(self, row: Row) -> bool:
        return int(row["xid"]) < self._horizon

    def _ask(self, query: str, **given: Any) -> list[Row]:
        return ask(self._database, self._connection, query, **given)


def _listed(numbers: list[int]) -> str:
    return json.dumps([{"id": number} for number in numbers])


def _detail(row: Row) -> Mapping[str, Any]:
    """The detail of a failure in the history; empty if there is none or it cannot be read."""
    try:
        found = as_json(row["detail"])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _tasks(connection: Connection, ids: Iterable[str]) -> dict[str, TaskEntity]:
    """The readable tasks by id; an alarm has fewer details of an unreadable one."""
    listed = sorted(ids)
    try:
        statement = select(task).where(task.c.id.in_(listed))
        found = [rows.entity(row) for row in connection.execute(statement).mappings()]
        return {one.id: one for one in found}
    except (ValueError, TypeError, KeyError, AttributeError):
        half = len(listed) // 2
        parts = (listed[:half], listed[half:]) if half else ()
        return {key: one for part in parts for key, one in _tasks(connection, part).items()}


def _forget(connection: Connection, keys: Sequence[str]) -> None:
    """Forget set-aside events, which are counted now."""
    place = (set_aside.c.loop == FOLD, set_aside.c.key.in_(list(keys)))
    connection.execute(delete(set_aside).where(*place))


def take_cursor(connection: Connection, name: str) -> RowMapping | None:
    """Lock the cursor of this name and return it; None while another transaction has it."""
    statement = select(alarm_cursor).where(alarm_cursor.c.name == name)
    return connection.execute(statement.with_for_update(skip_locked=True)).mappings().first()


def _source(row: Row, detail: Mapping[str, Any]) -> AlarmSource:
    if row["to_status"] == TaskStatus.HALTED:
        return AlarmSource.HALTED
    return AlarmSource.JOIN if detail.get("join") else AlarmSource.FAILED


def _cause(
    row: Row,
    detail: Mapping[str, Any],
    source: AlarmSource,
    policy: Alarm | None,
    rules: AlarmRules,
) -> Cause:
    return Cause(
        source=source,
        type=row["type"] or "",
        error_type=str(detail.get("error") or ""),
        place=str(detail.get("place") or ""),
        tenant=tenant_of(policy, row["tenant"], rules),
    )


def _folded(fresh: list[Row], announced: Announced, *, is_full: bool) -> Folded:
    return Folded(
        events=len(fresh),
        messages=announced.messages,
        unrouted=announced.unrouted,
        is_full=is_full or announced.is_full,
    )
