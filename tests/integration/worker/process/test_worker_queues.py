"""Which queues a worker consumes, and what becomes of a type that it does not have."""

from pathlib import Path

import pytest
from tests.integration.worker_site import COMBINATIONS, site_of
from tests.waiting import wait_until

from taskdb import Registry, Settings, TaskDB, task
from taskdb_worker import create_app


def test_a_worker_consumes_the_default_queue_and_those_its_types_name(tmp_path: Path) -> None:
    registry = Registry()
    task("report", queue="reports", registry=registry)(lambda: None)
    task("mail", registry=registry)(lambda: None)
    settings = Settings.load({"TASKDB_DATA_DIR": str(tmp_path), "TASKDB_DEFAULT_QUEUE": "work"})

    with TaskDB(settings, registry=registry) as taskdb:
        queues = create_app(taskdb=taskdb, as_current=False).amqp.queues

    assert set(queues.consume_from) == {"work", "reports"}


def test_a_worker_told_its_queues_consumes_only_those(tmp_path: Path) -> None:
    registry = Registry()
    task("report", queue="reports", registry=registry)(lambda: None)
    settings = Settings.load({"TASKDB_DATA_DIR": str(tmp_path)})

    with TaskDB(settings, registry=registry) as taskdb:
        queues = create_app(taskdb=taskdb, as_current=False).amqp.queues
        queues.select("reports")  # what Celery does with -Q

    assert set(queues.consume_from) == {"reports"}


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_a_task_of_an_unknown_type_runs_once_a_worker_with_the_type_appears(
    combination: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with site_of(combination, request, tmp_path_factory, unregistered_limit=1_000) as site:
        site.start_beat()
        old_release = site.start_worker("-c", "1", env={"TASKDB_TASK_MODULES": ""})
        task_id = site.submit("ends.returns").id
        sql = "SELECT unregistered FROM taskdb_task WHERE id = :id"
        wait_until(lambda: site.query(sql, id=task_id)[0]["unregistered"] >= 2)
        assert not site.runs(task_id)

        old_release.terminate()
        site.start_worker("-c", "1")

        entity = site.settled(task_id)
        assert (entity.status, entity.attempt, entity.spared) == ("COMPLETED", 1, 0)
        assert len(site.runs(task_id)) == 1
