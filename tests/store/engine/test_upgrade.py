"""Code and schema of two releases: which fit, which are refused, and that the database knows it."""

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from taskdb.errors import DatabaseNotMigrated, DatabaseTooNew
from taskdb.store.engine.migrations.declaration import oldest_code
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.engine.migrations.revision import (
    SCRIPTS,
    VERSION_TABLE,
    declarations,
    head,
    known,
)
from taskdb.store.store import Store
from tests.cases import each
from tests.store.tasks import create

NEXT, LATER = "9001", "9002"


def change(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def declared(url: str) -> dict[str, str]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = declarations(connection)
    engine.dispose()
    return found


def declare(url: str, **oldest: str) -> None:
    """Write what a newer release declares, as `r9001="0015"`."""
    for revision, code in oldest.items():
        change(url, f"INSERT INTO taskdb_schema VALUES ('{revision.removeprefix('r')}', '{code}')")


def arrive(url: str, revision: str) -> None:
    change(url, f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")


@each("revision", known())
def test_every_migration_declares_that_code_of_the_revision_before_can_live_with_it(
    revision: str,
) -> None:
    script = ScriptDirectory(str(SCRIPTS)).get_revision(revision)
    assert script is not None
    assert isinstance(getattr(script.module, "oldest_code", None), str), (
        f'{script.path} must say which code can live with it: oldest_code = "…"'
    )
    assert script.module.oldest_code in known()
    assert script.module.oldest_code <= (script.down_revision or revision)


def test_a_migration_that_declares_nothing_is_taken_to_need_its_own_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripts = ScriptDirectory(str(SCRIPTS))
    newest = scripts.get_revision(head())
    assert newest is not None
    monkeypatch.delattr(newest.module, "oldest_code")
    assert oldest_code(scripts, head()) == head()


def test_the_database_knows_the_oldest_code_of_each_migration(empty_store_url: str) -> None:
    migrate(empty_store_url)
    assert tuple(sorted(declared(empty_store_url))) == known()
    assert all(
        oldest < revision
        for revision, oldest in declared(empty_store_url).items()
        if revision != known()[0]
    )


def test_a_database_without_declarations_gets_them_with_the_next_migrate(store_url: str) -> None:
    change(store_url, "DROP TABLE taskdb_schema")
    with Store(store_url).closing() as store:
        assert create(store)
    assert migrate(store_url) == head()
    assert tuple(sorted(declared(store_url))) == known()


def test_code_works_on_a_newer_database_that_declares_it_can(store_url: str) -> None:
    declare(store_url, r9001=known()[0], r9002=head())
    arrive(store_url, LATER)
    for migrates_itself in (False, True):
        with Store(store_url, migrates_itself=migrates_itself).closing() as store:
            assert create(store)


def test_to_migrate_a_newer_database_changes_nothing(store_url: str) -> None:
    declare(store_url, r9001=head())
    arrive(store_url, NEXT)
    before = declared(store_url)
    assert migrate(store_url) == NEXT
    assert declared(store_url) == before


@pytest.mark.parametrize("oldest", [{"r9001": "9001"}, {"r9001": "9001", "r9002": "0001"}])
def test_code_refuses_a_newer_database_that_needs_newer_code(
    store_url: str, oldest: dict[str, str]
) -> None:
    declare(store_url, **oldest)
    arrive(store_url, max(oldest).removeprefix("r"))
    with Store(store_url).closing() as store:
        for act in (lambda: create(store), lambda: migrate(store_url)):
            with pytest.raises(DatabaseTooNew, match=r"revision 9001 or newer.*upgrade"):
                act()


def test_code_refuses_a_newer_database_whose_own_migration_declares_nothing(
    store_url: str,
) -> None:
    declare(store_url, r9001=head())
    arrive(store_url, LATER)
    with Store(store_url).closing() as store, pytest.raises(DatabaseTooNew, match="not know"):
        create(store)


def test_code_that_cannot_live_with_a_migration_does_not_begin_once_that_has_begun(
    store_url: str,
) -> None:
    declare(store_url, r9001="9001")
    with Store(store_url).closing() as store, pytest.raises(DatabaseTooNew, match="9001 or newer"):
        create(store)


def test_code_that_can_live_with_a_migration_works_while_that_goes_on(store_url: str) -> None:
    declare(store_url, r9001=head())
    with Store(store_url).closing() as store:
        assert create(store)
    assert migrate(store_url) == head()


def test_steps_of_a_newer_release_that_was_interrupted_are_kept_by_an_older_one(
    postgresql_url: str,
) -> None:
    change(
        postgresql_url,
        "CREATE TABLE taskdb_migration_step (revision TEXT, statement TEXT)",
        f"INSERT INTO taskdb_migration_step VALUES ('{head()}', 'done'), ('{NEXT}', 'begun')",
    )
    declare(postgresql_url, r9001=head())
    assert migrate(postgresql_url) == head()
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT revision FROM taskdb_migration_step")).scalars()
        assert list(kept) == [NEXT]
    engine.dispose()


def test_an_older_database_is_refused_until_it_is_migrated(
    store_url: str, next_release: str
) -> None:
    with Store(store_url).closing() as store, pytest.raises(DatabaseNotMigrated, match="migrate"):
        create(store)
    assert migrate(store_url) == next_release
    with Store(store_url).closing() as store:
        assert create(store)
