"""The example task types, run as their page says: through the command line."""

import csv
import io
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from tests.integration.cli_site import REPOSITORY, Site, cli

from taskdb.cli.demo_plan import CUSTOMERS

__all__ = ["cli"]

EXAMPLES = REPOSITORY / "examples"
MODULES = "tasks.greeting,tasks.customers,tasks.export"


@pytest.fixture
def examples(cli: Site) -> Site:
    """A site on the example types; they are imported by processes only."""
    path = f"{EXAMPLES}:{cli.environment['PYTHONPATH']}"
    cli.environment.update(TASKDB_TASK_MODULES=MODULES, PYTHONPATH=path)
    return cli


def run(site: Site, *words: str, **environment: str) -> tuple[int, str]:
    """Create a task and run its body; the exit code, and what was said."""
    creating = site.start("create-task", *words, **environment)
    assert creating.wait() == 0, creating.output
    task_id = creating.output.split()[0]
    running = site.start("run-task", task_id, **environment)
    return running.wait(), running.output


def test_the_smallest_task_says_what_it_was_told(examples: Site) -> None:
    code, said = run(examples, "greeting", "--message", "Grüß Gott", "--times", "2")
    assert code == 0
    assert "Grüß Gott Grüß Gott" in said


def test_the_folder_lists_its_types(examples: Site) -> None:
    listing = examples.start("types")
    assert listing.wait() == 0
    for name in ("greeting", "customers.import", "database.export"):
        assert name in listing.output


def test_importing_customers_twice_changes_nothing(examples: Site) -> None:
    database = examples.folder / "customers.sqlite3"
    for _ in range(2):
        words = ["--path", str(CUSTOMERS), "--database", str(database)]
        code, said = run(examples, "customers.import", *words)
        assert code == 0
        assert '"imported": 1200' in said
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT count(*) FROM customer").fetchone() == (1_200,)


def test_a_missing_file_fails_the_import_at_once(examples: Site) -> None:
    words = ["--path", "missing.csv", "--database", "customers.sqlite3"]
    code, said = run(examples, "customers.import", *words)
    assert code == 1
    assert "FileNotFoundError" in said
    assert "1 of 3" in said


def test_a_database_is_exported_table_by_table(
    examples: Site, empty_store_url: str, tmp_path: Path
) -> None:
    engine = create_engine(empty_store_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        for name in ("city", "note"):
            connection.execute(text(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, name TEXT)"))
        rows = [{"id": number, "name": f'Köln "{number}",\n佐藤'} for number in range(2_500)]
        connection.execute(text("INSERT INTO city VALUES (:id, :name)"), rows)
    engine.dispose()
    url = engine.url.render_as_string(hide_password=False)
    target = tmp_path / "export.zip"
    code, said = run(examples, "database.export", "--target", str(target), DATABASE_URL=url)
    assert code == 0, said
    with zipfile.ZipFile(target) as archive:
        assert sorted(archive.namelist()) == ["city.csv", "note.csv"]
        found = list(csv.reader(io.StringIO(archive.read("city.csv").decode(), newline="")))
        assert archive.read("note.csv") == b"id,name\r\n"
    assert found[0] == ["id", "name"]
    assert sorted(int(row[0]) for row in found[1:]) == list(range(2_500))
    assert found[1][1].startswith('Köln "')
    assert list(tmp_path.glob(".export*")) == []


def test_one_table_may_be_chosen_and_must_be_there(examples: Site, tmp_path: Path) -> None:
    file = tmp_path / "one.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE city (id INTEGER)")
    words = ["database.export", "--target", str(tmp_path / "one.zip"), "--tables"]
    url = f"sqlite:///{file}"
    assert run(examples, *words, "city", DATABASE_URL=url)[0] == 0
    code, said = run(examples, *words, "town", DATABASE_URL=url)
    assert code == 1
    assert "there is no table town; there are city" in said
