"""A database of three roles: its owner, the application's role, and one that only reads."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from taskdb.store.engine.grants import carry_out
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.store import Store


@dataclass(frozen=True)
class Roles:
    """The URL of one database for each role, as SQLAlchemy spells it."""

    superuser: str
    owner: str
    runtime: str
    reader: str

    def name_of(self, role: str) -> str:
        return str(make_url(getattr(self, role)).username)

    def query(self, role: str, statement: str) -> list[tuple[Any, ...]]:
        """The rows of one statement; raises psycopg's error of what the role may not do."""
        with connected(getattr(self, role)) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def grant(self) -> list[str]:
        """What the owner does after each migration."""
        with Store(self.owner).closing() as store:
            return store.database.over_transactions(
                lambda engine: carry_out(engine, self.name_of("runtime"), self.name_of("reader"))
            )


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    plain = url.replace("postgresql+psycopg:", "postgresql:")
    with closing(psycopg.connect(plain, autocommit=True)) as connection:
        yield connection


@pytest.fixture
def roles(empty_postgresql_url: str) -> Iterator[Roles]:
    """A database that its owner has migrated, and nothing is granted yet."""
    place = make_url(empty_postgresql_url)
    names = [f"{role}_{place.database}" for role in ("owner", "runtime", "reader")]
    urls = [place.set(username=name).render_as_string() for name in names]
    given = Roles(empty_postgresql_url, *urls)
    with connected(empty_postgresql_url) as connection:
        for name in names:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(str(place.database)), sql.Identifier(names[0])
            )
        )
    try:
        migrate(given.owner)
        yield given
    finally:
        with connected(empty_postgresql_url) as connection:
            connection.execute("ALTER DATABASE " + str(place.database) + " OWNER TO postgres")
            for name in names:
                role = sql.Identifier(name)
                connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
                connection.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture
def granted(roles: Roles) -> Roles:
    """The same, and what the roles need is granted."""
    roles.grant()
    return roles
