"""A cluster by pytest-celery with our image: broker restart, scaling, warm and cold shutdown.

Unlike in the compose file, this broker keeps nothing: after a restart all of its messages are gone.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    CeleryWorkerContainer,
    RedisTestBroker,
)
from pytest_docker_tools import container, fxtr
from sqlalchemy import create_engine, text
from tests.compose.site import ROOT, docker, free_port
from tests.waiting import wait_until

from taskdb import TaskDB
from taskdb.settings.settings import Settings
from taskdb.types.registry import import_task_modules

PASSWORD = "of-nobody"
DATABASE = {"POSTGRES_USER": "taskdb", "POSTGRES_DB": "taskdb", "POSTGRES_PASSWORD": PASSWORD}
TASKS = {str(ROOT / "tests/compose"): {"bind": "/app", "mode": "ro"}}


class TaskDBWorker(CeleryWorkerContainer):
    """A worker of our image. It says `ready.` in its log, as every Celery worker does."""

    @classmethod
    def command(cls, *args: str, **_: Any) -> list[str]:
        name = f"{cls.worker_name()}@%h"
        return ["worker", "--concurrency=2", f"--loglevel={cls.log_level()}", "-n", name, *args]


# --- what the cluster is made of ----------------------------------------------------------------

postgres = container(
    image="postgres:17-alpine",
    environment={**DATABASE, "LANG": "C.UTF-8"},
    network="{default_pytest_celery_network.name}",
    ports=fxtr("postgres_ports"),
    timeout=60,
)

default_worker_container = container(
    image="{image}",
    command=fxtr("default_worker_command"),
    environment=fxtr("default_worker_env"),
    volumes=TASKS,
    network="{default_pytest_celery_network.name}",
    wrapper_class=TaskDBWorker,
    read_only=True,
    tmpfs={"/tmp": "mode=1777"},
    timeout=90,
)

second_worker_container = container(
    image="{image}",
    command=fxtr("default_worker_command"),
    environment=fxtr("default_worker_env"),
    volumes=TASKS,
    network="{default_pytest_celery_network.name}",
    wrapper_class=TaskDBWorker,
    timeout=90,
)

beat_container = container(
    image="{image}",
    command=["beat"],
    environment=fxtr("default_worker_env"),
    network="{default_pytest_celery_network.name}",
    timeout=90,
)


@pytest.fixture
def postgres_ports() -> dict[str, int]:
    return {"5432/tcp": free_port()}


@pytest.fixture
def default_redis_broker_image() -> str:
    return "redis:7-alpine"


@pytest.fixture
def default_redis_broker_ports() -> dict[str, int]:
    """One that it still has after a restart."""
    return {"6379/tcp": free_port()}


@pytest.fixture
def celery_broker_cluster(celery_redis_broker: RedisTestBroker) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(celery_redis_broker)


@pytest.fixture
def celery_backend_cluster() -> None:
    """Rows are the results."""


@pytest.fixture
def celery_backend_cluster_config() -> None:
    """No such cluster, no settings of one."""


@pytest.fixture
def default_worker_container_cls() -> type[CeleryWorkerContainer]:
    return TaskDBWorker


@pytest.fixture
def default_worker_env(
    postgres: Any, celery_broker_cluster: CeleryBrokerCluster, image: str, postgres_ports: Any
) -> dict[str, str]:
    """Of every container of ours; the schema is there when the first of them starts."""
    host = postgres.attrs["Config"]["Hostname"]
    environment = {
        "TASKDB_DATABASE_URL": f"postgresql://taskdb:{PASSWORD}@{host}:5432/taskdb",
        "TASKDB_BROKER_URL": celery_broker_cluster.config()["urls"][0],
        "TASKDB_TASK_MODULES": "compose_tasks",
        "TASKDB_WORKER_LEASE_SECONDS": "5",
        "TASKDB_HEARTBEAT_SECONDS": "1",
        "TASKDB_RESCUE_INTERVAL_SECONDS": "1",
        "TASKDB_RECONCILE_INTERVAL_SECONDS": "1",
        # TERM is the warm shutdown here, QUIT the cold one.
        "REMAP_SIGTERM": "",
        "TASKDB_WORKER_SOFT_SHUTDOWN_SECONDS": "0",
    }
    wait_until(
        lambda: postgres.exec_run("pg_isready -h 127.0.0.1 -U taskdb").exit_code == 0, timeout=60
    )
    migrate(image, environment, next(iter(postgres.attrs["NetworkSettings"]["Networks"])))
    return environment


def migrate(image: str, environment: dict[str, str], network: str) -> None:
    docker("run", "--rm", "--network", network, *as_options(environment), image, "migrate")


def as_options(environment: dict[str, str]) -> list[str]:
    return [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]


@pytest.fixture
def celery_worker_cluster(
    celery_worker: CeleryTestWorker, second_worker: CeleryTestWorker, beat_container: Any
) -> Iterator[CeleryWorkerCluster]:
    cluster = CeleryWorkerCluster(celery_worker, second_worker)
    yield cluster
    cluster.teardown()


@pytest.fixture
def second_worker(
    second_worker_container: TaskDBWorker, celery_setup_app: Any
) -> Iterator[CeleryTestWorker]:
    worker = CeleryTestWorker(second_worker_container, app=celery_setup_app)
    yield worker
    worker.teardown()


@pytest.fixture
def client(celery_setup: CeleryTestSetup, postgres_ports: dict[str, int]) -> Iterator[TaskDB]:
    """A client on this machine."""
    import_task_modules(["tests.compose.compose_tasks"])
    url = f"postgresql://taskdb:{PASSWORD}@127.0.0.1:{postgres_ports['5432/tcp']}/taskdb"
    broker = celery_setup.broker_cluster.config()["host_urls"][0]
    with TaskDB(Settings.load({"TASKDB_DATABASE_URL": url, "TASKDB_BROKER_URL": broker})) as taskdb:
        yield taskdb


@pytest.fixture
def rows(
    client: TaskDB, postgres_ports: dict[str, int]
) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    engine = create_engine(client.settings.store_url)

    def ask(sql: str) -> list[dict[str, Any]]:
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(sql)).mappings()]

    yield ask
    engine.dispose()


# --- the tests ----------------------------------------------------------------------------------

Rows = Callable[[str], list[dict[str, Any]]]


def naps(client: TaskDB, count: int, seconds: float = 0.1) -> None:
    client.submit_many("compose.nap", [{"number": n, "seconds": seconds} for n in range(count)])


def counts(rows: Rows) -> dict[str, int]:
    found = rows("SELECT status, count(*) AS n FROM taskdb_task GROUP BY status")
    return {row["status"]: row["n"] for row in found}


def wait_for_all(rows: Rows, count: int, timeout: float = 120) -> None:
    wait_until(
        lambda: counts(rows) == {"COMPLETED": count},
        timeout=timeout,
        describe=lambda: f"{count} COMPLETED, not {counts(rows)}",
    )


def test_a_cluster_shares_the_work_and_survives_a_broker_that_lost_everything(
    celery_setup: CeleryTestSetup, client: TaskDB, rows: Rows
) -> None:
    naps(client, 100)
    wait_until(lambda: counts(rows).get("COMPLETED", 0) >= 10, timeout=60)
    celery_setup.broker.restart()

    wait_for_all(rows, 100)
    found = rows("SELECT worker, max(crashes) AS crashes FROM taskdb_task GROUP BY worker")
    workers = {row["worker"].split("/")[0] for row in found}
    assert workers == {worker.hostname() for worker in celery_setup.worker_cluster}
    assert {row["crashes"] for row in found} == {0}


def test_workers_come_and_go_under_load(
    celery_setup: CeleryTestSetup, client: TaskDB, rows: Rows, image: str,
    default_worker_env: dict[str, str],
) -> None:  # fmt: skip
    total = 0

    def load_reaches(sql: str) -> bool:
        """Whether there is such a row; the queue does not run empty meanwhile."""
        nonlocal total
        if counts(rows).get("QUEUED", 0) < 40:
            naps(client, 60)
            total += 60
        return bool(rows(sql))

    wait_until(
        lambda: load_reaches("SELECT 1 FROM taskdb_task WHERE status = 'COMPLETED' LIMIT 1"), 60
    )
    network = next(iter(celery_setup.worker.container.attrs["NetworkSettings"]["Networks"]))
    third = docker(
        "run", "--detach", "--network", network, *as_options(default_worker_env),
        "--volume", f"{ROOT / 'tests/compose'}:/app:ro", image, "worker", "--concurrency=2",
    ).strip()  # fmt: skip
    try:
        of_third = f"SELECT 1 FROM taskdb_task WHERE worker LIKE '%{third[:12]}%' LIMIT 1"
        wait_until(lambda: load_reaches(of_third), timeout=90)
        # Down again: one in order, one as a machine dies.
        docker("stop", "--time", "30", third)
        load_reaches(of_third)
        celery_setup.worker.kill()
        wait_for_all(rows, total)
    finally:
        docker("rm", "--force", third)
    (dead,) = rows("SELECT count(*) FILTER (WHERE crashes > 0) AS n FROM taskdb_task")
    assert dead["n"] <= 2, "only what the dead worker had in its hands"


def test_a_warm_shutdown_ends_what_runs_and_a_cold_one_hands_it_back(
    celery_setup: CeleryTestSetup, client: TaskDB, rows: Rows
) -> None:
    naps(client, 4, seconds=4)
    wait_until(lambda: counts(rows) == {"STARTED": 4}, timeout=60)
    warm, cold = celery_setup.worker_cluster
    cold.kill(signal="SIGQUIT")
    warm.kill(signal="SIGTERM")
    for worker in (warm, cold):
        assert worker.container._container.wait(timeout=60)["StatusCode"] in {0, 1}

    wait_until(lambda: not {"STARTED", "PROCESSING"} & set(counts(rows)), timeout=30)
    ended = rows("SELECT status, worker, spared FROM taskdb_task ORDER BY status")
    completed = [row for row in ended if row["status"] == "COMPLETED"]
    assert {row["worker"].split("/")[0] for row in completed} == {warm.hostname()}
    assert all(row["spared"] == 1 for row in ended if row["status"] != "COMPLETED")
    assert len(completed) == 2

    warm.restart()
    wait_for_all(rows, 4)
