"""How long what is over is kept: rules, of which the first that fits a task decides."""

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

_MEMBERS = ("status", "type", "tenant", "keep")


@dataclass(frozen=True, slots=True)
class Rule:
    """Which tasks are kept how long after their end; None for `keep`: for ever.

    A member that is None fits every task. A type may end with `*`.
    """

    keep: timedelta | None
    status: TaskStatus | None = None
    type: str | None = None
    tenant: str | None = None

    def fits(self, status: TaskStatus, type: str, tenant: str) -> bool:
        """Whether this rule speaks of such a task."""
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
"""They stand behind every list of rules."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Rules in order; what is not over is always kept, and so is what fits none."""

    rules: tuple[Rule, ...] = DEFAULT_RULES

    @classmethod
    def parse(cls, given: Any) -> Retention:
        """The rules of a JSON list, the defaults behind them; ValueError says what is wrong."""
        if not isinstance(given, list | tuple):
            message = 'a list of rules, such as [{"status": "FAILED", "keep": "90d"}]'
            raise ValueError(message)  # noqa: TRY004 - pydantic makes its errors of ValueErrors only
        own = tuple(_rule(number, rule) for number, rule in enumerate(given, start=1))
        return cls((*own, *DEFAULT_RULES))

    def keep(self, status: TaskStatus, type: str, tenant: str) -> timedelta | None:
        """How long after its end such a task is kept; None: for ever."""
        if status not in TERMINAL:
            return None
        fitting = (rule.keep for rule in self.rules if rule.fits(status, type, tenant))
        return next(fitting, None)

    def is_due(
        self, status: TaskStatus, type: str, tenant: str, *, ended_at: datetime, now: datetime
    ) -> bool:
        """Whether a task that ended then may go now."""
        keep = self.keep(status, type, tenant)
        return keep is not None and now - ended_at >= keep

    @property
    def shortest(self) -> timedelta | None:
        """Nothing goes sooner after its end; None: nothing ever goes."""
        return min(self._finite(), default=None)

    @property
    def longest(self) -> timedelta | None:
        """What is not kept for ever goes after so long; None: nothing ever goes."""
        return max(self._finite(), default=None)

    def _finite(self) -> Iterable[timedelta]:
        return (rule.keep for rule in self.rules if rule.keep is not None)


def _rule(number: int, given: Any) -> Rule:
    where = f"rule {number}"
    if not isinstance(given, Mapping):
        raise ValueError(f'{where} is not an object such as {{"keep": "30d"}}')  # noqa: TRY004 - as above
    for name, value in given.items():
        if name not in _MEMBERS:
            raise ValueError(f"{where} has no member {name!r}{did_you_mean(str(name), _MEMBERS)}")
        limit = LARGEST if name == "keep" else NAME_BYTES
        if (reason := wrong_text(value, limit)) is not None:
            raise ValueError(f"{where}: {name} must be text: {reason}")
    if "keep" not in given:
        raise ValueError(f'{where} does not say how long: "keep": "30d", "12h" or "never"')
    kind = given.get("type")
    if kind is not None and (not kind or "*" in kind[:-1]):
        raise ValueError(f"{where}: type is a name, or the beginning of names with a * at its end")
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
    raise ValueError(f"{where}: {given!r} is none of {', '.join(names)}, which alone go{hint}")


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
