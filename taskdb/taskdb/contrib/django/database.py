"""Finds the database of Django that holds our tables, and its URL."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from sqlalchemy.engine import URL, make_url

from taskdb.errors import SettingsError

VENDORS = {"postgresql", "sqlite"}
"""The databases that a store can live in, by Django's names for them."""

# Options of Django that libpq does not know.
_DJANGO_ONLY = {
    "assume_role",
    "client_encoding",
    "cursor_factory",
    "isolation_level",
    "pool",
    "server_side_binding",
}
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


def own_alias(named: str | None) -> str | None:
    """Return the alias of the database for the rows, if no URL is set; None if there is none.

    Raises SettingsError if the named alias does not exist, or cannot hold a store.
    """
    alias = DEFAULT_DB_ALIAS if named is None else named
    if alias not in connections:
        if named is None:
            return None
        known = ", ".join(connections)
        message = f"TASKDB['DATABASE']: there is no database {named!r} in DATABASES ({known})"
        raise SettingsError(message)
    if connections[alias].vendor in VENDORS and _name(alias):
        return alias
    if named is None:
        return None
    message = (
        f"TASKDB['DATABASE']: {named!r} is neither a PostgreSQL nor a SQLite file: name another, "
        "or give TASKDB['DATABASE_URL']"
    )
    raise SettingsError(message)


def url_of(alias: str) -> str:
    """Return the SQLAlchemy URL of one of Django's databases, from its current settings."""
    connection = connections[alias]
    if connection.vendor == "sqlite":
        return _sqlite_url(_name(alias))
    given: Mapping[str, Any] = connection.settings_dict
    options = {
        name: str(value)
        for name, value in (given.get("OPTIONS") or {}).items()
        if name not in _DJANGO_ONLY and isinstance(value, str | int)
    }
    role = (given.get("OPTIONS") or {}).get("assume_role")
    if role:
        options["options"] = f"{options.get('options', '')} -c role={role}".strip()
    url = URL.create(
        "postgresql+psycopg",
        username=given.get("USER") or None,
        password=given.get("PASSWORD") or None,
        host=given.get("HOST") or None,
        port=int(given["PORT"]) if given.get("PORT") else None,
        database=given.get("NAME") or None,
        query=options,
    )
    return url.render_as_string(hide_password=False)


def stamp(named: str | None) -> Hashable:
    """Return a value that changes with the database, for example for a test database."""
    alias = DEFAULT_DB_ALIAS if named is None else named
    if alias not in connections:
        return None
    given = connections[alias].settings_dict
    return tuple(str(given.get(name, "")) for name in ("ENGINE", "NAME", "HOST", "PORT", "USER"))


def alias_on(store_url: str, named: str | None) -> str | None:
    """Return the alias of the database with this URL; None if Django has no such database.

    The alias that `TASKDB['DATABASE']` names counts with any URL: the two may reach
    the same server in different ways.
    """
    if named is not None:
        return named
    wanted = _place(store_url)
    return next((alias for alias in _candidates() if _place(url_of(alias)) == wanted), None)


def _candidates() -> Iterator[str]:
    for alias in connections:
        if connections[alias].vendor in VENDORS and _name(alias):
            yield alias


def _name(alias: str) -> str:
    """Return the name of a database; empty for one in memory that only its connection sees."""
    given = connections[alias].settings_dict
    name = str(given.get("NAME") or "")
    if connections[alias].vendor == "sqlite":
        return "" if name == ":memory:" else name
    return name or str((given.get("OPTIONS") or {}).get("service", ""))


def _sqlite_url(name: str) -> str:
    if name.startswith("file:"):
        # The shared memory of a test suite; SQLAlchemy needs the option `uri` for it.
        path, _, query = name.partition("?")
        return f"sqlite:///{path}?{query}{'&' if query else ''}uri=true"
    return f"sqlite:///{Path(name).absolute()}"


def _place(url: str) -> tuple[str, ...]:
    """Return the parts of a URL that identify a database, without the login."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        name = parsed.database or ""
        return ("sqlite", name if name.startswith("file:") else str(Path(name).resolve()))
    host = parsed.host or str(parsed.query.get("host", ""))
    if host in _LOCAL_HOSTS:
        host = "localhost"
    service = str(parsed.query.get("service", ""))
    port = parsed.port or parsed.query.get("port") or 5432
    return ("postgresql", host, str(port), parsed.database or "", service)
