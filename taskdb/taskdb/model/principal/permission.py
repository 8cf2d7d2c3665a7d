"""The permission of a client of some tenants: allow-lists, and a fixed origin of its tasks.

An allow-list that is None allows everything. A fixed value has precedence over the options of a
submit, and over `submitting_as`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import NAME_BYTES, QUEUE_BYTES, TEXT_BYTES, shown, wrong_text
from taskdb.model.principal.origin import FIELDS

LISTS = {"queues": "queue", "types": "type", "priorities": "priority"}
"""The allow-lists, and the option that each of them limits."""
_PRIORITIES = range(10)
_SUBJECT = "the scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Allow-lists of queues, types and priorities, and the fixed origin of every task."""

    queues: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    priorities: tuple[int, ...] | None = None
    request_id: str | None = None
    created_by: str | None = None
    created_ip: str | None = None

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Return the permission of these options. Raises InvalidInput that names every fault."""
        faults: list[Fault] = []
        values: dict[str, Any] = {}
        for name, value in given.items():
            if value is None:
                continue
            reason = _wrong_list(name, value) if name in LISTS else wrong_text(value, TEXT_BYTES)
            if reason is None and value == "":
                reason = "is empty: leave it out, or pass the value to record"
            if reason is not None:
                faults.append(Fault(name, reason))
            values[name] = tuple(dict.fromkeys(value)) if name in LISTS and not reason else value
        if faults:
            raise InvalidInput(_SUBJECT, faults)
        return cls(**values)

    @property
    def is_limited(self) -> bool:
        """Whether an allow-list is set."""
        return any(getattr(self, name) is not None for name in LISTS)

    @property
    def origin(self) -> dict[str, str]:
        """Return the fixed values of the origin of a task."""
        return {name: text for name in FIELDS if (text := getattr(self, name)) is not None}

    def narrowed(self, asked: Permission) -> Permission:
        """Return this permission, narrowed by another. Raises InvalidInput where it is wider."""
        faults = []
        added = {
            one.name: value
            for one in fields(asked)
            if (value := getattr(asked, one.name)) is not None
        }
        for name, value in added.items():
            known = getattr(self, name)
            if known is None:
                continue
            if name in LISTS:
                beyond = [one for one in value if one not in known]
                if beyond:
                    faults.append(Fault(name, _not_allowed(beyond, known)))
            elif value != known:
                faults.append(Fault(name, "is already fixed for this client: leave it out"))
        if faults:
            raise InvalidInput(_SUBJECT, faults)
        return replace(self, **added)

    def faults(self, asked: Mapping[str, Any]) -> list[Fault]:
        """Return the faults of a `type`, a `queue` and a `priority`, as far as they are named."""
        return [
            Fault(option, _not_allowed([asked[option]], allowed))
            for name, option in LISTS.items()
            if option in asked
            and (allowed := getattr(self, name)) is not None
            and asked[option] not in allowed
        ]

    def check(self, subject: str, places: Iterable[Mapping[str, Any]]) -> None:
        """Raise InvalidInput if one of these places (type, queue, priority) is not allowed."""
        faults: dict[Fault, None] = {}
        for place in places:
            faults |= dict.fromkeys(self.faults(place))
        if faults:
            raise InvalidInput(subject, list(faults))


ANYTHING = Permission()
"""The permission of the operator, workers and beats."""


def _wrong_list(name: str, given: Any) -> str | None:
    if isinstance(given, str | bytes) or not isinstance(given, Collection):
        return f"{shown(given)} is not a list"
    if name == "priorities":
        wrong = [one for one in given if type(one) is not int or one not in _PRIORITIES]
        return f"{shown(wrong[0])} is not a number from 0 to 9" if wrong else None
    limit = QUEUE_BYTES if name == "queues" else NAME_BYTES
    return next((reason for one in given if (reason := wrong_text(one, limit))), None)


def _not_allowed(given: list[Any], allowed: tuple[Any, ...]) -> str:
    listed = ", ".join(shown(one) for one in given)
    known = ", ".join(shown(one) for one in allowed) or "none"
    return f"{listed} is not allowed for this client: pass one of {known}"
