"""A web framework that has settings for this package, such as Django's `TASKDB`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol


class SettingsSource(Protocol):
    """A framework that has settings for this package."""

    def read(self) -> Mapping[str, Any]:
        """The values by the name of the setting. Raises SettingsError."""

    def stamp(self) -> Hashable:
        """A value that changes when `read` would return something else."""


_sources: list[SettingsSource] = []


def read_settings_of(source: SettingsSource) -> None:
    """Let `Settings.load` read this framework first, and the environment for the rest."""
    _sources[:] = [source]


def forget_settings_of(source: SettingsSource) -> None:
    """Undo `read_settings_of`."""
    if source in _sources:
        _sources.remove(source)


def settings_stamp() -> Hashable:
    """A value that changes when a framework's settings change; None without a framework."""
    return _sources[0].stamp() if _sources else None


def settings_sources() -> tuple[SettingsSource, ...]:
    """The framework that `read_settings_of` has set, or none."""
    return tuple(_sources)
