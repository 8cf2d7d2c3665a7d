"""The schema: what the code thinks it is, how it comes there, and who may come at once."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, make_url, text

from taskdb.errors import (
    DatabaseNotMigrated,
    DatabaseTooNew,
    DatabaseUnsuitable,
    TableNameTaken,
)
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.engine.migrations.revision import SCRIPTS, VERSION_TABLE, head, known
from taskdb.store.engine.tables import metadata
from taskdb.store.store import Store
from tests.cases import each
from tests.processes import Processes
from tests.store.tasks import at_once, create, moves, running, write


def relations(url: str) -> set[str]:
    engine = create_engine(url)
    inspected = inspect(engine)
    names = {*inspected.get_table_names(), *inspected.get_view_names()}
    engine.dispose()
    return names


def change(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


@each("name", metadata.tables)
def test_the_code_knows_the_columns_that_are_there(store_url: str, name: str) -> None:
    engine = create_engine(store_url)
    found = {column["name"]: column for column in inspect(engine).get_columns(name)}
    known = metadata.tables[name].columns
    assert list(found) == [column.name for column in known]
    for column in known:
        real = found[column.name]
        if not column.primary_key:
            assert real["nullable"] == column.nullable, column
        is_serial = column.primary_key and engine.dialect.name == "sqlite"
        wanted = (
            "INTEGER"
            if is_serial and name == "taskdb_event"
            else str(column.type.compile(engine.dialect))
        )
        assert real["type"].compile(engine.dialect) == wanted, column
    engine.dispose()


def test_the_names_of_the_migrations_are_their_order() -> None:
    scripts = ScriptDirectory(str(SCRIPTS))
    assert [one.revision for one in scripts.walk_revisions()] == list(reversed(known()))
    assert scripts.get_current_head() == head()


def test_only_who_migrates_needs_alembic() -> None:
    code = "import sys, taskdb_worker.app, taskdb.cli.app; print('alembic' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_migrating_again_changes_nothing(empty_store_url: str) -> None:
    assert migrate(empty_store_url) == head()
    before = tables(empty_store_url)
    with Store(empty_store_url).closing() as store:
        task_id = create(store)
    assert migrate(empty_store_url) == head()
    assert tables(empty_store_url) == before
    with Store(empty_store_url).closing() as store:
        assert store.tasks.get(task_id, EVERYONE).id == task_id


def test_four_processes_may_migrate_at_once(empty_store_url: str, processes: Processes) -> None:
    code = (
        "from taskdb.store.engine.migrations.migrate import migrate;"
        f" migrate({empty_store_url!r}); print('done')"
    )
    started = [processes.python("-c", code) for _ in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    with Store(empty_store_url).closing() as store:
        assert create(store)


def test_a_database_that_was_not_migrated_says_so(empty_store_url: str) -> None:
    with (
        Store(empty_store_url).closing() as store,
        pytest.raises(DatabaseNotMigrated, match=r"without our tables.*`taskdb migrate`"),
    ):
        create(store)


def test_a_store_may_migrate_itself(empty_store_url: str) -> None:
    with Store(empty_store_url, migrates_itself=True).closing() as store:
        assert at_once(lambda _: create(store), 4)


def test_a_newer_database_is_left_alone(store_url: str) -> None:
    _set_revision(store_url, "9999")
    with Store(store_url).closing() as store:
        for act in (lambda: create(store), lambda: migrate(store_url)):
            with pytest.raises(DatabaseTooNew, match=r"9999.*upgrade celery-taskdb"):
                act()


def test_an_older_database_says_what_is_missing(store_url: str) -> None:
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text(f"DELETE FROM {VERSION_TABLE}"))
    engine.dispose()
    with Store(store_url).closing() as store, pytest.raises(DatabaseNotMigrated):
        create(store)


def test_a_table_that_vanished_is_named_as_what_it_is(store: Store) -> None:
    create(store)
    write(store, "DROP TABLE taskdb_event")
    with pytest.raises(DatabaseNotMigrated, match="`taskdb migrate`"):
        create(store)


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("CREATE TABLE taskdb_subscription (id INTEGER)", ("taskdb_subscription",)),
        ("CREATE VIEW taskdb_task AS SELECT 1 AS id", ("taskdb_task",)),
        ("CREATE TABLE taskdb_schema (id INTEGER)", ("taskdb_schema",)),
        ("CREATE TABLE taskdb_version (number INTEGER)", (VERSION_TABLE,)),
        ("CREATE TABLE taskdb_version AS SELECT 'ae1027a6acf' AS version_num", (VERSION_TABLE,)),
    ],
)
def test_a_name_of_ours_that_is_taken_is_named_and_nothing_is_written(
    empty_store_url: str, statement: str, names: tuple[str, ...]
) -> None:
    change(empty_store_url, statement)
    before = relations(empty_store_url)
    with pytest.raises(TableNameTaken, match=f"`{names[0]}`.*Rename or drop") as raised:
        migrate(empty_store_url)
    assert raised.value.names == names
    assert raised.value.schema in {"public", "main"}
    assert relations(empty_store_url) == before
    change(empty_store_url, f"DROP {statement.split()[1]} {names[0]}")
    assert migrate(empty_store_url) == head()


def test_tables_of_the_application_keep_their_names(empty_store_url: str) -> None:
    for name in ("task", "worker", "schedule", "subscription", "alarm", "slot", "taskdb_notes"):
        change(empty_store_url, f"CREATE TABLE {name} (id INTEGER)")
    assert migrate(empty_store_url) == head()
    with Store(empty_store_url).closing() as store:
        assert create(store)


def test_a_migration_that_breaks_leaves_what_was_there(empty_store_url: str) -> None:
    change(
        empty_store_url,
        "CREATE TABLE other (id INTEGER)",
        "CREATE INDEX taskdb_subscription_name ON other (id)",
    )
    with pytest.raises(Exception, match="already exists"):
        migrate(empty_store_url)
    assert tables(empty_store_url) == {"other"}
    change(empty_store_url, "DROP TABLE other")
    assert migrate(empty_store_url) == head()


def test_a_database_that_is_not_in_utf_8_is_refused_before_anything_is_made(
    empty_postgresql_url: str,
) -> None:
    name = f"{make_url(empty_postgresql_url).database}_ascii"
    url = make_url(empty_postgresql_url).set(database=name).render_as_string(hide_password=False)
    beside = create_engine(empty_postgresql_url, isolation_level="AUTOCOMMIT")
    try:
        with beside.connect() as connection:
            made = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            connection.execute(text(f"CREATE DATABASE {name} {made}"))
            try:
                with pytest.raises(DatabaseUnsuitable, match=r"SQL_ASCII.*ENCODING 'UTF8'"):
                    migrate(url)
            finally:
                connection.execute(text(f"DROP DATABASE {name}"))
    finally:
        beside.dispose()


def test_the_embedded_store_makes_its_folder(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'deep' / 'tasks.sqlite3'}"
    with Store(url, migrates_itself=True).closing() as store:
        assert create(store)


def _set_revision(url: str, revision: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'"))
    engine.dispose()


# --- partitions -----------------------------------------------------------------------------------


def partition_of(connection: Connection, task_id: str) -> str:
    sql = "SELECT tableoid::regclass::text FROM taskdb_event WHERE task_id = :id ORDER BY id DESC"
    return str(connection.execute(text(sql), {"id": task_id}).scalars().first())


def test_history_of_today_lies_in_the_partition_of_today(postgresql_store: Store) -> None:
    task_id = create(postgresql_store)
    with postgresql_store.database.transaction() as connection:
        assert partition_of(connection, task_id).startswith("taskdb_event_2")


def test_a_week_of_partitions_is_made_ahead_and_made_once(postgresql_store: Store) -> None:
    assert postgresql_store.partitions.create() == []
    names = {name for name in tables(postgresql_store.database.url) if "event_2" in name}
    assert len(names) == 8
    write(postgresql_store, f"DROP TABLE {max(names)}")
    assert postgresql_store.partitions.create() == [max(names)]


def test_history_that_came_before_its_partition_moves_into_it(postgresql_store: Store) -> None:
    store = postgresql_store
    run = running(store)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    name = f"taskdb_event_{tomorrow:%Y%m%d}"
    write(store, f"DROP TABLE {name}")
    write(
        store,
        "INSERT INTO taskdb_event (task_id, from_status, to_status, at)"
        " VALUES (:id, 'STARTED', 'STARTED', :at)",
        id=run.id,
        at=tomorrow,
    )
    with store.database.transaction() as connection:
        assert partition_of(connection, run.id) == "taskdb_event_default"
    before = store.tasks.history(run.id, EVERYONE), moves(store, run.id)
    assert store.partitions.create() == [name]
    with store.database.transaction() as connection:
        assert partition_of(connection, run.id) == name
    assert (store.tasks.history(run.id, EVERYONE), moves(store, run.id)) == before


def test_two_beats_may_make_partitions_while_tasks_run(postgresql_store: Store) -> None:
    store = postgresql_store
    names = [name for name in tables(store.database.url) if "event_2" in name]
    for name in sorted(names)[2:]:
        write(store, f"DROP TABLE {name}")

    def act(number: int) -> list[str]:
        if number < 3:
            return store.partitions.create()
        for _ in range(10):
            running(store)
        return []

    made = [name for part in at_once(act, 6) for name in part]
    assert sorted(made) == sorted(names)[2:]


def test_the_vacuum_that_the_page_on_scaling_advises_is_taken_and_keeps_the_rest(
    postgresql_url: str,
) -> None:
    page = (Path(__file__).parents[3] / "docs/scaling.md").read_text()
    (advised,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(text(advised))
        options = connection.execute(
            text("SELECT reloptions FROM pg_class WHERE oid = 'taskdb_task'::regclass")
        ).scalar_one()
    engine.dispose()

    assert set(options) == {
        "fillfactor=80",
        "autovacuum_vacuum_scale_factor=0.02",
        "autovacuum_vacuum_insert_scale_factor=0.05",
        "autovacuum_analyze_scale_factor=0.02",
        "autovacuum_vacuum_cost_delay=0",
    }


def test_sqlite_needs_no_partitions(sqlite_url: str) -> None:
    with Store(sqlite_url).closing() as store:
        assert store.partitions.create() == []
