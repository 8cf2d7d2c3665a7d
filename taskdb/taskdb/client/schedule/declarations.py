"""The schedules that code and settings declare, and the declarations that are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from taskdb.errors import DatabaseError, TaskDBError
from taskdb.model.schedule.schedule import Origin, RefusedSchedule
from taskdb.store.schedule.row import Definition
from taskdb.store.schedule.schedule import Synced


@dataclass(frozen=True, slots=True)
class Declared:
    """The changes that a sync of declared schedules has made, by origin."""

    code: Synced
    settings: Synced


@dataclass(slots=True)
class Declarations:
    """The valid declarations of code and settings, and the refused ones."""

    code: list[Definition] = field(default_factory=list)
    settings: list[Definition] = field(default_factory=list)
    refused: list[RefusedSchedule] = field(default_factory=list)

    def add(self, origin: Origin, name: str, type: str, make: Callable[[], Definition]) -> None:
        """Add the definition that `make` returns, or the reason of its error."""
        try:
            definition = make()
        # An unreachable database is no fault of the declaration.
        except DatabaseError:
            raise
        except TaskDBError as error:
            self.refused.append(RefusedSchedule(origin, name, type, str(error)))
        else:
            (self.code if origin is Origin.CODE else self.settings).append(definition)

    def refused_of(self, origin: Origin) -> list[RefusedSchedule]:
        """Return the refused declarations of one origin."""
        return [one for one in self.refused if one.origin is origin]
