"""What the roles of PostgreSQL may do after `taskdb grants`, and what they may not."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy.engine import make_url

from taskdb.errors import DatabaseNotMigrated, DatabaseRefused, GrantsRefused
from taskdb.redaction.redaction import FIELDS
from taskdb.redaction.sensitive_name import NameRules
from taskdb.settings.settings import Settings
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.database_role import database_role
from taskdb.store.engine.grants import carry_out
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.engine.tables import metadata
from taskdb.store.store import Store
from tests.database_roles import Roles, connected, granted, roles
from tests.store.tasks import create, running

__all__ = ["granted", "roles"]

DDL = (
    "CREATE TABLE mine (id INT)",
    "DROP TABLE taskdb_slot",
    "ALTER TABLE taskdb_task ADD COLUMN more TEXT",
    "ALTER TABLE taskdb_task DISABLE TRIGGER ALL",
    "CREATE INDEX mine ON taskdb_task (name)",
    "TRUNCATE taskdb_task",
    "CREATE FUNCTION mine() RETURNS INT LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER mine BEFORE INSERT ON taskdb_task EXECUTE FUNCTION taskdb_task_keeps_slots()",
    "CREATE ROLE more",
    "CREATE DATABASE more",
    "CREATE SCHEMA more",
    "UPDATE taskdb_version SET version_num = '0001'",
    "ALTER TABLE taskdb_task OWNER TO CURRENT_USER",
    "COPY task TO PROGRAM 'true'",
)

FUNCTIONS = (
    "taskdb_create_partition(DATE)",
    "taskdb_drop_partition(TEXT)",
    "taskdb_shift_history(BIGINT)",
)


def tomorrow() -> str:
    return f"taskdb_event_{datetime.now(UTC) + timedelta(days=1):%Y%m%d}"


def is_refused(given: Roles, role: str, statement: str) -> bool:
    try:
        given.query(role, statement)
    except InsufficientPrivilege:
        return True
    return False


# --- the application's role -------------------------------------------------------------------


def test_neither_role_changes_a_table(granted: Roles) -> None:
    for role in ("runtime", "reader"):
        for statement in DDL:
            assert is_refused(granted, role, statement), f"{role}: {statement}"


def test_before_the_grants_the_other_roles_can_do_nothing(roles: Roles) -> None:
    with (
        Store(roles.runtime).closing() as store,
        pytest.raises(DatabaseRefused, match="taskdb grants"),
    ):
        create(store)
    for name in ("taskdb_create_partition(CURRENT_DATE)", "taskdb_shift_history(1)"):
        with pytest.raises(InsufficientPrivilege):
            roles.query("runtime", f"SELECT {name}")


def test_partitions_are_made_and_dropped_by_a_role_that_owns_none(granted: Roles) -> None:
    granted.query("owner", f"DROP TABLE {tomorrow()}")

    with Store(granted.runtime).closing() as store:
        run = running(store)
        assert store.partitions.create() == [tomorrow()]
        assert store.tasks.history(run.id, EVERYONE)
    ((owner,),) = granted.query(
        "superuser", f"SELECT tableowner FROM pg_tables WHERE tablename = '{tomorrow()}'"
    )
    assert owner == granted.name_of("owner")
    # What was made since the grants can be read and written as well.
    assert granted.query("runtime", f"SELECT count(*) FROM {tomorrow()}") == [(0,)]
    assert granted.query("runtime", f"SELECT taskdb_drop_partition('{tomorrow()}')") == [(True,)]


def test_the_functions_of_the_owner_bend_to_no_caller(granted: Roles) -> None:
    """Neither other tables, nor far days, nor days with history, nor tables of the caller."""
    with Store(granted.runtime).closing() as store:
        create(store)
    today = f"taskdb_event_{datetime.now(UTC):%Y%m%d}"
    for name in (
        "taskdb_task",
        "taskdb_event_default",
        today,
        "taskdb_event_19990101",
        'x"; DROP TABLE taskdb_slot',
    ):
        asked = name.replace("'", "''")
        ((dropped,),) = granted.query("runtime", f"SELECT taskdb_drop_partition('{asked}')")
        assert dropped is False, name
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="31 days"):
        granted.query("runtime", "SELECT taskdb_create_partition(CURRENT_DATE + 400)")

    granted.query("owner", f"DROP TABLE {tomorrow()}")
    with connected(granted.runtime) as connection:
        connection.execute("CREATE TEMP TABLE taskdb_event_default (at TIMESTAMPTZ, stolen TEXT)")
        connection.execute("CREATE TEMP TABLE taskdb_event (at TIMESTAMPTZ, stolen TEXT)")
        connection.execute("SET search_path = pg_temp, public")
        connection.execute("SELECT public.taskdb_create_partition(CURRENT_DATE + 1)")
        columns = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attname = 'stolen'"
            f" AND attrelid = 'public.{tomorrow()}'::regclass"
        ).fetchall()
    assert columns == []


def test_a_restore_is_settled_by_a_role_that_owns_nothing(granted: Roles) -> None:
    granted.query("superuser", "UPDATE taskdb_history_cluster SET identity = 'another/00000001'")
    granted.query("superuser", "UPDATE taskdb_event SET xid = xid")

    with Store(granted.runtime).closing() as store:
        create(store)
    ((shift, identity),) = granted.query(
        "superuser", "SELECT shift, identity FROM taskdb_history_cluster"
    )
    assert shift > 0
    assert identity != "another/00000001"


def test_a_later_table_of_a_migration_is_the_applications_and_not_the_readers(
    granted: Roles,
) -> None:
    granted.query("owner", "CREATE TABLE later (id BIGSERIAL, secret TEXT)")

    granted.query("runtime", "INSERT INTO later (secret) VALUES ('s')")
    with pytest.raises(InsufficientPrivilege):
        granted.query("reader", "SELECT * FROM later")


# --- the role that reads ----------------------------------------------------------------------


def test_the_reader_reads_every_table_and_no_secret(granted: Roles) -> None:
    rules = NameRules.parse(FIELDS)
    for table in metadata.sorted_tables:
        for column in table.columns:
            is_secret = rules.hide(column.name) and column.name not in {
                "claim_token",
                "lease_token",
            }
            asked = f'SELECT "{column.name}" FROM "{table.name}"'
            assert is_refused(granted, "reader", asked) == is_secret, asked
    for name in ("secret", "previous_secret"):
        assert is_refused(granted, "reader", f"SELECT {name} FROM taskdb_subscription")


def test_the_reader_writes_no_table(granted: Roles) -> None:
    for table in metadata.sorted_tables:
        column = list(table.columns)[-1].name
        for statement in (
            f'INSERT INTO "{table.name}" DEFAULT VALUES',
            f'UPDATE "{table.name}" SET "{column}" = NULL',
            f'DELETE FROM "{table.name}"',
            f'SELECT 1 FROM "{table.name}" FOR UPDATE',
        ):
            assert is_refused(granted, "reader", statement), statement


# --- the command ------------------------------------------------------------------------------


def test_the_grants_may_be_repeated_and_take_away_what_was_too_much(granted: Roles) -> None:
    reader = granted.name_of("reader")
    granted.query("owner", f"GRANT SELECT, DELETE ON taskdb_subscription TO {reader}")
    first, again = granted.grant(), granted.grant()

    assert first == again
    for statement in ("SELECT secret FROM taskdb_subscription", "DELETE FROM taskdb_subscription"):
        with pytest.raises(InsufficientPrivilege):
            granted.query("reader", statement)
    assert granted.query("reader", "SELECT name FROM taskdb_subscription") == []


def test_the_functions_of_a_restored_dump_are_the_applications_alone(granted: Roles) -> None:
    """A dump without rights makes functions that every role may call."""
    for name in FUNCTIONS:
        granted.query("owner", f"GRANT EXECUTE ON FUNCTION {name} TO PUBLIC")
    granted.query("owner", "GRANT SELECT ON taskdb_subscription TO PUBLIC")
    granted.grant()

    for call in ("shift_history(5)", f"drop_partition('{tomorrow()}')"):
        assert is_refused(granted, "reader", f"SELECT taskdb_{call}")
        granted.query("runtime", f"SELECT taskdb_{call}")
    assert is_refused(granted, "reader", "SELECT secret FROM taskdb_subscription")


def test_a_migration_goes_on_after_the_grants(granted: Roles) -> None:
    granted.query("owner", f"DROP TABLE {tomorrow()}")

    migrate(granted.owner)
    assert granted.query("runtime", f"SELECT * FROM {tomorrow()}") == []


@pytest.mark.parametrize("role", ["superuser", "owner"])
def test_a_role_that_no_grant_binds_is_refused(roles: Roles, role: str) -> None:
    with (
        Store(roles.owner).closing() as store,
        pytest.raises(GrantsRefused, match="grants do not bind it"),
    ):
        store.database.over_transactions(lambda engine: carry_out(engine, roles.name_of(role)))


@pytest.mark.parametrize("above", ["runtime", "pg_read_all_data", "pg_write_all_data"])
def test_a_reader_that_reaches_more_through_another_role_is_refused(
    roles: Roles, above: str
) -> None:
    name = roles.name_of("runtime") if above == "runtime" else above
    roles.query("superuser", f"GRANT {name} TO {roles.name_of('reader')}")
    with pytest.raises(GrantsRefused, match=f"is '{name}', or a member of it.*do not bind"):
        roles.grant()


def test_a_runtime_role_that_owns_the_database_is_refused(roles: Roles) -> None:
    """It could drop each table of a schema that belongs to the owner of the database."""
    name = roles.name_of("runtime")
    roles.query(
        "superuser",
        f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO {name}', current_database());"
        " END $$",
    )
    with pytest.raises(GrantsRefused, match="do not bind it"):
        roles.grant()


def test_a_grant_that_only_the_owner_of_the_database_can_make_is_asked_for(roles: Roles) -> None:
    """The server answers such a grant with a warning, and grants nothing."""
    database = make_url(roles.owner).database
    for statement in (
        f"ALTER DATABASE {database} OWNER TO postgres",
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {database} TO {roles.name_of('owner')}",
    ):
        roles.query("superuser", statement)
    with pytest.raises(GrantsRefused, match=f'GRANT CONNECT ON DATABASE "{database}" TO'):
        roles.grant()
    for role in ("runtime", "reader"):
        roles.query("superuser", f"GRANT CONNECT ON DATABASE {database} TO {roles.name_of(role)}")
    roles.grant()
    assert roles.query("reader", "SELECT count(*) FROM taskdb_task") == [(0,)]


def test_a_role_that_does_not_exist_is_named(roles: Roles) -> None:
    with Store(roles.owner).closing() as store:
        with pytest.raises(GrantsRefused, match='CREATE ROLE "no""body" LOGIN'):
            store.database.over_transactions(lambda engine: carry_out(engine, 'no"body'))
        with pytest.raises(GrantsRefused, match="both"):
            store.database.over_transactions(
                lambda engine: carry_out(engine, roles.name_of("reader"), roles.name_of("reader"))
            )


def test_only_the_owner_grants(granted: Roles) -> None:
    with (
        Store(granted.runtime).closing() as store,
        pytest.raises(GrantsRefused, match=f"belong to the role '{granted.name_of('owner')}'"),
    ):
        store.database.over_transactions(
            lambda engine: carry_out(engine, granted.name_of("reader"))
        )


def test_a_database_without_tables_is_told_apart(empty_postgresql_url: str) -> None:
    with (
        Store(empty_postgresql_url).closing() as store,
        pytest.raises(DatabaseNotMigrated, match="taskdb migrate"),
    ):
        store.database.over_transactions(lambda engine: carry_out(engine, "anybody"))


def test_the_role_of_a_process_is_known(granted: Roles) -> None:
    found = {}
    for role in ("superuser", "runtime", "reader"):
        with Store(Settings.load(database_url=getattr(granted, role)).store_url).closing() as store:
            found[role] = store.database.read(database_role)
    assert found["superuser"] is not None and found["superuser"].is_superuser
    assert found["runtime"] is not None and found["runtime"].unwritable == ()
    assert found["reader"] is not None and "taskdb_task" in found["reader"].unwritable
