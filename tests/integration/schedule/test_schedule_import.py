"""The import from django-celery-beat: each column is kept, or refused in words."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from tests.integration.cli_site import Site, cli

__all__ = ["cli"]

Rows = Callable[..., list[dict[str, Any]]]

TABLES = """
CREATE TABLE django_celery_beat_crontabschedule (id INTEGER, minute TEXT, hour TEXT,
    day_of_month TEXT, month_of_year TEXT, day_of_week TEXT, timezone TEXT);
CREATE TABLE django_celery_beat_intervalschedule (id INTEGER, every INTEGER, period TEXT);
CREATE TABLE django_celery_beat_clockedschedule (id INTEGER, clocked_time TEXT);
CREATE TABLE django_celery_beat_periodictask (id INTEGER, name TEXT, task TEXT DEFAULT 'echo',
    crontab_id INTEGER, interval_id INTEGER, clocked_id INTEGER, solar_id INTEGER,
    args TEXT DEFAULT '[]', kwargs TEXT DEFAULT '{}', queue TEXT, exchange TEXT, routing_key TEXT,
    headers TEXT DEFAULT '{}', priority INTEGER, enabled BOOLEAN DEFAULT 1,
    one_off BOOLEAN DEFAULT 0, start_time TEXT, expires TEXT, expire_seconds INTEGER,
    last_run_at TEXT, total_run_count INTEGER DEFAULT 0);
INSERT INTO django_celery_beat_crontabschedule VALUES (1, '30', '2', '*', '*', '*', 'Asia/Tokyo');
INSERT INTO django_celery_beat_intervalschedule VALUES (1, 2, 'hours');
INSERT INTO django_celery_beat_clockedschedule VALUES (1, '2031-05-05 10:00:00');
"""


@pytest.fixture
def imported(cli: Site, tmp_path: Path) -> Rows:
    """Import one periodic task with these columns; returns the lines that tell of it."""
    path = tmp_path / "django.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)

    def run(*words: str, crontab: str | None = None, **columns: Any) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM django_celery_beat_periodictask")
            if crontab is not None:
                fields = [*crontab.split(" "), "UTC"]
                connection.execute("DELETE FROM django_celery_beat_crontabschedule WHERE id = 2")
                connection.execute(
                    "INSERT INTO django_celery_beat_crontabschedule VALUES (2, ?, ?, ?, ?, ?, ?)",
                    fields,
                )
                columns["crontab_id"] = 2
            columns = {"id": 1, "name": "it", **columns}
            marks = ", ".join("?" * len(columns))
            connection.execute(
                f"INSERT INTO django_celery_beat_periodictask ({', '.join(columns)})"
                f" VALUES ({marks})",
                list(columns.values()),
            )
        url = f"sqlite:///{path}"
        return cli("schedule", "import-django-celery-beat", url, "--json", *words).lines

    return run


def the_schedule(cli: Site) -> dict[str, Any]:
    (found,) = cli("schedule", "list", "--json").lines
    return dict(found)


@pytest.mark.parametrize(
    ("crontab", "cron"),
    [
        ("0 9 1-7 * sat", "0 9 1-7 * +sat"),
        ("* * 31 2,3 mon", "* * 31 2,3 +mon"),
        ("0 22-4 * * *", "0 0-4,22,23 * * *"),
        ("0 9 * * sat-sun", "0 9 * * sun,sat"),
        ("0 9 * january monday,Tuesday", "0 9 * 1 mon,tue"),
        ("*/15 */2 * * 0,6", "*/15 */2 * * sun,sat"),
    ],
)
def test_a_crontab_keeps_its_meaning(cli: Site, imported: Rows, crontab: str, cron: str) -> None:
    assert [line["reason"] for line in imported(crontab=crontab)] == [None]
    assert the_schedule(cli)["cron"] == cron
    assert cron in cli("schedule", "list").out


def test_a_schedule_of_both_days_can_be_edited(cli: Site, imported: Rows) -> None:
    imported(crontab="0 9 1-7 * sat")
    words = ("schedule", "add", "it", "echo", "--replace", "--cron")
    assert cli(*words, "0 9 8-14 * +sun").code == 0
    assert the_schedule(cli)["cron"] == "0 9 8-14 * +sun"
    due = cli("schedule", "preview", "it", "--json", "--count", "24").document
    assert all(8 <= int(one[8:10]) <= 14 for one in due)


def test_each_column_that_changes_due_times_is_kept(cli: Site, imported: Rows) -> None:
    columns = {
        "interval_id": 1, "queue": "slow", "priority": 4, "expire_seconds": 90, "enabled": 0,
        "last_run_at": "2026-01-01 09:10:00",
    }  # fmt: skip
    assert [line["reason"] for line in imported(**columns)] == [None]
    found = the_schedule(cli)
    assert (found["queue"], found["priority"], found["is_enabled"]) == ("slow", 4, False)
    assert (found["every_seconds"], found["deadline_seconds"]) == (7_200, 90)
    assert found["starts_at"] == "2026-01-01T11:10:00+00:00"
    assert "1m30s" in cli("schedule", "show", "it").out


def test_an_interval_that_has_begun_keeps_its_beat(cli: Site, imported: Rows) -> None:
    begun = {"start_time": "2026-01-01 00:00:00", "last_run_at": "2026-01-01 08:10:00"}
    imported(interval_id=1, **begun)
    assert the_schedule(cli)["starts_at"] == "2026-01-01T10:10:00+00:00"
    imported("--replace", interval_id=1, start_time="2031-01-01 00:00:00")
    assert the_schedule(cli)["next_due_at"] == "2031-01-01T00:00:00+00:00"


def test_start_and_expiry_bound_it_and_the_message_too(cli: Site, imported: Rows) -> None:
    moments = {"start_time": "2031-01-01 00:00:00", "expires": "2032-01-01 00:00:00"}
    imported(crontab_id=1, expire_seconds=60, **moments)
    found = the_schedule(cli)
    assert found["starts_at"] == "2031-01-01T00:00:00+00:00"
    assert found["ends_at"] == "2032-01-01T00:00:00+00:00"
    assert (found["timezone"], found["deadline_seconds"]) == ("Asia/Tokyo", None)


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"exchange": "e"}, "exchange"),
        ({"routing_key": "r"}, "routing_key"),
        ({"headers": '{"x": 1}'}, "headers"),
        ({"headers": "{"}, "not JSON"),
        ({"args": "[1]"}, "positional"),
        ({"kwargs": "[1]"}, "keyword arguments"),
        ({"kwargs": "{"}, "not JSON"),
        ({"priority": 200}, "priority"),
        ({"solar_id": 1, "crontab_id": None}, "solar"),
        ({"one_off": 1, "expires": "2020-01-01 00:00:00"}, "never due again"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_words(
    imported: Rows, columns: dict[str, Any], word: str
) -> None:
    for words in ((), ("--dry-run",)):
        (line,) = imported(*words, **{"crontab_id": 1, **columns})
        assert word in line["reason"]


@pytest.mark.parametrize("crontab", ["0 9 31 2 *", "60 * * * *", "0 9 * * nonday", "0 9 * * 7"])
def test_a_crontab_that_celery_refuses_is_refused(imported: Rows, crontab: str) -> None:
    (line,) = imported(crontab=crontab)
    assert "Celery refuses" in line["reason"]


def test_one_that_ran_there_already_is_paused(cli: Site, imported: Rows) -> None:
    (line,) = imported(crontab_id=1, one_off=1, total_run_count=1)
    assert "ran there already" in line["note"]
    assert not the_schedule(cli)["is_enabled"]
    imported("--replace", clocked_id=1, one_off=1, total_run_count=0)
    assert the_schedule(cli)["is_enabled"]


def test_one_that_ran_here_already_runs_no_second_time_after_another_import(
    cli: Site, imported: Rows
) -> None:
    imported(crontab_id=1, one_off=1)
    due = the_schedule(cli)["next_due_at"]
    with cli.client() as taskdb:
        taskdb.store.database.query(
            "UPDATE taskdb_schedule SET last_due_at = next_due_at, next_due_at = '9999-01-01'", {}
        )
    (line,) = imported("--replace", crontab_id=1, one_off=1)
    assert "ran here already" in line["note"]
    assert due is not None
    assert the_schedule(cli)["next_due_at"] is None


def test_an_old_release_without_newer_columns_is_imported(cli: Site, tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
        for column in ("headers", "priority", "one_off", "expire_seconds", "start_time"):
            connection.execute(f"ALTER TABLE django_celery_beat_periodictask DROP COLUMN {column}")
        connection.execute(
            "INSERT INTO django_celery_beat_periodictask (id, name, crontab_id) VALUES (1, 'it', 1)"
        )
        connection.commit()
    assert cli("schedule", "import-django-celery-beat", f"sqlite:///{path}").code == 0
    assert the_schedule(cli)["cron"] == "30 2 * * *"


POSTGRESQL = {
    "(id INTEGER": "(id SERIAL",
    "clocked_time TEXT": "clocked_time TIMESTAMPTZ",
    "enabled BOOLEAN DEFAULT 1": "enabled BOOLEAN DEFAULT true",
    "one_off BOOLEAN DEFAULT 0": "one_off BOOLEAN DEFAULT false",
    "start_time TEXT, expires TEXT": "start_time TIMESTAMPTZ, expires TIMESTAMPTZ",
    "last_run_at TEXT": "last_run_at TIMESTAMPTZ",
}


def test_postgresql_is_read_whatever_one_row_of_it_holds(
    cli: Site, empty_postgresql_url: str
) -> None:
    tables = TABLES
    for given, spelled in POSTGRESQL.items():
        tables = tables.replace(given, spelled)
    engine = create_engine(empty_postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(tables)
        connection.exec_driver_sql(
            "INSERT INTO django_celery_beat_periodictask (name, crontab_id, interval_id, expires,"
            " start_time, last_run_at) VALUES"
            " ('endless', 1, NULL, 'infinity', '-infinity', NULL),"
            " ('begun', NULL, 1, NULL, NULL, '2026-01-01 18:10:00+09'),"
            " ('never', NULL, 1, NULL, NULL, '20260-01-01 00:00:00+00')"
        )
    engine.dispose()
    lines = cli("schedule", "import-django-celery-beat", empty_postgresql_url, "--json").lines
    told = {line["name"]: line["reason"] for line in lines}
    assert (told["begun"], told["endless"]) == (None, None)
    found = {line["name"]: line for line in cli("schedule", "list", "--json").lines}
    assert found["begun"]["starts_at"] == "2026-01-01T11:10:00+00:00"
    assert (found["endless"]["cron"], found["endless"]["timezone"]) == ("30 2 * * *", "Asia/Tokyo")


def test_what_was_refused_is_listed_and_diagnosed_and_checked(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = '[{"name": "nightly", "type": "nope", "every": 60}]'
    monkeypatch.setenv("TASKDB_SCHEDULES", given)
    # Before any beat has started.
    ran = cli("check")
    assert (ran.code, "nightly" in ran.out, "nope" in ran.out) == (1, True, True)
    with cli.client() as taskdb:
        taskdb.types.discover()
        taskdb.schedules.sync()
    listed = cli("schedule", "list")
    assert (listed.code, "nightly" in listed.out, "nope" in listed.out) == (0, True, True)
    (line,) = cli("schedule", "list", "--json").lines
    assert (line["name"], line["origin"]) == ("nightly", "settings")
    assert "nope" in line["refused"]
    (drift,) = [one for one in cli("doctor", "--json").document["drift"]
        if one["name"] == "schedule_refused"]  # fmt: skip
    assert "nightly (settings)" in drift["examples"][0]
    # Mended, and no beat has started since.
    monkeypatch.setenv("TASKDB_SCHEDULES", "[]")
    assert "restart that beat" in cli("check").out
    with cli.client() as taskdb:
        taskdb.schedules.sync()
    assert cli("check").code == 0
    assert cli("schedule", "list", "--json").lines == []
