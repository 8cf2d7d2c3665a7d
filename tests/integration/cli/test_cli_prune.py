"""`taskdb prune`: what would go, what went, and what stays."""

import pytest
from tests.integration.cli_site import Site, cli

from taskdb.model.status import TaskStatus

__all__ = ["cli"]


def submit_old(cli: Site, days: int) -> str:
    """A task that was canceled so long ago."""
    task_id = cli.submit("echo")
    with cli.client() as taskdb:
        taskdb.cancel_task(task_id)
        moment = taskdb.store.database.dialect.later("-:seconds")
        taskdb.store.database.query(
            f"UPDATE taskdb_task SET created_at = {moment}, ended_at = {moment} WHERE id = :id",
            {"seconds": days * 86_400.0, "id": task_id},
        )
    return task_id


def test_what_is_over_for_long_is_foretold_archived_and_pruned(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_old(cli, 31)
    young = submit_old(cli, 8)
    monkeypatch.setenv("TASKDB_ARCHIVE_DIR", "archive")
    said = cli("prune", "--dry-run")
    assert said.out == "1 task would go (1 CANCELED), sub-tasks not counted\n"
    assert cli("prune", "--dry-run", "--json").document == {
        "tasks": 1,
        "by_status": {"CANCELED": 1},
    }
    assert cli("prune", "--json").document == {
        "tasks": 1,
        "rows": 1,
        "workers": 0,
        "schedule_runs": 0,
        "partitions": 0,
        "payloads": 0,
    }
    (file,) = (cli.folder / "archive").iterdir()
    assert len(file.read_text().splitlines()) == 1
    assert cli.status(young) is TaskStatus.CANCELED
    monkeypatch.setenv("TASKDB_RETENTION", '[{"type": "echo", "keep": "1w"}]')
    said = cli("prune")
    assert said.out.startswith(
        "pruned 1 task (rows with sub-tasks: 1)\nswept up rows of workers: 0;"
    )
    assert cli("show", young).code == 3


def test_a_wrong_rule_is_told_before_anything_is_done(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_RETENTION", '[{"keep": "30"}]')
    ran = cli("prune")
    assert ran.code == 2
    assert "TASKDB_RETENTION: rule 1: keep '30' is neither a time" in ran.err
