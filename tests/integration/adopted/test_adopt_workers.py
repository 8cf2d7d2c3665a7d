"""Workers of an adopted app that die, hang or lose their database; pools; brief publishers."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.adopted.adopted_site import Adopted, project, tracked_store
from tests.servers import PostgreSQL, Redis
from tests.waiting import wait_until

from taskdb import Settings, TaskDB
from taskdb.model.status import TaskStatus as S
from taskdb.store.engine.migrations.migrate import migrate
from taskdb_beat.loops.rescue import Rescue


@pytest.fixture
def adopted(
    postgresql_server: PostgreSQL, redis_server: Redis, tmp_path: Path
) -> Iterator[Adopted]:
    with (
        tracked_store(postgresql_server) as store,
        project(tmp_path, redis_server, store=store) as found,
    ):
        yield found


def test_what_a_killed_worker_ran_is_marked_by_whoever_lives(adopted: Adopted) -> None:
    doomed = adopted.start_worker("-P", "solo", queues="other", ready=False)
    witness = adopted.start_worker("-P", "threads", "-c", "2", queues="third", ready=False)
    for worker in (doomed, witness):
        worker.wait_for_output(" ready.")
    calls = (
        "sleeps.apply_async((60,), queue='other')\n"
        "late.apply_async((7,), queue='third')\n"
        "shared.apply_async((1,), queue='third')\n"
    )
    assert adopted.run(calls).wait() == 0
    running = adopted.task("sleeps", "STARTED")
    doomed.kill_all()
    lost = adopted.task("sleeps", "FAILED")
    assert lost.error is not None
    assert lost.error.type == "WorkerLost"
    assert str(running.worker).partition("/")[0] in lost.error.message
    # The pool of threads has seen its own, and a publisher that ended at once what it published.
    for name in ("late", "shared"):
        done = adopted.task(name, "COMPLETED")
        # Who published may have told of it last.
        told = [status for status in adopted.history(done) if status != "QUEUED"]
        assert told == ["CREATED", "STARTED", "COMPLETED"]
        assert done.queued_at is not None
        assert done.worker is not None
        assert done.worker != running.worker
    assert "adopted_task.lost" in witness.output
    why = adopted.taskdb.explain_task(lost.id)
    assert why.cause == "failed"
    assert "in its own Celery app" in why.advice


def test_a_worker_that_is_stopped_for_long_is_corrected_when_it_goes_on(adopted: Adopted) -> None:
    worker = adopted.start_worker("-c", "1")
    assert adopted.run("waits.delay()").wait() == 0
    task = adopted.task("waits", "STARTED")
    for child in (*worker.children,):
        child.suspend()
    worker.signal(signal.SIGSTOP)
    settings = adopted.taskdb.settings
    rescue = Rescue(settings, adopted.taskdb.store)

    def is_lost() -> bool:
        rescue.run_once()
        return adopted.taskdb.get_task(task.id).status is S.FAILED

    wait_until(is_lost)
    for child in (*worker.children,):
        child.resume()
    worker.signal(signal.SIGCONT)
    assert adopted.run("notes.set('go', 1)").wait() == 0
    done = adopted.task("waits", "COMPLETED")
    assert done.error is None
    assert adopted.history(done)[-4:] == ["FAILED", "CREATED", "STARTED", "COMPLETED"]
    assert worker.terminate() == 0
    (record,) = adopted.taskdb.store.database.query("SELECT * FROM taskdb_worker", {})
    assert record["stopped_at"] is not None


def test_an_outage_of_the_database_is_not_noticed_and_is_made_up_for(
    own_postgresql: PostgreSQL, redis_server: Redis, tmp_path: Path
) -> None:
    migrate(own_postgresql.url)
    with project(tmp_path, redis_server, store=own_postgresql.url) as adopted:
        worker = adopted.start_worker("-c", "1")
        assert adopted.run("assert shared.delay(0).get(timeout=10) == 1").wait() == 0
        adopted.task("shared", "COMPLETED")
        own_postgresql.stop()
        code = "assert [shared.delay(n).get(timeout=10) for n in range(1, 40)][-1] == 40"
        assert adopted.run(code).wait() == 0
        worker.wait_for_output("adopted_report.delayed")
        own_postgresql.start()
        wait_until(lambda: len(adopted.tasks(status="COMPLETED")) == 40, 20)
        assert worker.terminate() == 0
        assert "adopted_report.dropped" not in worker.output


def test_a_program_without_tables_says_so_and_goes_on(
    postgresql_server: PostgreSQL, redis_server: Redis, tmp_path: Path
) -> None:
    name = "adopted_without_tables"
    url = postgresql_server.create_database(name)
    try:
        with project(tmp_path, redis_server, store=url) as adopted:
            program = adopted.run("import logging; logging.basicConfig(); add.delay(1, 2)")
            assert program.wait() == 0
            assert "taskdb migrate" in program.output
    finally:
        postgresql_server.drop_database(name)


def test_settings_that_are_wrong_are_told_where_the_app_is_made(
    redis_server: Redis, tmp_path: Path
) -> None:
    with project(tmp_path, redis_server, store=f"sqlite:///{tmp_path}/x") as adopted:
        program = adopted.run("", TASKDB_NONSENSE="1")
        assert program.wait() == 1
        assert "TASKDB_NONSENSE" in program.output


def test_the_default_store_makes_its_own_file(tmp_path: Path, redis_server: Redis) -> None:
    with project(tmp_path, redis_server) as adopted:
        program = adopted.run(
            "add.delay(1, 2)", ADOPTED_TRACK="1", TASKDB_DATA_DIR=str(tmp_path / "data")
        )
        assert program.wait() == 0, program.output
    with TaskDB(Settings.load({"TASKDB_DATA_DIR": str(tmp_path / "data")})) as taskdb:
        (row,) = taskdb.list_tasks()
        assert (row.type, row.status) == ("adopted.add", S.QUEUED)
