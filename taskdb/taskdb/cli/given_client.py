"""The client that a framework gives to a command, and the settings in force."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskdb.client.taskdb import TaskDB
    from taskdb.settings.settings import Settings

_given: ContextVar[TaskDB | None] = ContextVar("taskdb_given", default=None)


@contextmanager
def using(client: TaskDB | None) -> Iterator[None]:
    """Let the commands inside use this client; None: one of the environment."""
    token = _given.set(client)
    try:
        yield
    finally:
        _given.reset(token)


def given_client() -> TaskDB | None:
    """The client that was given; None where the command makes its own."""
    return _given.get()


def settings_in_force(**overrides: Any) -> Settings:
    """The settings of the given client, or of the environment. Raises SettingsError."""
    client = _given.get()
    if client is not None:
        return client.settings.model_copy(update=overrides)
    from taskdb.settings.settings import Settings  # noqa: PLC0415 - imports much; `--help` does without

    return Settings.load(**overrides)
