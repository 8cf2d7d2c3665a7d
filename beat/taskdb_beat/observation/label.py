"""Labels of bounded number: further values are called `other`."""

from __future__ import annotations

OTHER = "other"


class Labels:
    """The values of each label that keep their names: the first ones, for the life of a process.

    A value keeps its name, since a series that changes its name is useless.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[str, set[str]] = {}

    def named(self, label: str, value: str) -> str:
        """Return the value, or `other` where there are too many."""
        known = self._known.setdefault(label, set())
        if value in known:
            return value
        if len(known) >= self._limit:
            return OTHER
        known.add(value)
        return value

    def known(self, label: str) -> frozenset[str]:
        """Return the values that have their names."""
        return frozenset(self._known.get(label, ()))
