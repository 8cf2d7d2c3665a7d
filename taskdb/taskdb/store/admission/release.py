"""Release held tasks, oldest first, while their limits and mutexes have free slots.

One transaction at a time releases, so that tasks keep their order of arrival. It reads committed
slots and waits for no other transaction, so it cannot deadlock. A task gets all of its slots or
none. The oldest task that waits for a key keeps a place of each key before it. Triggers free the
slots in the transaction of the move that ends a task. One commit gives a task its slots and ends
its hold. If this process does not publish the task afterwards, the relay does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from taskdb.store.contract import Publication
from taskdb.store.engine.aside import Aside, is_of_a_row
from taskdb.store.engine.database import Database
from taskdb.store.engine.session import JoinedSession, Row
from taskdb.store.task import row as rows
from taskdb.store.task import slot_need as rules
from taskdb.store.task.slot_need import Need, Place
from taskdb.store.task.statements import queries_of

WAIT_QUEUES = 200
"""The number of wait queues that one pass reads."""
RELEASE = "release"
_ROUNDS = 3
"""How often one pass reads a wait queue whose first tasks moved to other wait queues."""


@dataclass(frozen=True, slots=True)
class Released:
    """The tasks that a pass released, to publish, and the wait queue where the next pass starts."""

    publications: list[Publication] = field(default_factory=list)
    after: str = ""
    is_full: bool = False
    is_busy: bool = False
    """Another process was releasing tasks, so this pass did nothing."""
    share: float = 0.0
    """The largest share of the slots of one key that this pass gave away, from 0 to 1."""


@dataclass(slots=True)
class _Decided:
    """The changes to write for some tasks."""

    let_go: list[str] = field(default_factory=list)
    slots: list[dict[str, Any]] = field(default_factory=list)
    holds: list[dict[str, str]] = field(default_factory=list)
    reservations: list[dict[str, str]] = field(default_factory=list)
    unreserved: dict[str, None] = field(default_factory=dict)

    @property
    def has_changed(self) -> bool:
        return bool(self.let_go or self.holds)


class Admission:
    """The verbs that release held tasks."""

    def __init__(self, database: Database, aside: Aside) -> None:
        self._database = database
        self._aside = aside

    def has_held(self) -> bool:
        """Return whether any task is held. The query is cheap."""
        sql = queries_of(self._database.dialect, "admission/queries").someone_waits
        return bool(self._database.query(sql, {}, writes=False)[0]["holds"])

    def release(
        self, limit: int, lease: timedelta, *, after: str = "", keys: Sequence[str] | None = None
    ) -> Released:
        """Release at most `limit` held tasks, in order of arrival.

        With `keys` only these are read, and no new arrivals. The released tasks have their
        slots. The caller publishes them; the relay does so after the lease.
        """

        def work(*, is_careful: bool = False) -> tuple[Released, _Release]:
            # The idle limit starts with the first statement, that of `begin`.
            with self._database.transaction(may_idle=True) as connection:
                release = _Release(self._database, connection, limit, lease, is_careful=is_careful)
                if not release.begin():
                    return Released(is_busy=True), release
                if keys is not None:
                    release.look_at(keys)
                    return release.end(), release
                found = release.wait_queues_behind(after)
                release.look_at(found)
                release.look_at_arrivals()
                return release.end(found[-1] if len(found) == WAIT_QUEUES else ""), release

        try:
            return work()[0]
        except Exception as error:
            if not is_of_a_row(error):
                raise
        released, release = work(is_careful=True)
        for task_id, failed in release.failed.items():
            self._aside.note(RELEASE, task_id, failed)
        return released

    def sweep_slots(self, limit: int) -> int:
        """Free at most `limit` slots that no task holds any more. Returns how many."""
        with self._database.transaction(may_idle=True) as connection:
            release = _Release(self._database, connection, limit, timedelta(0))
            return len(release.sweep()) if release.begin() else 0


class _Release:
    """One pass in one transaction."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        limit: int,
        lease: timedelta,
        *,
        is_careful: bool = False,
    ) -> None:
        """`is_careful`: use savepoints to leave out tasks that fail."""
        self.failed: dict[str, Exception] = {}
        self._connection = connection
        self._is_careful = is_careful
        self._database = database
        self._dialect = database.dialect
        self._queries = queries_of(database.dialect, "admission/queries")
        self._session = JoinedSession(connection)
        self._limit = limit
        self._lease = lease.total_seconds()
        self._rules: dict[Place, rules.Rule] = {}
        self._known: set[Place] = set()
        self._taken: dict[str, set[int]] = {}
        self._heads: dict[str, str | None] = {}
        self._reserved: dict[str, set[str]] = {}
        self._let_go: list[Publication] = []
        self._count = 0
        self._changed = 0
        self._share = 0.0

    def begin(self) -> bool:
        """Take the lock for releasing. Returns False where another process has it."""
        sql = self._dialect.exclusive
        return not sql or bool(self._run(sql, **self._database.idle_limit)[0]["has_it"])

    def wait_queues_behind(self, after: str) -> list[str]:
        found = self._run(self._queries.wait_queues, after=after, limit=WAIT_QUEUES)
        return [str(row["key"]) for row in found]

    def look_at(self, keys: Sequence[str]) -> None:
        """Decide about the first tasks of each wait queue, oldest first, up to its free slots."""
        standing = self._look(keys)
        left = [key for key in keys if key in standing]
        for _ in range(_ROUNDS):
            found = self._first_of(left)
            if not found or not self._decide(found, is_waiting=True):
                return

    def look_at_arrivals(self) -> None:
        """Decide about tasks that have just become ready, behind those that wait already."""
        room = self._limit - self._count
        if room > 0 and (found := self._run(self._queries.arrivals, limit=room)):
            self._decide(found, is_waiting=False)

    def end(self, after: str = "") -> Released:
        """Return the released tasks in order of arrival."""
        published = sorted(self._let_go, key=lambda one: one.id)
        # If nothing changed, another pass would release nothing either.
        is_full = self._count >= self._limit and self._changed > 0
        return Released(published, after, is_full, share=self._share)

    def sweep(self) -> list[Row]:
        self._run(self._queries.sweep_reservations, limit=self._limit)
        return self._run(self._queries.sweep, limit=self._limit)

    # --- deciding -----------------------------------------------------------------------------

    def _first_of(self, keys: list[str]) -> list[Row]:
        """Return the next tasks of these wait queues. Removes exhausted ones from the list."""
        found: list[Row] = []
        for key in tuple(keys):
            left = self._limit - self._count - len(found)
            room = rules.room_of(key, self._rules, len(self._taken.get(key, ())), left)
            if room > 0:
                first = self._run(self._queries.waiting_tasks, key=key, limit=room)
                found += [row for row in first if str(row["id"]) not in self.failed]
                if len(first) < room:
                    keys.remove(key)
        return found

    def _decide(self, found: Sequence[Row], *, is_waiting: bool) -> bool:
        """Give each task its slots, or a place in a wait queue. Returns whether anything changed.

        `is_waiting`: the tasks are the first of their wait queues.
        """
        self._count += len(found)
        if self._is_careful:
            return self._decide_apart(list(found), is_waiting=is_waiting)
        return self._decide_all(found, is_waiting=is_waiting)

    def _decide_apart(self, found: list[Row], *, is_waiting: bool) -> bool:
        """Decide in a savepoint. If that fails, decide about each half alone."""
        known = deepcopy((self._taken, self._heads, self._reserved))
        before = (list(self._let_go), self._changed, self._share)
        try:
            with self._connection.begin_nested():
                return self._decide_all(found, is_waiting=is_waiting)
        except Exception as error:
            if not is_of_a_row(error):
                raise
            self._taken, self._heads, self._reserved = known
            self._let_go, self._changed, self._share = before
            if len(found) == 1:
                self._leave_out(str(found[0]["id"]), error)
                return False
        half = len(found) // 2
        parts = (found[:half], found[half:])
        changed = [self._decide_apart(part, is_waiting=is_waiting) for part in parts]
        return any(changed)

    def _leave_out(self, task_id: str, error: Exception) -> None:
        """Leave out a task that fails. It keeps no places while it is set aside."""
        self.failed[task_id] = error
        self._run(self._queries.unreserve, ids=json.dumps([task_id]))
        for keepers in self._reserved.values():
            keepers.discard(task_id)

    def _decide_all(self, found: Sequence[Row], *, is_waiting: bool) -> bool:
        in_order = sorted(found, key=lambda row: str(row["id"]))
        self._learn_rules(place for row in in_order for place in rules.places_of(row))
        needs = [rules.needs_of(row, self._rules) for row in in_order]
        keys = list(dict.fromkeys(need.key for several in needs for need in several))
        if is_waiting:
            # Tasks in the wait queue of another key do not come before these tasks, which have
            # waited too: each could come before the other for ever.
            standing: set[str] = set()
            self._look([key for key in keys if key not in self._taken])
        else:
            standing = self._look(keys)
        decided = _Decided()
        for row, wanted in zip(in_order, needs, strict=True):
            task_id = str(row["id"])
            stop = rules.pause_of(row, self._rules) or self._missing(task_id, wanted, standing)
            if stop is None:
                decided.slots += self._slots_for(task_id, wanted)
                decided.let_go.append(task_id)
                self._leaves(row, decided)
                continue
            if is_waiting:
                self._keep_places(row, stop, wanted, decided)
            if stop != row["held_by"]:
                decided.holds.append({"id": task_id, "held_by": stop})
                standing.add(stop)
        self._note_share(decided.slots, needs)
        self._write(decided)
        return decided.has_changed

    def _keep_places(self, row: Row, stop: str, wanted: Sequence[Need], decided: _Decided) -> None:
        """Keep a place of each earlier key for the oldest task that waits for a key.

        Otherwise younger tasks would take these slots while it waits. Its own key sorts behind the
        keys that it keeps, so two tasks never wait for each other. A task that waits for a limit
        that its tenant has set keeps no place that tasks of other tenants need.
        """
        self._leaves(row, decided, stays_in=stop)
        task_id, head = str(row["id"]), self._heads.get(stop)
        if stop.startswith(rules.PAUSED) or (head is not None and head < task_id):
            return
        self._heads[stop] = task_id
        is_own = rules.is_own(stop)
        for need in wanted:
            if need.key < stop and not (is_own and rules.is_shared(need.key)):
                self._reserved.setdefault(need.key, set()).add(task_id)
                decided.reservations.append({"key": need.key, "task_id": task_id})

    def _leaves(self, row: Row, decided: _Decided, stays_in: str | None = None) -> None:
        """Drop the places that a task keeps. It no longer leads a wait queue that it leaves."""
        task_id = str(row["id"])
        if row["held_by"] != stays_in and self._heads.get(row["held_by"]) == task_id:
            self._heads[row["held_by"]] = None
        for keepers in self._reserved.values():
            if task_id in keepers:
                keepers.remove(task_id)
                decided.unreserved[task_id] = None

    def _note_share(self, slots: Sequence[Row], needs: Iterable[Sequence[Need]]) -> None:
        taken = Counter(slot["key"] for slot in slots)
        places = {need.key: need.places for several in needs for need in several}
        shares = (count / places[key] for key, count in taken.items())
        self._share = max(self._share, *shares, 0.0)

    def _missing(self, task_id: str, needs: Sequence[Need], standing: set[str]) -> str | None:
        """Return the first key without a free slot for the task, or for which others wait."""
        for need in needs:
            kept = sum(keeper < task_id for keeper in self._reserved.get(need.key, ()))
            if len(self._taken[need.key]) + kept >= need.places or need.key in standing:
                return need.key
        return None

    def _slots_for(self, task_id: str, needs: Sequence[Need]) -> list[dict[str, Any]]:
        slots = []
        for need in needs:
            taken = self._taken[need.key]
            n = next(number for number in range(1, need.places + 1) if number not in taken)
            taken.add(n)
            slots.append({"key": need.key, "n": n, "task_id": task_id, "seconds": need.seconds})
        return slots

    def _write(self, decided: _Decided) -> None:
        self._changed += len(decided.let_go) + len(decided.holds)
        if decided.holds:
            self._run(self._queries.queue_up, holds=json.dumps(decided.holds))
        if decided.unreserved:
            self._run(self._queries.unreserve, ids=json.dumps(list(decided.unreserved)))
        if decided.reservations:
            self._run(self._queries.reserve, reservations=json.dumps(decided.reservations))
        if decided.slots:
            self._run(self._queries.take, slots=json.dumps(decided.slots))
        if decided.let_go:
            ids = json.dumps(decided.let_go)
            found = self._run(self._queries.let_go, ids=ids, lease=self._lease)
            self._let_go += [rows.PUBLICATION.read(row) for row in found]

    # --- reading ------------------------------------------------------------------------------

    def _learn_rules(self, places: Iterable[Place]) -> None:
        new = {place for place in places if place not in self._known}
        if new:
            asked = json.dumps([rules.as_json(place) for place in sorted(new)])
            found = self._run(self._queries.rules, places=asked)
            self._rules.update(rules.rule_of(row) for row in found)
            self._known |= new

    def _look(self, keys: Sequence[str]) -> set[str]:
        """Read the limits and slots of wait queues. Returns the queues in which a task waits."""
        if not keys:
            return set()
        new = [key for key in keys if key not in self._taken]
        if windows := [key for key in new if key.startswith(rules.STARTS)]:
            ended = json.dumps([{"key": key} for key in windows])
            self._run(self._queries.end_windows, keys=ended)
        places = {key: rules.place_of(key) for key in keys}
        asked = json.dumps([_spelled(key, place) for key, place in places.items()])
        found = self._run(self._queries.look, wait_queues=asked)
        for row in found:
            numbers = row["taken"].split(",") if row["taken"] else ()
            self._taken.setdefault(row["key"], set(map(int, numbers)))
            self._heads[row["key"]] = row["head"]
            self._reserved[row["key"]] = set(row["reserved"].split(",") if row["reserved"] else ())
        self._rules.update(rules.rule_of(row) for row in found if row["name"] is not None)
        self._known.update(place for place in places.values() if place is not None)
        return {row["key"] for row in found if row["head"] is not None}

    def _run(self, sql: str, **parameters: Any) -> list[Row]:
        given = self._database.parameters(parameters)
        return self._dialect.query(self._session, sql, given)


def _spelled(key: str, place: Place | None) -> dict[str, str | None]:
    target, name = place or (None, None)
    return {"key": key, "target": target, "name": name}
