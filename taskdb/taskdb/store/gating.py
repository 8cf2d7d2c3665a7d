"""Making rules: pauses and limits of a queue, a type or a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskdb.gate import Gate, Limit
from taskdb.store.aside import unless_unreadable
from taskdb.store.part import StorePart
from taskdb.store.rules import Place
from taskdb.store.session import Row
from taskdb.store.tables import as_moment

PERSON, CODE = "person", "code"
"""Who has set a limit. What a person has set is not changed by code."""


class Gating(StorePart):
    """The verbs of who makes rules. A rule that is lifted lets go who waits at the next pass."""

    def pause(self, place: Place, reason: str | None = None, by: str | None = None) -> None:
        """Let nothing of this place begin; what runs goes on."""
        self._write(self.database.gate_queries.pause, place, reason=reason, set_by=by)

    def lift_pause(self, place: Place) -> bool:
        """Lift a pause; False where there was none."""
        queries = self.database.gate_queries
        moved = self._write(queries.resume, place)
        self._write(queries.drop_empty, place)
        return bool(moved)

    def set_limit(self, place: Place, limit: Limit, by: str | None = None) -> None:
        """Put a limit in the place of the one before."""
        sql = self.database.gate_queries.set_limit
        self._write(sql, place, **_spelled(limit), origin=PERSON, set_by=by)

    def clear_limit(self, place: Place) -> bool:
        """Remove a limit; False where there was none."""
        return self._clear(place, None)

    def declare_limits(self, limits: Mapping[str, Limit | None]) -> None:
        """What code says of its types; None where it says nothing, also not any more."""
        queries = self.database.gate_queries
        known = {(gate.target, gate.name): gate for gate in self.gates()}
        for name, limit in limits.items():
            gate = known.get(("type", name))
            if limit is not None:
                if gate is None or gate.limit != limit:
                    written = {**_spelled(limit), "origin": CODE, "set_by": None}
                    self._write(queries.declare, ("type", name), **written)
            elif gate is not None and gate.limit is not None and gate.origin == CODE:
                self._clear(("type", name), CODE)

    def gates(self) -> list[Gate]:
        """Every rule, in order of its place."""
        sql = self.database.gate_queries.gates
        found = []
        for row in self.database.query(sql, {}, writes=False):
            with unless_unreadable(row, "gate", f"{row['target']}:{row['name']}"):
                found.append(_gate(row))
        return found

    def _clear(self, place: Place, origin: str | None) -> bool:
        queries = self.database.gate_queries
        moved = self._write(queries.clear_limit, place, origin=origin)
        self._write(queries.drop_empty, place)
        return bool(moved)

    def _write(self, sql: str, place: Place, **written: Any) -> list[Row]:
        target, name = place
        return self.database.query(sql, {"target": target, "name": name, **written})


def _spelled(limit: Limit) -> dict[str, Any]:
    return {
        "max_running": limit.max_running,
        "max_starts": limit.max_starts,
        "window_seconds": None if limit.per is None else limit.per.total_seconds(),
    }


def _gate(row: Row) -> Gate:
    return Gate(
        target=row["target"],
        name=row["name"],
        is_paused=bool(row["is_paused"]),
        limit=Limit.of(row["max_running"], row["max_starts"], row["window_seconds"]),
        origin=row["origin"],
        reason=row["reason"],
        set_by=row["set_by"],
        set_at=as_moment(row["set_at"]),
    )
