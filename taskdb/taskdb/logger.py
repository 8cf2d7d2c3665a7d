"""Loggers of this package. Each imports structlog with its first event.

structlog imports rich and pygments where they are installed: a third of a second, which a module
that only declares task types does not pay.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Logger:
    """A structlog logger that is created at its first use."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger: Any = None

    def __getattr__(self, method: str) -> Any:
        """The method of the structlog logger: `info`, `warning`, `bind` and so on."""
        if self._logger is None:
            self._logger = import_module("structlog").get_logger(self._name)
        return getattr(self._logger, method)


def get_logger(name: str) -> Logger:
    """The logger of this name, as `structlog.get_logger` returns it."""
    return Logger(name)
