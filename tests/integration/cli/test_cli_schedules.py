"""`taskdb schedule …`: each command, its page, and the import from django-celery-beat."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cases import each
from tests.integration.cli_site import REPOSITORY, Site, cli

from taskdb.cli.app import build

__all__ = ["cli"]

PAGE = REPOSITORY / "docs" / "reference" / "command-line.md"
NAMES = [
    "add", "list", "show", "pause", "resume", "run-now", "remove", "preview",
    "import-django-celery-beat",
]  # fmt: skip


@each("name", NAMES)
def test_the_page_of_the_command_line_names_every_option(cli: Site, name: str) -> None:
    shown = set(re.findall(r"--[a-z][a-z-]+", cli("schedule", name, "--help").out))
    assert {"--json", "--debug"} <= shown
    page = PAGE.read_text(encoding="utf-8").split(f"\n## taskdb schedule {name}\n")[1]
    rows = [line for line in page.split("\n## ")[0].splitlines() if line.startswith("| `")]
    written = set(re.findall(r"`(--[a-z][a-z-]+)", "\n".join(rows)))
    assert written == shown - {"--help", "--json", "--debug"}


def test_there_is_no_other_command(cli: Site) -> None:
    groups = {one.name: one.typer_instance for one in build().registered_groups}
    group = groups["schedule"]
    assert group is not None
    assert [one.name for one in group.registered_commands] == NAMES


def test_a_schedule_from_its_making_to_its_end(cli: Site) -> None:
    made = cli(
        "schedule", "add", "nightly", "echo", "--cron", "30 2 * * *", "--timezone",
        "Europe/Berlin", "--input", '{"n": 1}', "--jitter", "5m", "--overlap", "skip", "--json",
    )  # fmt: skip
    assert (made.code, made.document["kind"]) == (0, "cron")
    assert made.document["jitter_seconds"] == 300
    assert cli("schedule", "add", "nightly", "echo", "--every", "1h").code == 2
    assert cli("schedule", "add", "nightly", "echo", "--every", "1h", "--replace").code == 0
    assert "every 1h" in cli("schedule", "list").out
    assert [one["name"] for one in cli("schedule", "list", "--json").lines] == ["nightly"]
    assert "paused" in cli("schedule", "pause", "nightly").out
    ran = cli("schedule", "run-now", "nightly", "--json").document
    assert cli("show", ran["id"]).code == 0
    assert "by hand" in cli("schedule", "show", "nightly").out
    assert cli("schedule", "show", "nightly", "--json").document["runs"][0]["task_id"] == ran["id"]
    assert "next: " in cli("schedule", "resume", "nightly").out
    assert len(cli("schedule", "preview", "nightly", "--json", "--count", "3").document) == 3
    assert cli("schedule", "remove", "nightly").code == 0
    assert cli("schedule", "show", "nightly").code == 3
    assert "taskdb schedule add" in cli("schedule", "list").err


def test_a_schedule_has_a_name_or_the_beginning_of_an_id(cli: Site) -> None:
    made = cli("schedule", "add", "hourly", "echo", "--every", "1h", "--json").document
    assert cli("schedule", "show", made["id"][:6], "--json").document["name"] == "hourly"
    # A name has precedence.
    cli("schedule", "add", made["id"][:6], "echo", "--every", "1d")
    assert cli("schedule", "show", made["id"][:6], "--json").document["name"] == made["id"][:6]


def test_a_preview_needs_no_schedule(cli: Site) -> None:
    ran = cli("schedule", "preview", "--cron", "0 9 * * mon", "--json", "--count", "1")
    assert ran.document[0].endswith("T09:00:00+00:00")
    assert cli("schedule", "preview", "--cron", "0 9 * *").code == 2
    assert cli("schedule", "preview").code == 2


def test_what_is_wrong_is_told_with_its_field(cli: Site) -> None:
    ran = cli("schedule", "add", "x", "echo", "--cron", "99 * * * *", "--json")
    assert (ran.code, ran.error["faults"][0]["path"]) == (2, "cron")
    assert cli("schedule", "add", "x", "nope", "--every", "60").code == 2


def test_another_tenant_does_not_see_it(cli: Site) -> None:
    cli("schedule", "add", "x", "echo", "--every", "60", "--tenant", "acme")
    assert cli("schedule", "show", "x", "--tenant", "globex").code == 3
    assert cli("schedule", "show", "x", "--tenant", "acme").code == 0


TABLES = """
CREATE TABLE django_celery_beat_crontabschedule (id INTEGER, minute TEXT, hour TEXT,
    day_of_week TEXT, day_of_month TEXT, month_of_year TEXT, timezone TEXT);
CREATE TABLE django_celery_beat_intervalschedule (id INTEGER, every INTEGER, period TEXT);
CREATE TABLE django_celery_beat_clockedschedule (id INTEGER, clocked_time TEXT);
CREATE TABLE django_celery_beat_periodictask (id INTEGER, name TEXT, task TEXT,
    crontab_id INTEGER, interval_id INTEGER, clocked_id INTEGER, solar_id INTEGER,
    args TEXT DEFAULT '[]', kwargs TEXT DEFAULT '{}', queue TEXT, priority INTEGER,
    enabled BOOLEAN DEFAULT 1, one_off BOOLEAN DEFAULT 0, start_time TEXT, expires TEXT,
    expire_seconds INTEGER);
INSERT INTO django_celery_beat_crontabschedule VALUES
    (1, '30', '2', '*', '*', '*', 'Europe/Berlin');
INSERT INTO django_celery_beat_intervalschedule VALUES (1, 2, 'hours'), (2, 5, 'microseconds');
INSERT INTO django_celery_beat_clockedschedule VALUES (1, '2031-05-05 10:00:00');
INSERT INTO django_celery_beat_periodictask (id, name, task, crontab_id, kwargs, queue) VALUES
    (1, 'cron', 'echo', 1, '{"n": 1}', 'slow');
INSERT INTO django_celery_beat_periodictask
    (id, name, task, interval_id, enabled, expires, expire_seconds) VALUES
    (2, 'interval', 'echo', 1, 0, '2032-01-01 00:00:00', 60);
INSERT INTO django_celery_beat_periodictask (id, name, task, clocked_id, one_off) VALUES
    (3, 'clocked', 'echo', 1, 1);
INSERT INTO django_celery_beat_periodictask (id, name, task, crontab_id, one_off) VALUES
    (4, 'next time', 'echo', 1, 1);
INSERT INTO django_celery_beat_periodictask (id, name, task, solar_id) VALUES
    (5, 'sun', 'echo', 1);
INSERT INTO django_celery_beat_periodictask (id, name, task, interval_id, args) VALUES
    (6, 'positional', 'echo', 1, '[1]');
INSERT INTO django_celery_beat_periodictask (id, name, task, interval_id) VALUES
    (7, 'unknown', 'celery.backend_cleanup', 1), (8, 'too often', 'echo', 2);
"""


def test_schedules_of_django_celery_beat_are_imported_or_told_why_not(
    cli: Site, tmp_path: Path
) -> None:
    path = tmp_path / "django.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    words = ("schedule", "import-django-celery-beat", f"sqlite:///{path}", "--json")
    dry = cli(*words, "--dry-run")
    assert cli("schedule", "list", "--json").lines == []
    ran = cli(*words)
    assert (ran.code, ran.lines) == (1, dry.lines)
    reasons = {line["name"]: line["reason"] for line in ran.lines if line["reason"]}
    assert reasons.keys() == {"sun", "positional", "unknown", "too often"}
    assert "solar" in reasons["sun"]
    assert "positional arguments" in reasons["positional"]
    found = {one["name"]: one for one in cli("schedule", "list", "--json").lines}
    assert (found["cron"]["cron"], found["cron"]["timezone"]) == ("30 2 * * *", "Europe/Berlin")
    assert (found["cron"]["queue"], found["cron"]["input"]) == ("slow", {"n": 1})
    assert found["interval"]["every_seconds"] == 7_200
    assert found["interval"]["ends_at"] == "2032-01-01T00:00:00+00:00"
    assert not found["interval"]["is_enabled"]
    assert found["clocked"]["at"] == "2031-05-05T10:00:00+00:00"
    assert found["next time"]["kind"] == "once"
    again = cli(*words)
    assert sum(" exists: " in (line["reason"] or "") for line in again.lines) == 4


def test_a_database_without_its_tables_is_told(cli: Site, tmp_path: Path) -> None:
    empty = cli("schedule", "import-django-celery-beat", f"sqlite:///{tmp_path / 'empty'}")
    assert (empty.code, "no table" in empty.err) == (2, True)
    assert cli("schedule", "import-django-celery-beat", "nonsense").code == 2
