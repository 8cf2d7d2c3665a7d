"""What a hostile publisher can do to rows through an adopted app, which is only watched."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from kombu import Connection
from sqlalchemy import text
from tests.integration.adopted.adopted_site import Adopted, project, tracked_store
from tests.servers import PostgreSQL, Redis
from tests.waiting import wait_until

from taskdb.client.taskdb import TaskDB

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.fixture(params=["postgresql", "sqlite"])
def adopted(
    request: pytest.FixtureRequest,
    postgresql_server: PostgreSQL,
    redis_server: Redis,
    tmp_path: Path,
) -> Iterator[Adopted]:
    if request.param == "sqlite":
        store = request.getfixturevalue("sqlite_url")
        with project(tmp_path, redis_server, store=store) as found:
            yield found
        return
    with (
        tracked_store(postgresql_server) as store,
        project(tmp_path, redis_server, store=store) as found,
    ):
        yield found


def send(adopted: Adopted, task: str, task_id: Any, args: Any = (), **headers: Any) -> None:
    body = json.dumps([list(args), {}, EMBED])
    with Connection(adopted.env["ADOPTED_BROKER"]) as connection:
        connection.SimpleQueue("celery").producer.publish(
            body,
            content_type="application/json",
            content_encoding="utf-8",
            headers={"id": task_id, "task": task, "lang": "py", **headers},
        )


def row(adopted: Adopted, task_id: str) -> tuple[dict[str, Any], int]:
    """The row as it is, and how many lines of history it has."""
    sql = "SELECT * FROM taskdb_task WHERE CAST(id AS TEXT) = :id"
    lines = "SELECT count(*) FROM taskdb_event WHERE CAST(task_id AS TEXT) = :id"
    with adopted.taskdb.store.database.transaction() as connection:
        (found,) = connection.execute(text(sql), {"id": task_id}).mappings()
        (count,) = connection.execute(text(lines), {"id": task_id}).one()
    return dict(found), int(count)


def goes_on(adopted: Adopted) -> None:
    """The worker has run what was sent before, and has written what it saw."""
    marker = str(uuid4())
    send(adopted, "adopted.add", marker, (1, 2))
    wait_until(lambda: any(one.id == marker for one in adopted.tasks(status="COMPLETED")), 20)


def test_a_message_with_the_id_of_an_owned_row_moves_it_nowhere(adopted: Adopted) -> None:
    worker = adopted.start_worker("-c", "1", queues="celery")
    goes_on(adopted)
    given = {"task_modules": ("tests.integration.hostile_tasks",)}
    with TaskDB(adopted.taskdb.settings.model_copy(update=given)) as taskdb:
        value = {"name": "a"}
        ids = [taskdb.submit_task("public.greet", value, delay=one).id for one in (3600, 7200, 1)]
        taskdb.cancel_task(ids[-1])
    before = [row(adopted, one) for one in ids]
    for one in ids:
        for spelled in (one, one.upper(), f"{{{one}}}", UUID(one).urn, UUID(one).hex):
            send(adopted, "adopted.add", spelled, (1, 2))
            send(adopted, "adopted.fails", spelled, ("x",))
            send(adopted, "public.greet", spelled)
            send(adopted, "adopted.add", spelled, (1, 2), expires="2001-01-01T00:00:00+00:00")
            send(adopted, "adopted.add", spelled, (1, 2), retries=10**12)
            send(adopted, "adopted.retries", spelled, (1,))
    goes_on(adopted)
    assert [row(adopted, one) for one in ids] == before
    assert "adopted_report.failed" not in worker.output


@pytest.mark.parametrize("task_id", [7, True, "x" * 300_000, "\ud800", "a\x00"])
def test_an_id_of_any_shape_makes_no_worker_look_dead(adopted: Adopted, task_id: Any) -> None:
    worker = adopted.start_worker("-c", "2", queues="celery")
    goes_on(adopted)
    real = str(uuid4())
    send(adopted, "adopted.sleeps", task_id, (4,))
    send(adopted, "adopted.sleeps", real, (3,))
    wait_until(
        lambda: any(one.id == real and one.ended_at for one in adopted.tasks()), 20, worker.tail
    )
    assert [str(one.status) for one in adopted.tasks() if one.id == real] == ["COMPLETED"]
    assert "adopted_heartbeat.lost" not in worker.output
    assert "adopted_report.failed" not in worker.output
