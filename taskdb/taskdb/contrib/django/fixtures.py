"""Keeps our rows out of Django's fixtures."""

from __future__ import annotations

from typing import Any


class NoFixtures:
    """A database router: `dumpdata` and `loaddata` ask it for each model.

    A fixture would contain a part of the columns, and no history: a task that is loaded from it
    waits for ever.
    """

    def allow_migrate(self, _alias: str, app_label: str, **_hints: Any) -> bool | None:
        """Exclude our models; leave all others to other routers."""
        return False if app_label == "taskdb" else None
