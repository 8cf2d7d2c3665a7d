"""`taskdb doctor`: what it finds, what --fix mends, and what it says then."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from taskdb import TaskDB
from taskdb.cli.app import run_command
from taskdb.settings.settings import Settings
from taskdb.store.doctor.disk import held_log
from taskdb.store.doctor.finding import Limits
from taskdb.types.declaration import task
from taskdb.types.registry import Registry


@pytest.fixture
def taskdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskDB]:
    monkeypatch.setenv("TASKDB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TASKDB_PAYLOAD_INLINE_BYTES", "100")
    registry = Registry()
    task("sum", registry=registry)(lambda input: None)
    with TaskDB(Settings.load(), registry=registry) as taskdb:
        taskdb.store.beats.renew("host/1", timedelta(hours=1))
        yield taskdb


def write(taskdb: TaskDB, sql: str, **values: Any) -> None:
    taskdb.store.database.query(sql, values)


def test_it_mends_what_a_beat_would_and_tells_what_is_left(
    taskdb: TaskDB, capsys: pytest.CaptureFixture[str]
) -> None:
    def doctor(*words: str) -> tuple[int, str]:
        return run_command(["doctor", *words]), capsys.readouterr().out

    assert doctor() == (0, "nothing has drifted: rows, broker and workers agree\n")
    rescued, failed = (taskdb.submit_task("sum", {"n": n}, delay=3_600) for n in range(2))
    long_ago = "relay_at = '2001-01-01T00:00:00.000Z', run_at = NULL, status = 'CREATED'"
    write(taskdb, f"UPDATE taskdb_task SET {long_ago}")
    assert taskdb.store.runs.claim(rescued.id, token="t", worker="gone", max_attempts=3).granted

    code, said = doctor("--json")
    found = {one["name"]: one["examples"] for one in json.loads(said)["drift"]}
    assert (code, found) == (1, {"unpublished": [failed.id], "worker_lost": [rescued.id]})

    code, said = doctor("--fix")
    assert "unpublished  1 -> 0" in said and "worker_lost  1 -> 0" in said
    # They are with the broker now, and no worker is there to take them.
    assert code == 1 and "queue_without_consumer  0 -> 1" in said


def test_a_payload_that_is_gone(taskdb: TaskDB, capsys: pytest.CaptureFixture[str]) -> None:
    one = taskdb.submit_task("sum", {"n": "x" * 1_000}, delay=3_600)
    assert run_command(["doctor"]) == 0
    (file,) = taskdb.settings.payload_folder.rglob("*.json")
    file.unlink()
    capsys.readouterr()
    assert run_command(["doctor"]) == 1
    assert f"{one.input_ref}" in capsys.readouterr().out


def test_a_row_that_is_set_aside_is_listed_with_its_reason_and_tried_at_once(
    taskdb: TaskDB, capsys: pytest.CaptureFixture[str]
) -> None:
    one = taskdb.submit_task("sum", {"n": 1})
    write(taskdb, "UPDATE taskdb_task SET deadline_at = '2001-01-01T00:00:00.000Z'")
    write(
        taskdb,
        "CREATE TRIGGER own BEFORE UPDATE ON taskdb_task BEGIN SELECT RAISE(ABORT, 'not allowed');"
        " END",
    )
    run_command(["doctor", "--fix"])
    capsys.readouterr()
    assert run_command(["doctor", "--json"]) == 1
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["drift"]}
    assert any(
        one.id in example and example.startswith("expire ") and "not allowed" in example
        for example in found["set_aside"]["examples"]
    )
    assert "--fix" in found["set_aside"]["advice"]
    write(taskdb, "DROP TRIGGER own")
    run_command(["doctor", "--fix"])
    assert "set_aside" in capsys.readouterr().out
    assert taskdb.get_task(one.id).status == "FAILED"
    assert taskdb.store.aside.listed(10) == []


def found_by(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    run_command(["doctor", "--json", *words])
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["drift"]}


def test_a_beat_that_is_missing_is_said_with_the_next_step(
    taskdb: TaskDB, capsys: pytest.CaptureFixture[str]
) -> None:
    taskdb.submit_task("sum", {"n": 1}, delay=3_600)
    assert run_command(["doctor"]) == 0
    taskdb.store.beats.leave("host/1")
    assert run_command(["doctor"]) == 1
    said = capsys.readouterr()
    assert "beat_missing  1" in said.out
    assert "next: start one: `taskdb beat`" in said.out + said.err


def test_a_disk_that_is_nearly_full_is_listed_for_each_place(
    taskdb: TaskDB, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "disk_low" not in found_by(capsys)
    monkeypatch.setenv("TASKDB_DOCTOR_DISK_FREE_BYTES", str(2**60))
    examples = found_by(capsys)["disk_low"]["examples"]
    assert [one.split(" in ")[0] for one in examples] == ["database", "messages", "payloads"]
    assert all("MiB free of" in one for one in examples)


def test_a_reader_that_keeps_the_log_of_sqlite_from_being_emptied_is_listed(
    taskdb: TaskDB,
) -> None:
    limits = Limits(wal_bytes=1_000_000)
    taskdb.submit_task("sum", {"n": 1}, delay=3_600)
    file = make_url(taskdb.settings.store_url).database or ""

    def change_often() -> None:
        for n in range(300):
            write(taskdb, "UPDATE taskdb_task SET attributes = :text", text=f'{{"n": "{n:09000}"}}')

    change_often()
    assert held_log(taskdb.settings, Limits()) is None
    with closing(sqlite3.connect(file)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM taskdb_task").fetchone()
        change_often()
        found = held_log(taskdb.settings, limits)
    assert found is not None
    assert found.examples[0].startswith(f"database: {file}-wal has ")
