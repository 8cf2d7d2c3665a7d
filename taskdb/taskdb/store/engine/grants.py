"""Grants: the rights of a role that does not own our tables.

There are three roles. The *owner* owns the tables and migrates. The *runtime* role reads and writes
rows: clients, workers, beats. The *read-only* role reads every column without a secret: people and
dashboards. The statements may be repeated. Each repetition first revokes all rights of a role on
our tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, text

from taskdb.errors import DatabaseNotMigrated, GrantsRefused
from taskdb.redaction.redaction import FIELDS
from taskdb.redaction.sensitive_name import NameRules
from taskdb.store.engine.migrations.revision import DECLARATION, VERSION_TABLE
from taskdb.store.engine.postgresql.partitions import LOCK_TIMEOUT
from taskdb.store.engine.tables import metadata

_OF_MIGRATIONS = (VERSION_TABLE, DECLARATION.name)
_SECRET = NameRules.parse(FIELDS)
_OPEN = frozenset(
    {
        ("taskdb_task", "claim_token"),
        ("taskdb_delivery", "lease_token"),
        ("taskdb_subscription", "lease_token"),
    }
)
"""Tokens of the holder of a row: useless without the right to write."""
_OWNER = (
    "SELECT pg_get_userbyid(relowner) AS owner, nspname AS schema,"
    " pg_get_userbyid(nspowner) AS owner_of_schema, pg_get_userbyid(datdba) AS owner_of_database"
    " FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace"
    " JOIN pg_database ON datname = current_database()"
    " WHERE pg_class.oid = to_regclass('taskdb_task')"
)
_WRITERS, _READERS = "pg_write_all_data", "pg_read_all_data"
_WRITES = "SELECT, INSERT, UPDATE, DELETE"


def carry_out(engine: Engine, runtime: str, read_only: str | None = None) -> list[str]:
    """Grant two roles their rights, in one transaction. Returns the statements."""
    with engine.begin() as connection:
        statements = grants(connection, runtime, read_only)
        driver: Any = connection.connection.driver_connection
        for statement in statements:
            # SQLAlchemy would read a colon in the name of a role as a parameter.
            driver.execute(statement)
        for name in (runtime, read_only):
            if name is not None:
                _refuse_without_effect(connection, name)
        return statements


def grants_over(engine: Engine, runtime: str, read_only: str | None = None) -> list[str]:
    """Return the statements of `carry_out`. Changes nothing."""
    with engine.connect() as connection:
        return grants(connection, runtime, read_only)


def grants(connection: Connection, runtime: str, read_only: str | None = None) -> list[str]:
    """Return the statements that grant two roles their rights, in order.

    The connection's role must own the tables, or belong to the role that does. Raises
    DatabaseNotMigrated for a database without our tables. Raises GrantsRefused for a role that does
    not exist or that grants do not bind, and for a caller that may grant nothing.
    """
    found = connection.execute(text(_OWNER)).first()
    if found is None:
        raise DatabaseNotMigrated("the database lacks our tables: run `taskdb migrate`")
    owner, schema = str(found.owner), str(found.schema)
    _refuse_others(connection, owner)
    names = [runtime] if read_only is None else [runtime, read_only]
    if runtime == read_only:
        raise GrantsRefused(f"{runtime!r} cannot be both roles. Name two roles")
    above = {owner, str(found.owner_of_schema), str(found.owner_of_database), _WRITERS}
    for name in names:
        _refuse_unbound(connection, name, above)
        # The second name is the read-only role: it must not reach secrets through another role.
        above |= {runtime, _READERS}
    return [LOCK_TIMEOUT, *_Grants(connection, owner, schema).of(runtime, read_only)]


def _refuse_others(connection: Connection, owner: str) -> None:
    if not connection.scalar(text("SELECT pg_has_role(:owner, 'MEMBER')"), {"owner": owner}):
        raise GrantsRefused(
            f"the tables belong to the role {owner!r}, and only that role can grant rights on them."
            f" Let TASKDB_DATABASE_URL name {owner!r} for this command"
        )


def _refuse_unbound(connection: Connection, name: str, above: set[str]) -> None:
    """Refuse a superuser, and a role that is or may act as one of the roles `above`."""
    asked = (
        "SELECT rolsuper, ARRAY(SELECT CAST(rolname AS TEXT) FROM pg_roles AS other"
        " WHERE rolname = ANY(:above) AND pg_has_role(one.oid, other.oid, 'MEMBER')"
        " ORDER BY rolname) FROM pg_roles AS one WHERE rolname = :name"
    )
    found = connection.execute(text(asked), {"name": name, "above": sorted(above)}).first()
    if found is None:
        raise GrantsRefused(
            f"the server has no role {name!r}. Create it first: CREATE ROLE {_quoted(name)} LOGIN"
        )
    is_superuser, reached = found
    if is_superuser or reached:
        state = "is a superuser" if is_superuser else f"is {reached[0]!r}, or a member of it"
        raise GrantsRefused(
            f"the role {name!r} {state}: grants do not bind it. Name a role of its own"
        )


def _refuse_without_effect(connection: Connection, name: str) -> None:
    """Refuse if a grant was only a warning: another role owns the database or the schema."""
    asked = (
        "SELECT current_database() AS database, CAST(relnamespace AS REGNAMESPACE) AS schema,"
        " has_database_privilege(:name, current_database(), 'CONNECT') AS connects,"
        " has_schema_privilege(:name, relnamespace, 'USAGE') AS uses,"
        " has_schema_privilege(:name, relnamespace, 'CREATE') AS creates"
        " FROM pg_class WHERE oid = to_regclass('taskdb_task')"
    )
    found = connection.execute(text(asked), {"name": name}).one()
    role, missing = _quoted(name), []
    if not found.connects:
        missing.append(f"GRANT CONNECT ON DATABASE {_quoted(found.database)} TO {role}")
    if not found.uses:
        missing.append(f"GRANT USAGE ON SCHEMA {found.schema} TO {role}")
    if found.creates:
        missing.append(f"REVOKE CREATE ON SCHEMA {found.schema} FROM PUBLIC, {role}")
    if missing:
        raise GrantsRefused(
            "this role owns neither the database nor the schema, and cannot grant rights on them."
            f" Let their owner carry out: {'; '.join(missing)}"
        )


class _Grants:
    """Spells the statements for one owner and its schema."""

    def __init__(self, connection: Connection, owner: str, schema: str) -> None:
        self._connection = connection
        self._name, self._schema = schema, _quoted(schema)
        later = f"FOR ROLE {_quoted(owner)} IN SCHEMA {self._schema}"
        self._for_later = f"ALTER DEFAULT PRIVILEGES {later}"

    def of(self, runtime: str, read_only: str | None) -> Iterator[str]:
        database = _quoted(str(self._connection.scalar(text("SELECT current_database()"))))
        roles = ", ".join(_quoted(name) for name in (runtime, read_only) if name)
        yield f"GRANT CONNECT ON DATABASE {database} TO {roles}"
        yield f"REVOKE CREATE ON SCHEMA {self._schema} FROM PUBLIC, {roles}"
        yield f"GRANT USAGE ON SCHEMA {self._schema} TO {roles}"
        yield f"REVOKE ALL ON {self._all(self._tables())} FROM PUBLIC, {roles}"
        for sequence in self._sequences():
            yield f"REVOKE ALL ON SEQUENCE {sequence} FROM PUBLIC, {roles}"
        # By default every role may call a function, also after a restore without rights.
        for function in self._functions():
            yield f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC, {roles}"
        yield from self._of_runtime(_quoted(runtime))
        if read_only is not None:
            yield from self._of_reader(_quoted(read_only))

    def _of_runtime(self, role: str) -> Iterator[str]:
        tables = self._tables()
        written = [name for name in tables if name not in _OF_MIGRATIONS]
        yield f"GRANT SELECT ON {self._all(tables)} TO {role}"
        yield f"GRANT {_WRITES} ON {self._all(written)} TO {role}"
        for sequence in self._sequences():
            yield f"GRANT USAGE, SELECT, UPDATE ON SEQUENCE {sequence} TO {role}"
        for function in self._functions():
            yield f"GRANT EXECUTE ON FUNCTION {function} TO {role}"
        # For partitions, and for tables of later migrations.
        yield f"{self._for_later} GRANT {_WRITES} ON TABLES TO {role}"
        yield f"{self._for_later} GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO {role}"

    def _of_reader(self, role: str) -> Iterator[str]:
        """Grant nothing on later tables: they may have secrets, and `grants` is run again then."""
        for name in self._tables():
            columns = _readable(name)
            listed = f" ({', '.join(map(_quoted, columns))})" if columns else ""
            yield f"GRANT SELECT{listed} ON {self._all([name])} TO {role}"

    def _tables(self) -> list[str]:
        """Our tables and their partitions."""
        asked = (
            "SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace"
            " WHERE nspname = :schema AND relkind IN ('r', 'p')"
            " AND (relname = ANY(:names) OR pg_class.oid IN"
            " (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('taskdb_event')))"
            " ORDER BY relname"
        )
        names = [*metadata.tables, *_OF_MIGRATIONS]
        given = {"schema": self._name, "names": names}
        return list(self._connection.execute(text(asked), given).scalars())

    def _sequences(self) -> list[str]:
        asked = (
            "SELECT CAST(CAST(objid AS REGCLASS) AS TEXT) FROM pg_depend"
            " JOIN pg_class ON pg_class.oid = objid AND relkind = 'S'"
            " WHERE deptype IN ('a', 'i') AND classid = CAST('pg_class' AS REGCLASS)"
            " AND refobjid IN (SELECT to_regclass(one) FROM unnest(CAST(:names AS TEXT[])) AS one)"
        )
        return list(self._connection.execute(text(asked), {"names": [*metadata.tables]}).scalars())

    def _functions(self) -> list[str]:
        """Our functions that run with the rights of their owner; every role may call the others."""
        asked = (
            "SELECT CAST(CAST(pg_proc.oid AS REGPROCEDURE) AS TEXT) FROM pg_proc"
            " JOIN pg_namespace AS n ON n.oid = pronamespace"
            " WHERE prosecdef AND starts_with(proname, 'taskdb_') AND nspname = :schema ORDER BY 1"
        )
        return list(self._connection.execute(text(asked), {"schema": self._name}).scalars())

    def _all(self, names: list[str]) -> str:
        return ", ".join(f"{self._schema}.{_quoted(name)}" for name in names)


def _readable(name: str) -> list[str]:
    """The columns without a secret; empty if the table has no secret at all."""
    known = metadata.tables.get(name)
    columns = [] if known is None else [column.name for column in known.columns]
    found = [one for one in columns if (name, one) in _OPEN or not _SECRET.hide(one)]
    return found if len(found) < len(columns) else []


def _quoted(name: str) -> str:
    """Quote an identifier for PostgreSQL."""
    return '"' + name.replace('"', '""') + '"'
