"""Adopted tasks on the command line, and the imports of what other packages have kept."""

import base64
import json
import pickle
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli_site import REPOSITORY, Site, cli

from taskdb.cli.database.django_celery_results import NOT_JSON
from taskdb.model.adopted import AdoptedReport, ReportKind
from taskdb.model.entity import TaskError
from taskdb.model.reference import adopted_id
from taskdb.model.status import TaskStatus as S

__all__ = ["cli"]

PAGE = REPOSITORY / "docs" / "reference" / "command-line.md"
TABLE = """
CREATE TABLE django_celery_results_taskresult (id INTEGER PRIMARY KEY, task_id TEXT UNIQUE,
    periodic_task_name TEXT, task_name TEXT, task_args TEXT, task_kwargs TEXT, status TEXT,
    worker TEXT, content_type TEXT, content_encoding TEXT, result TEXT, date_created TEXT,
    date_started TEXT, date_done TEXT, traceback TEXT, meta TEXT)
"""
OLD = "CREATE TABLE django_celery_results_taskresult (id INTEGER PRIMARY KEY, task_id TEXT,\
 status TEXT, result TEXT, date_done TEXT, traceback TEXT, task_name TEXT, task_args TEXT,\
 task_kwargs TEXT)"
UUID = "0bf1c1b7-4ec2-4f5c-9a53-9f2b3b4c6d7e"
ROWS: tuple[dict[str, Any], ...] = (
    {
        "task_id": UUID,
        "task_name": "shop.pack",
        "task_args": json.dumps("(4711,)"),
        "task_kwargs": json.dumps("{'password': 'hunter2'}"),
        "status": "SUCCESS",
        "worker": "celery@shop",
        "result": '{"parcels": 2}',
        "date_created": "2026-05-01 10:00:00.250000",
        "date_started": "2026-05-01 10:00:01",
        "date_done": "2026-05-01 10:00:03",
    },
    {
        "task_id": "order/4712",
        "task_name": "shop.pack",
        "status": "FAILURE",
        "result": '{"exc_type": "OSError", "exc_message": ["no paper"], "exc_module": "builtins"}',
        "traceback": "Traceback ...",
        "date_created": "2026-05-01 10:00:00",
        "date_done": "2026-05-01 10:00:09",
    },
    {"task_id": "a", "task_name": None, "status": "REVOKED", "result": "not JSON"},
    {"task_id": "b", "task_name": "shop.pack", "status": "STARTED"},
    {"task_id": "c", "task_name": "shop.pack", "status": "RETRY"},
)


@pytest.fixture
def results(tmp_path: Path) -> str:
    path = tmp_path / "django.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(TABLE)
        for row in ROWS:
            given = {"date_created": "2026-05-02", "date_done": "2026-05-02 01:00:00", **row}
            names = ", ".join(given)
            marks = ", ".join("?" * len(given))
            connection.execute(
                f"INSERT INTO django_celery_results_taskresult ({names}) VALUES ({marks})",
                list(given.values()),
            )
    return f"sqlite:///{path}"


def test_results_become_adopted_tasks_with_their_moments(cli: Site, results: str) -> None:
    words = ("import", "django-celery-results", results, "--json")
    dry = cli(*words, "--dry-run").document
    assert (dry["imported"], dry["not_ended"], dry["dry_run"]) == (3, 2, True)
    assert cli("list", "--json").lines == []
    ran = cli(*words).document
    assert (ran["imported"], ran["already_here"], ran["not_ended"]) == (3, 0, 2)
    good = cli("show", UUID, "--json", "--history").document
    assert (good["status"], good["is_adopted"], good["type"]) == ("COMPLETED", True, "shop.pack")
    assert good["created_at"] == "2026-05-01T10:00:00.250000+00:00"
    assert good["started_at"] == "2026-05-01T10:00:01+00:00"
    assert good["ended_at"] == "2026-05-01T10:00:03+00:00"
    assert good["result"] == {"parcels": 2}
    assert good["input"]["args"] == "(4711,)"
    assert "hunter2" not in json.dumps(good)
    (event,) = good["history"]
    assert (event["to_status"], "django-celery-results" in event["detail"]["reason"]) == (
        "CREATED",
        True,
    )
    bad = cli("show", "order/4712", "--json").document
    assert (bad["id"], bad["status"]) == (adopted_id("order/4712"), "FAILED")
    assert (bad["error"]["type"], bad["error"]["message"]) == ("OSError", "no paper")
    assert bad["error"]["traceback"] == "Traceback ..."
    assert cli("show", "a", "--json").document["status"] == "CANCELED"


def test_results_may_be_imported_again_and_again(cli: Site, results: str) -> None:
    assert cli("import", "django-celery-results", results).code == 0
    dry = cli("import", "django-celery-results", results, "--dry-run")
    assert "0 could be imported, 3 were here already" in dry.out
    path = results.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE django_celery_results_taskresult SET status = 'SUCCESS'")
    again = cli("import", "django-celery-results", results)
    assert "2 imported, 3 were here already" in again.out
    assert "TASKDB_RETENTION" in again.err
    assert cli("show", "order/4712", "--json").document["status"] == "FAILED"
    assert len(cli("list", "--adopted", "--json").lines) == 5


@pytest.mark.parametrize("kind", ["application/x-python-serialize", "application/x-yaml", "json"])
def test_what_is_not_json_is_left_out_with_a_note(cli: Site, tmp_path: Path, kind: str) -> None:
    pickled = base64.b64encode(pickle.dumps({"password": "hunter2"})).decode()
    written = pickled if "yaml" not in kind else "password: hunter2"
    path = tmp_path / "django.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(TABLE)
        connection.executemany(
            "INSERT INTO django_celery_results_taskresult (task_id, task_name, task_args,"
            " task_kwargs, status, content_type, result, traceback, date_created, date_done)"
            " VALUES (?, 'shop.pack', ?, ?, ?, ?, ?, ?, '2026-05-02', '2026-05-02 01:00:00')",
            [
                ("good", written, json.dumps(pickled), "SUCCESS", kind, written, None),
                ("bad", written, written, "FAILURE", kind, written, "f(password='hunter2')"),
            ],
        )
    ran = cli("import", "django-celery-results", f"sqlite:///{path}", "--json").document
    assert (ran["imported"], ran["not_json"]) == (2, 6)
    good = cli("show", adopted_id("good"), "--json", "--full").document
    assert good["input"] == {"args": NOT_JSON, "kwargs": NOT_JSON}
    assert good["result"] == NOT_JSON
    bad = cli("show", adopted_id("bad"), "--json", "--full").document
    assert bad["error"]["message"] == NOT_JSON
    assert not {"hunter2", pickled} & set(json.dumps([good, bad]).split('"'))
    assert "hunter2" not in json.dumps([good, bad])


def test_results_of_an_older_release_have_fewer_columns(cli: Site, tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(OLD)
        connection.executemany(
            "INSERT INTO django_celery_results_taskresult (task_id, status, date_done)"
            " VALUES (?, 'SUCCESS', '2026-05-02 01:00:00')",
            [(f"{number:032x}",) for number in range(1_234)],
        )
    ran = cli("import", "django-celery-results", f"sqlite:///{path}", "--tenant", "acme")
    assert "1,234 imported" in ran.out
    assert len(cli("list", "--tenant", "acme", "--json", "--limit", "1000").lines) == 1_000


def test_what_is_no_database_of_results_is_told(cli: Site, tmp_path: Path) -> None:
    empty = cli("import", "django-celery-results", f"sqlite:///{tmp_path / 'empty'}")
    assert (empty.code, "no table" in empty.err) == (2, True)
    for url, said in (
        ("nonsense", "write postgresql://USER@HOST/NAME"),
        ("postgres://u:hunter2@host:port/name", "the port as a number"),
        ("mysql://host/name", "its driver is not installed here: MySQLdb"),
        ("'sqlite:///file'", "remove the quotes"),
    ):
        ran = cli("import", "django-celery-results", url)
        assert (ran.code, said in ran.err, "hunter2" in ran.err) == (2, True, False), ran.err
    away = cli("import", "django-celery-results", "postgres://u:hunter2@127.0.0.1:1/name")
    assert (away.code, "hunter2" in away.err) == (5, False)
    assert cli("import", "django-celery-beat", "nonsense").code == 2


@pytest.mark.parametrize("name", ["django-celery-beat", "django-celery-results"])
def test_the_page_of_the_command_line_names_every_option(cli: Site, name: str) -> None:
    shown = set(re.findall(r"--[a-z][a-z-]+", cli("import", name, "--help").out))
    page = PAGE.read_text(encoding="utf-8").split(f"\n## taskdb import {name}\n")[1]
    rows = [line for line in page.split("\n## ")[0].splitlines() if line.startswith("| `")]
    written = set(re.findall(r"`(--[a-z][a-z-]+)", "\n".join(rows)))
    assert written == shown - {"--help", "--json", "--debug"}


def seen(cli: Site, task_id: str, *statuses: S) -> str:
    """An adopted task that was seen in these statuses."""
    at = datetime.now(UTC) - timedelta(minutes=1)
    first = AdoptedReport(
        id=adopted_id(task_id), kind=ReportKind.PUBLISHED, status=S.QUEUED, at=at, attempt=0,
        type="shop.pack", ran=False, attributes={"celery_id": task_id},
    )  # fmt: skip
    begun = replace(
        first, kind=ReportKind.BEGUN, status=S.STARTED, attempt=1, token="t", worker="w/1"
    )
    error = TaskError("OSError", "no paper")
    found = {
        S.QUEUED: first,
        S.SCHEDULED: replace(first, status=S.SCHEDULED, run_at=at + timedelta(hours=1)),
        S.STARTED: begun,
    }
    sights = [
        found.get(one)
        or replace(
            begun, kind=ReportKind.ENDED, status=one, began_at=at, error=error, run_at=at, ran=True
        )
        for one in statuses
    ]
    with cli.client() as taskdb:
        taskdb.store.adopted.see(sights)
        return taskdb.get_task(task_id).id


@pytest.mark.parametrize(
    ("statuses", "cause", "word"),
    [
        ((S.QUEUED,), "adopted_queued", "no worker has begun it"),
        ((S.SCHEDULED,), "adopted_scheduled", "to run at"),
        (
            (S.QUEUED, S.STARTED, S.ERRORED),
            "adopted_retry",
            "no paper; its Celery app",
        ),
        ((S.QUEUED, S.STARTED), "worker_lost", "marked as lost"),
        ((S.QUEUED, S.STARTED, S.FAILED), "failed", "no paper"),
    ],
)
def test_why_says_what_was_seen_and_who_acts_next(
    cli: Site, statuses: tuple[S, ...], cause: str, word: str
) -> None:
    seen(cli, "order/1", *statuses)
    ran = cli("why", "order/1", "--json").document
    assert ran["cause"] == cause
    assert word in ran["sentence"]
    assert "taskdb retry" not in ran["advice"]
    assert ran["advice"]


def test_cancel_and_retry_say_how_its_own_app_does_it(cli: Site) -> None:
    task_id = seen(cli, "order/1", S.QUEUED, S.STARTED, S.FAILED)
    retried = cli("retry", "order/1")
    assert retried.code == cli("cancel", task_id).code == 6
    assert "app.send_task('shop.pack'" in retried.err
    assert "control revoke order/1" in cli("cancel", task_id).err
    assert cli("retry", task_id, "--json").error["code"] == "TASK_IS_ADOPTED"
    bulk = cli("retry", "--status", "FAILED", "--yes", "--json")
    assert bulk.document == {"retried": 0}
    for words in ((), ("--yes",)):
        told = cli("retry", "--status", "FAILED", *words)
        assert "retried 0 tasks" in told.out
        assert "are adopted: their own Celery app runs them" in told.err
    assert "only watched" in cli("show", "order/1").out
