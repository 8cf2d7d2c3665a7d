"""Reads the settings of a TaskDB from a Flask app."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from taskdb.settings.file import PREFIX
from taskdb.settings.settings import Settings

_DATABASE = "SQLALCHEMY_DATABASE_URI"


def settings_of(app: Flask, *, joins_session: bool) -> Settings:
    """Return the settings in `app.config`, under their names, on top of the environment's.

    If a session is joined and no database is set, it is that of Flask-SQLAlchemy: only there can
    the row be in the session's transaction. Raises SettingsError for an unknown name.
    """
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in app.config.items()
        if name.startswith(PREFIX)
    }
    loaded = Settings.load(**given)
    if joins_session and not loaded.database_url:
        shared = _shared_database(app.config, Path(app.instance_path))
        if shared is not None:
            loaded = Settings.load(**given, database_url=shared)
    return loaded


def _shared_database(config: Mapping[str, Any], instance: Path) -> str | None:
    """Return the URL of Flask-SQLAlchemy's database for a store; None if it cannot hold one."""
    try:
        url = make_url(config[_DATABASE])
    except (KeyError, ArgumentError):
        return None
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql").render_as_string(hide_password=False)
    if url.get_backend_name() != "sqlite" or url.database in {None, "", ":memory:"}:
        return None
    if not url.query.get("uri"):
        # As Flask-SQLAlchemy does: a relative path starts in the instance folder.
        url = url.set(database=str(instance / str(url.database)))
    return url.set(drivername="sqlite").render_as_string(hide_password=False)
