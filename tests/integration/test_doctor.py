"""`taskdb doctor`: what it finds, what --fix mends, and what it says then."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskdb import TaskDB
from taskdb.cli.app import run_command
from taskdb.settings import Settings
from taskdb.task_type import Registry, task


@pytest.fixture
def taskdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskDB]:
    monkeypatch.setenv("TASKDB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TASKDB_PAYLOAD_INLINE_BYTES", "100")
    registry = Registry()
    task("sum", registry=registry)(lambda input: None)
    with TaskDB(Settings.load(), registry=registry) as taskdb:
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
    write(taskdb, f"UPDATE task SET {long_ago}")
    assert taskdb.store.claim(rescued.id, token="t", worker="gone", max_attempts=3).granted

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
    write(taskdb, "UPDATE task SET deadline_at = '2001-01-01T00:00:00.000Z'")
    write(
        taskdb,
        "CREATE TRIGGER own BEFORE UPDATE ON task BEGIN SELECT RAISE(ABORT, 'not allowed'); END",
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
