"""Retention: rules for how long an ended task is kept. The first rule that matches decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from taskdb.errors import did_you_mean
from taskdb.model.bounds import LARGEST, NAME_BYTES, wrong_text
from taskdb.model.duration import parse_duration
from taskdb.model.status import TERMINAL, TaskStatus

NEVER = "never"

_KEYS = ("status", "type", "tenant", "keep")


@dataclass(frozen=True, slots=True)
class Rule:
    """How long matching tasks are kept after their end; a `keep` of None means for ever.

    A field that is None matches every task. A type may end with `*`.
    """

    keep: timedelta | None
    status: TaskStatus | None = None
    type: str | None = None
    tenant: str | None = None

    def fits(self, status: TaskStatus, type: str, tenant: str) -> bool:
        """Return whether this rule matches such a task."""
        return (
            self.status in {None, status}
            and self.tenant in {None, tenant}
            and (self.type is None or _is_like(type, self.type))
        )


DEFAULT_RULES = (
    Rule(timedelta(days=30), status=TaskStatus.COMPLETED),
    Rule(timedelta(days=30), status=TaskStatus.CANCELED),
    Rule(timedelta(days=90), status=TaskStatus.FAILED),
)
"""The rules after every list of rules."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Rules in order. An open task, and a task that matches no rule, is always kept."""

    rules: tuple[Rule, ...] = DEFAULT_RULES

    @classmethod
    def parse(cls, given: Any) -> Retention:
        """Return the rules of a JSON list, then the defaults. Raises ValueError."""
        if not isinstance(given, list | tuple):
            message = 'a list of rules, such as [{"status": "FAILED", "keep": "90d"}]'
            raise ValueError(message)  # noqa: TRY004 - pydantic makes its errors of ValueErrors only
        own = tuple(_rule(number, rule) for number, rule in enumerate(given, start=1))
        return cls((*own, *DEFAULT_RULES))

    def keep(self, status: TaskStatus, type: str, tenant: str) -> timedelta | None:
        """Return how long such a task is kept after its end; None for ever."""
        if status not in TERMINAL:
            return None
        fitting = (rule.keep for rule in self.rules if rule.fits(status, type, tenant))
        return next(fitting, None)

    def is_due(
        self, status: TaskStatus, type: str, tenant: str, *, ended_at: datetime, now: datetime
    ) -> bool:
        """Return whether a task that ended at that moment may be pruned now."""
        keep = self.keep(status, type, tenant)
        return keep is not None and now - ended_at >= keep

    @property
    def shortest(self) -> timedelta | None:
        """The shortest time that a task is kept; None if nothing is ever pruned."""
        return min(self._finite(), default=None)

    @property
    def longest(self) -> timedelta | None:
        """The longest time that a task is kept, for ever excepted; None if nothing is pruned."""
        return max(self._finite(), default=None)

    def _finite(self) -> Iterable[timedelta]:
        return (rule.keep for rule in self.rules if rule.keep is not None)


def _rule(number: int, given: Any) -> Rule:
    where = f"rule {number}"
    if not isinstance(given, Mapping):
        raise ValueError(f'{where} is not an object such as {{"keep": "30d"}}')  # noqa: TRY004 - as above
    for name, value in given.items():
        if name not in _KEYS:
            raise ValueError(f"{where} has no key {name!r}{did_you_mean(str(name), _KEYS)}")
        limit = LARGEST if name == "keep" else NAME_BYTES
        if (reason := wrong_text(value, limit)) is not None:
            raise ValueError(f"{where}: {name} must be text: {reason}")
    if "keep" not in given:
        raise ValueError(f'{where} has no "keep": add "keep": "30d", "12h" or "never"')
    kind = given.get("type")
    if kind is not None and (not kind or "*" in kind[:-1]):
        raise ValueError(f"{where}: type is a name, or a prefix of names with a * at its end")
    return Rule(
        keep=_duration(where, given["keep"]),
        status=_status(where, given["status"]) if "status" in given else None,
        type=kind,
        tenant=given.get("tenant"),
    )


def _status(where: str, given: str) -> TaskStatus:
    names = sorted(status.value for status in TERMINAL)
    if given.upper() in names:
        return TaskStatus(given.upper())
    hint = did_you_mean(given.upper(), names)
    raise ValueError(f"{where}: {given!r} is none of {', '.join(names)}{hint}")


def _duration(where: str, given: str) -> timedelta | None:
    text = given.strip().lower()
    if text == NEVER:
        return None
    with suppress(ValueError):
        if keep := parse_duration(text):
            return keep
    raise ValueError(
        f'{where}: keep {given!r} is neither a time such as "30d" (s, m, h, d or w; at most a '
        'hundred years) nor "never"'
    )


def _is_like(type: str, wanted: str) -> bool:
    return type.startswith(wanted[:-1]) if wanted.endswith("*") else type == wanted
