"""Set pauses and limits of a queue, a type or a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from taskdb.errors import Fault, InvalidInput
from taskdb.model.limit import Limit, LimitEntity, LimitOwner
from taskdb.store.contract import Scope
from taskdb.store.engine.aside import unless_unreadable
from taskdb.store.engine.database import Database
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import as_moment
from taskdb.store.task.slot_need import OWN, Place
from taskdb.store.task.statements import Queries, queries_of

PERSON, CODE = "person", "code"
"""The origin of a limit. Code does not change a limit that a person has set."""


class Limits:
    """The verbs of limits and pauses. The next pass releases the tasks of one that was removed.

    A scope of some tenants reaches only the limits and pauses that these tenants have set for
    themselves. The operator's scope sets the operator's, and may remove those of a tenant. Each
    verb raises InvalidInput for a place out of the scope.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _queries(self) -> Queries:
        return queries_of(self._database.dialect, "admission/queries")

    def pause(
        self, place: Place, scope: Scope, reason: str | None = None, by: str | None = None
    ) -> None:
        """Pause a place: no task of it starts. Tasks that run continue."""
        row = _row_of(place, scope)
        self._write(self._queries.pause, row, reason=reason, set_by=by)

    def lift_pause(
        self, place: Place, scope: Scope, by: str | None = None, *, owner: LimitOwner | None = None
    ) -> bool:
        """Remove a pause. Returns False where there was none."""
        row = _row_of(place, scope, owner)
        moved = self._write(self._queries.resume, row, set_by=by)
        self._write(self._queries.drop_empty, row)
        return bool(moved)

    def set(self, place: Place, limit: Limit, scope: Scope, by: str | None = None) -> None:
        """Set the limit of a place. It replaces the previous one."""
        row = _row_of(place, scope)
        written = {**_spelled(limit), "origin": PERSON, "set_by": by}
        self._write(self._queries.set_limit, row, **written)

    def clear(
        self, place: Place, scope: Scope, by: str | None = None, *, owner: LimitOwner | None = None
    ) -> bool:
        """Remove a limit. Returns False where there was none."""
        return self._clear(_row_of(place, scope, owner), None, by)

    def declare(self, limits: Mapping[str, Limit | None]) -> None:
        """Write the limits that code declares for its types. None removes a declared limit."""
        known = {entity.name: entity for entity in self._limits() if entity.target == "type"}
        for name, limit in limits.items():
            entity = known.get(name)
            if limit is not None:
                if entity is None or entity.limit != limit:
                    written = {**_spelled(limit), "origin": CODE, "set_by": None}
                    self._write(self._queries.declare, ("type", name), **written)
            elif entity is not None and entity.limit is not None and entity.origin == CODE:
                self._clear(("type", name), CODE, None)

    def all(self, scope: Scope) -> list[LimitEntity]:
        """Return the limits and pauses that this scope may see, in order of their places."""
        found = self._limits()
        if scope.tenants is None:
            return found
        return [
            entity if entity.owner == "tenant" else replace(entity, reason=None, set_by=None)
            for entity in found
            if entity.target == "tenant" and scope.allows(entity.name)
        ]

    def _limits(self) -> list[LimitEntity]:
        found = []
        for row in self._database.query(self._queries.limits, {}, writes=False):
            with unless_unreadable(row, "taskdb_limit", f"{row['target']}:{row['name']}"):
                found.append(_entity(row))
        return found

    def _clear(self, row: Place, origin: str | None, by: str | None) -> bool:
        moved = self._write(self._queries.clear_limit, row, origin=origin, set_by=by)
        self._write(self._queries.drop_empty, row)
        return bool(moved)

    def _write(self, sql: str, row: Place, **written: Any) -> list[Row]:
        target, name = row
        return self._database.query(sql, {"target": target, "name": name, **written})


def _row_of(place: Place, scope: Scope, owner: LimitOwner | None = None) -> Place:
    """Return the key of the row: a tenant's own for its scope or if the operator names it."""
    target, name = place
    is_own = target == "tenant" and scope.allows(name)
    if scope.tenants is None:
        if owner != "tenant":
            return place
        if not is_own:
            advice = f"a {target} sets no rules: only the rule of a tenant may be the tenant's"
            raise InvalidInput("the rule", [Fault("owner", advice)])
    elif not is_own:
        advice = f"{target} {name!r} is out of the scope of this client"
        raise InvalidInput("the rule", [Fault(target, advice)])
    elif owner == "operator":
        advice = "the operator's rule is out of the scope of this client"
        raise InvalidInput("the rule", [Fault("owner", advice)])
    return OWN, name


def _spelled(limit: Limit) -> dict[str, Any]:
    return {
        "max_running": limit.max_running,
        "max_starts": limit.max_starts,
        "window_seconds": None if limit.per is None else limit.per.total_seconds(),
    }


def _entity(row: Row) -> LimitEntity:
    is_own = row["target"] == OWN
    return LimitEntity(
        target="tenant" if is_own else row["target"],
        name=row["name"],
        is_paused=bool(row["is_paused"]),
        limit=Limit.of(row["max_running"], row["max_starts"], row["window_seconds"]),
        origin=row["origin"],
        reason=row["reason"],
        set_by=row["set_by"],
        set_at=as_moment(row["set_at"]),
        owner="tenant" if is_own else "operator",
    )
