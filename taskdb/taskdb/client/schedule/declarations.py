"""The schedules that code and settings declare, and which of them are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from taskdb.errors import DatabaseError, TaskDBError
from taskdb.model.schedule.schedule import Origin, RefusedSchedule
from taskdb.store.schedule.row import Definition
from taskdb.store.schedule.schedule import Synced


@dataclass(frozen=True, slots=True)
class Declared:
    """The changes that a sync of declared schedules has made, one for each origin."""

    code: Synced
    settings: Synced


@dataclass(slots=True)
class Declarations:
    """The declarations of code and settings that are sound, and those that are refused."""

    code: list[Definition] = field(default_factory=list)
    settings: list[Definition] = field(default_factory=list)
    refused: list[RefusedSchedule] = field(default_factory=list)

    def add(self, origin: Origin, name: str, type: str, make: Callable[[], Definition]) -> None:
        """Keep the definition that `make` returns, or why it returns none."""
        try:
            definition = make()
        # A database that gives no answer is no fault of the declaration.
        except DatabaseError:
            raise
        except TaskDBError as error:
            self.refused.append(RefusedSchedule(origin, name, type, str(error)))
        else:
            (self.code if origin is Origin.CODE else self.settings).append(definition)

    def refused_of(self, origin: Origin) -> list[RefusedSchedule]:
        """Those of one origin."""
        return [one for one in self.refused if one.origin is origin]
