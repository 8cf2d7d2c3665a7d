"""Labels of bounded number: a value too many is called `other`."""

from __future__ import annotations

OTHER = "other"


class Labels:
    """Which values of each label keep their names: the first so many, for the life of a process.

    What has a name keeps it, since a series that changes its name tells nobody anything.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[str, set[str]] = {}

    def named(self, label: str, value: str) -> str:
        """The value, or `other` where there are too many."""
        known = self._known.setdefault(label, set())
        if value in known:
            return value
        if len(known) >= self._limit:
            return OTHER
        known.add(value)
        return value

    def known(self, label: str) -> frozenset[str]:
        """The values that have their names."""
        return frozenset(self._known.get(label, ()))
