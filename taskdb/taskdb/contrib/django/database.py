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
_names: dict[str, str] = {}
"""The names of the databases by alias, as the settings have them."""


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
    raise SettingsError(
        f"TASKDB['DATABASE']: {named!r} is neither a PostgreSQL nor a SQLite file: name another, "
        "or give TASKDB['DATABASE_URL']"
    )


def url_of(alias: str, name: str | None = None) -> str:
    """Return the SQLAlchemy URL of one of Django's databases, from its current settings.

    With `name`, the URL of the database with this name in the same place.
    """
    connection = connections[alias]
    if connection.vendor == "sqlite":
        return _sqlite_url(name or _name(alias))
    given: Mapping[str, Any] = connection.settings_dict | ({"NAME": name} if name else {})
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


def remember_names() -> None:
    """Store the names of the databases before a test suite renames them."""
    _names.update({alias: str(given.get("NAME")) for alias, given in connections.settings.items()})


def url_of_test(store_url: str, named: str | None) -> str | None:
    """Return the URL of the test database in place of this one; None outside of a test suite."""
    for alias in _candidates():
        name = _names.get(alias)
        is_renamed = name is not None and name != str(connections[alias].settings_dict["NAME"])
        if is_renamed and (alias == named or _place(url_of(alias, name)) == _place(store_url)):
            return url_of(alias)
    return None


def stamp(named: str | None) -> Hashable:
    """Return a value that changes with the database, for example for a test database."""
    alias = DEFAULT_DB_ALIAS if named is None else named
    if alias not in connections:
        return None
    given = connections[alias].settings_dict
    parts = ("ENGINE", "HOST", "PORT", "USER")
    names = (one["NAME"] for one in connections.settings.values())
    return (*(str(given.get(part, "")) for part in parts), *map(str, names))


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
