"""The demonstration's parts: its file, its tasks, and the comparison that judges it."""

import os
import runpy
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskdb.cli.demo.expectation import Expectation, differences
from taskdb.cli.demo.plan import BAD_ROWS, CUSTOMERS, ROWS, demo_environment, demo_settings
from taskdb.cli.demo.tasks import customer_chunks, customers
from taskdb.model.entity import TaskEntity, TaskError
from taskdb.model.fan_out import Counts
from taskdb.model.outcome import Fail
from taskdb.model.status import TaskStatus
from taskdb.settings.settings import Settings

EXAMPLES = Path(__file__).parents[3] / "examples"
NOW = datetime(2031, 5, 4, tzinfo=UTC)

GOOD = Expectation(
    title="it", status=TaskStatus.COMPLETED, attempts=2, result={"sent": 3},
    delay=timedelta(seconds=2),
)  # fmt: skip
TASK = TaskEntity(
    id="01a1faa9-1f65-7393-a685-77b174b411c9", tenant="", type="it", status=TaskStatus.COMPLETED,
    attempt=3, spared=1, created_at=NOW, updated_at=NOW, started_at=NOW + timedelta(seconds=2),
    inline_result={"sent": 3, "more": 1},
)  # fmt: skip


def test_what_is_as_it_should_be_has_no_difference() -> None:
    assert differences(GOOD, TASK) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": TaskStatus.CANCELED}, "is CANCELED, should be COMPLETED"),
        ({"attempt": 2}, "took 1 attempts, should take 2"),
        ({"inline_result": {"sent": 4}}, "result sent is 4, should be 3"),
        ({"inline_result": None}, "result sent is None, should be 3"),
        ({"started_at": NOW + timedelta(seconds=1.5)}, "began after 1.50 s"),
    ],
)
def test_every_difference_is_named(change: dict[str, Any], words: str) -> None:
    found = differences(GOOD, replace(TASK, **change))
    assert len(found) == 1
    assert found[0].startswith("it: ") and words in found[0]


def test_a_failure_must_be_the_expected_one() -> None:
    expected = Expectation(title="it", status=TaskStatus.FAILED, attempts=2, error="ValueError")
    failed = replace(TASK, status=TaskStatus.FAILED, error=TaskError("builtins.ValueError", "x"))
    assert differences(expected, failed) == []
    other = replace(failed, error=TaskError("a.Other", "x"))
    assert differences(expected, other) == ["it: failed with Other, should fail with ValueError"]
    assert len(differences(expected, replace(failed, error=None))) == 1


def test_parts_must_be_as_many_as_planned_and_all_succeed() -> None:
    split = replace(GOOD, parts=3)
    done = Counts({TaskStatus.COMPLETED: 3})
    assert differences(split, TASK, done) == []
    assert differences(split, TASK) == ["it: has 0 parts, should have 3"]
    bad = Counts({TaskStatus.COMPLETED: 2, TaskStatus.FAILED: 1})
    assert differences(split, TASK, bad) == ["it: 2 of 3 parts succeeded, all should"]


def test_both_imports_of_the_file_reject_the_same_lines() -> None:
    seen: set[int] = set()
    whole = []
    for line, cells in customers.read_lines(CUSTOMERS):
        with suppress(ValueError):
            customers.read_customer(cells, seen)
            continue
        whole.append(line)
    rows = [
        row
        for chunk in customer_chunks.chunks_of(customer_chunks.ImportFile(path=CUSTOMERS))
        for row in chunk.rows
    ]
    assert len(rows) == ROWS
    parted = []
    for row in rows:
        with suppress(ValueError):
            customer_chunks.customer_of(row)
            continue
        parted.append(row.line)
    assert parted == whole


# --- the file -------------------------------------------------------------------------------------


def test_the_script_writes_the_file_that_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "customers.csv"
    script = str(EXAMPLES / "generate_customers.py")
    monkeypatch.setattr(sys, "argv", [script, str(written)])
    runpy.run_path(script, run_name="__main__")
    assert written.read_bytes() == CUSTOMERS.read_bytes()
    assert (EXAMPLES / "customers.csv").read_bytes() == CUSTOMERS.read_bytes()


def test_bad_rows_are_of_six_kinds_and_names_of_many_scripts() -> None:
    seen: set[int] = set()
    reasons, names = [], []
    for _, cells in customers.read_lines(CUSTOMERS):
        try:
            names.append(customers.read_customer(cells, seen).name)
        except ValueError as error:
            reasons.append(customers.reason_of(error))
    assert (len(names) + len(reasons), len(reasons)) == (ROWS, BAD_ROWS)
    for kind in (
        "email is missing", "is not an email", "valid date", "was there before",
        "cells instead of 6", "greater than or equal to 0",
    ):  # fmt: skip
        assert sum(kind in reason for reason in reasons) == 4, kind
    letters = "".join(names)
    assert all(one in letters for one in "üŁİΑШנمअ小さ지ễ🌻'\",")


def test_a_file_with_another_header_fails_the_import(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(Fail, match=r"other\.csv"):
        list(customers.read_lines(file))


# --- the place ------------------------------------------------------------------------------------


def test_the_settings_of_the_user_do_not_reach_the_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", "postgresql://production/db")
    monkeypatch.setenv("TASKDB_BROKER_URL", "redis://production/0")
    monkeypatch.setenv("TASKDB_NONSENSE", "1")
    monkeypatch.setenv("Taskdb_Default_Queue", "mine")
    settings = demo_settings(tmp_path)
    assert settings.store_url == f"sqlite:///{tmp_path / 'data' / 'tasks.sqlite3'}"
    assert settings.is_embedded_store
    environment = demo_environment(os.environ, tmp_path)
    assert environment["PATH"] == os.environ["PATH"]
    assert Settings.load(environment) == settings
