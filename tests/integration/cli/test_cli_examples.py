"""The example task types, run as their pages say: through the command line."""

import csv
import io
import json
import runpy
import signal
import sqlite3
import sys
import zipfile
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import create_engine, text
from tests.integration.cli.cli_mailbox import Mailbox, smtp
from tests.integration.cli_site import REPOSITORY, Site, cli
from tests.processes import RunningProcess

from taskdb.cli.demo.plan import CUSTOMERS

pytestmark = pytest.mark.long

__all__ = ["cli", "smtp"]

EXAMPLES = REPOSITORY / "examples"
MODULES = "tasks.greeting,tasks.customers,customer_import.tasks,export.tasks"
ROWS, BAD = 20_000, 392


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
    for name in ("greeting", "customers.import", "database.export", "customers.import_archive"):
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


# --- with a worker --------------------------------------------------------------------------------


def finished(site: Site, *words: str) -> dict[str, Any]:
    """Create it, wait for it, and answer what became of it."""
    ran = site.start(*words, "--wait", "--json")
    ran.wait(60)
    document: dict[str, Any] = json.loads(ran.output)
    return document


def stopped(dev: RunningProcess) -> None:
    dev.signal(signal.SIGTERM)
    assert dev.wait(40) == 0, dev.tail()


def generated(monkeypatch: pytest.MonkeyPatch, file: Path, *words: str) -> Path:
    script = str(EXAMPLES / "generate_customers.py")
    monkeypatch.setattr(sys, "argv", [script, str(file), *words])
    runpy.run_path(script, run_name="__main__")
    return file


def customers_in(database: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT * FROM customer ORDER BY id").fetchall()


def attachment_of(mail: EmailMessage) -> list[dict[str, str]]:
    (attached,) = mail.iter_attachments()
    return list(csv.DictReader(io.StringIO(attached.get_content())))


def test_twenty_thousand_customers_are_imported_in_parts_and_again_without_a_change(
    examples: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = generated(monkeypatch, examples.folder / "many.csv", "--rows", str(ROWS))
    database = examples.folder / "customers.sqlite3"
    dev = examples.start("dev", "-c", "2")
    words = ("--path", str(file), "--database", str(database))
    done = finished(examples, "create-task", "customers.import_file", *words)
    assert done["tree"]["counts"]["succeeded"] == 40
    told = done["result"]
    assert (told["read"], told["imported"], told["rejected"]) == (ROWS, ROWS - BAD, BAD)
    lines = [error["line"] for error in told["errors"]]
    assert lines == sorted(lines)
    reasons = " ".join(error["reason"] for error in told["errors"])
    for kind in ("was there before, in line", "email is missing", "cells instead of 6"):
        assert kind in reasons
    kept = customers_in(database)
    assert len(kept) == ROWS - BAD
    with examples.client() as taskdb:
        taskdb.retry_task(done["id"], force=True)
        assert taskdb.wait_task(done["id"], timeout=60).result == told
    assert customers_in(database) == kept
    stopped(dev)


def test_an_archive_is_unpacked_imported_reported_and_the_report_is_mailed(
    examples: Site,
    smtp: Mailbox,
    empty_postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("--rows", "2000", "--files", "3")
    archive = generated(monkeypatch, examples.folder / "many.zip", *words)
    url = empty_postgresql_url.replace("postgresql:", "postgresql+psycopg:")
    dev = examples.start("dev", "-c", "2", CUSTOMERS_URL=url, SMTP_URL=smtp.url)
    payload = {
        "archive": str(archive), "folder": "imports", "report_to": "zoe@example.com",
        "rows_a_part": 200,
    }  # fmt: skip
    sequence = ("create-sequence", "customers.import_archive", "--payload")
    done = finished(examples, *sequence, json.dumps(payload))
    assert done["status"] == "COMPLETED", done["error"]
    told = done["result"]
    assert (told["read"], told["imported"], told["rejected"]) == (2_000, 1_961, 39)
    files = done["tree"]["steps"][1]["shown_parts"]
    assert [one["counts"]["succeeded"] for one in files] == [4, 4, 4]
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM customer")) == 1_961
    engine.dispose()
    (mail,) = smtp.mails()
    assert (mail["To"], mail["Subject"]) == ("zoe@example.com", "many.zip: 1961 customers imported")
    assert len(attachment_of(mail)) == 39
    broken = examples.folder / "broken.zip"
    broken.write_bytes(b"no archive")
    failed = finished(
        examples, *sequence, json.dumps({**payload, "archive": str(broken)}), "--unique-key", "b"
    )
    assert failed["status"] == "FAILED"
    assert "broken.zip is no ZIP" in failed["error"]["message"]
    stopped(dev)
    assert len(smtp.mails()) == 1


def test_a_large_table_is_exported_stored_and_its_link_mailed(
    examples: Site, smtp: Mailbox, empty_postgresql_url: str
) -> None:
    url = empty_postgresql_url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT)"))
        connection.execute(text("CREATE TABLE other (id INTEGER)"))
        filled = "INSERT INTO city SELECT n, 'Köln ' || n FROM generate_series(1, 50000) AS n"
        connection.execute(text(filled))
    engine.dispose()
    dev = examples.start("dev", "-c", "1", DATABASE_URL=url, SMTP_URL=smtp.url)
    payload = {"tables": ["city"], "store": "exports", "mail_to": "zoe@example.com"}
    sequence = ("create-sequence", "database.export_and_mail", "--payload")
    done = finished(examples, *sequence, json.dumps(payload))
    assert done["status"] == "COMPLETED", done["error"]
    assert done["result"]["rows"] == {"city": 50_000}
    (mail,) = smtp.mails()
    link = mail.get_content().splitlines()[0]
    with zipfile.ZipFile(unquote(urlsplit(link).path)) as archive:
        assert archive.namelist() == ["city.csv"]
        found = list(csv.reader(io.StringIO(archive.read("city.csv").decode(), newline="")))
    assert found[0] == ["id", "name"]
    assert {int(row[0]) for row in found[1:]} == set(range(1, 50_001))
    assert found[-1][1].startswith("Köln ")
    served = {**payload, "link_base": "https://files.example.com/a/"}
    again = finished(examples, *sequence, json.dumps(served))
    assert again["result"]["link"] == f"https://files.example.com/a/city-{again['id']}.zip"
    assert sorted(one.name for one in (examples.folder / "exports").iterdir()) == sorted(
        f"city-{one['id']}.zip" for one in (done, again)
    )
    stopped(dev)
