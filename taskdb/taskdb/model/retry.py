"""The retry policy: how many attempts a task has, and the pauses between them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import as_duration, shown
from taskdb.model.duration import seconds_of

ExceptionTypes = tuple[type[BaseException], ...]

_MOST_ATTEMPTS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Retry:
    """The retry policy of a task type.

    `max_attempts` counts all attempts, the first included. The pause before attempt n + 1 is
    ``backoff * factor ** (n - 1)``, at most `max_backoff`. A random part of it, up to the share
    `jitter` (0 to 1), is subtracted, so that tasks that failed together are not retried together.
    An error is retried if its type is in `retry_on` and not in `give_up_on`. A run whose process
    died is followed by another, independent of `max_attempts`; with `after_crash` False the task
    is FAILED instead. Raises ValueError or TypeError for wrong values.
    """

    max_attempts: int = 3
    backoff: timedelta | float = timedelta(seconds=1)
    factor: float = 2.0
    max_backoff: timedelta | float = timedelta(hours=1)
    jitter: float = 0.2
    retry_on: ExceptionTypes = (Exception,)
    give_up_on: ExceptionTypes = ()
    after_crash: bool = True

    def __post_init__(self) -> None:
        try:
            for name in ("retry_on", "give_up_on"):
                object.__setattr__(self, name, _exception_types(name, getattr(self, name)))
            for name in ("backoff", "max_backoff"):
                as_duration(getattr(self, name), name)
            faults = self._faults()
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput("Retry(...)", [Fault("", str(error))]) from None
        if faults:
            raise InvalidInput("Retry(...)", [Fault("", fault) for fault in faults])

    def delay(self, failures: int) -> timedelta:
        """Return the pause after this many failed attempts (1 or more)."""
        first, longest = seconds_of(self.backoff), seconds_of(self.max_backoff)
        try:
            full = first and min(first * float(self.factor) ** (failures - 1), longest)
        except OverflowError:
            full = longest
        # Spreading load needs no cryptographic randomness.
        return timedelta(seconds=full * (1 - self.jitter * random.random()))  # noqa: S311

    def wants(self, error: BaseException, attempts_used: int) -> bool:
        """Return whether another attempt follows this error, after `attempts_used` attempts."""
        return (
            attempts_used < self.max_attempts
            # By its type, since an exception may return anything as its `__class__`.
            and issubclass(type(error), self.retry_on)
            and not issubclass(type(error), self.give_up_on)
        )

    def _faults(self) -> list[str]:
        checks = {
            f"max_attempts={shown(self.max_attempts)}: pass a whole number, 1 or more": (
                type(self.max_attempts) is int and 1 <= self.max_attempts <= _MOST_ATTEMPTS
            ),
            f"factor={shown(self.factor)}: pass 1 or more": self.factor >= 1,
            f"jitter={shown(self.jitter)}: pass a share from 0 to 1": 0 <= self.jitter <= 1,
        }
        return [fault for fault, holds in checks.items() if not holds]


def _exception_types(name: str, given: Any) -> ExceptionTypes:
    """Return one exception type, or several, as a tuple. Raises TypeError."""
    several = (given,) if isinstance(given, type) else tuple(given)
    for one in several:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise TypeError(f"Retry({name}=...): {one!r} is not an exception type")
    return several


ONCE = Retry(max_attempts=1)
"""The default policy: a body that raises is not run again."""
