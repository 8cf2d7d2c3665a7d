"""The commands of the Kubernetes manifests, run by two releases: an upgrade, and `rollout undo`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.processes import Processes, RunningProcess
from tests.releases import REPOSITORY, Release
from tests.repository.test_kubernetes import OVERLAYS, pods
from tests.servers import PostgreSQL

WAITING = ("taskdb-worker", "taskdb-beat")


class Cluster:
    """Runs containers of one overlay, each with the packages of a release, on one database."""

    def __init__(self, processes: Processes, folder: str, url: str) -> None:
        self._processes = processes
        self._pods = pods(folder)
        self._url = url

    def migrates(self, release: Release) -> RunningProcess:
        """Start the container of the migration Job."""
        (container,) = self._pods["taskdb-migrate"]["spec"]["containers"]
        return self._start(release, container)

    def waits(self, release: Release, deployment: str) -> RunningProcess:
        """Start the init container of a Deployment."""
        (container,) = self._pods[deployment]["spec"]["initContainers"]
        return self._start(release, container)

    def _start(self, release: Release, container: dict[str, Any]) -> RunningProcess:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {**release.env, "PATH": path, "TASKDB_DATABASE_URL": self._url}
        entrypoint = str(REPOSITORY / "deploy/entrypoint")
        return self._processes("sh", entrypoint, *container["args"], env=env)


ONE = pytest.mark.parametrize("cluster", OVERLAYS[:1], indirect=True)
"""Both overlays have the same Job and the same pods that wait; one shows what they do."""
pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(params=OVERLAYS)
def cluster(
    request: pytest.FixtureRequest, processes: Processes, own_postgresql: PostgreSQL
) -> Cluster:
    with own_postgresql.unhindered("postgres") as connection:
        for role in ("taskdb", "taskdb_reader"):
            connection.execute(f"CREATE ROLE {role} LOGIN")
    return Cluster(processes, request.param, own_postgresql.url)


def test_pods_of_the_old_release_come_up_on_the_new_schema(
    cluster: Cluster, tmp_path: Path
) -> None:
    old = Release(REPOSITORY)
    new = old.next(tmp_path / "next")
    assert cluster.migrates(new).wait(60) == 0
    for release in (new, old):
        waiting = [cluster.waits(release, name) for name in WAITING]
        assert [one.wait(60) for one in waiting] == [0, 0]
    again = cluster.migrates(old)
    assert again.wait(60) == 0
    assert "nothing to do: the database is at revision 0900" in again.output


@ONE
def test_pods_of_the_new_release_wait_until_the_job_is_done(
    cluster: Cluster, tmp_path: Path
) -> None:
    new = Release(REPOSITORY).next(tmp_path / "next")
    waiting = [cluster.waits(new, name) for name in WAITING]
    for one in waiting:
        one.wait_for_output("run `taskdb migrate`", 60)
    assert cluster.migrates(new).wait(60) == 0
    assert [one.wait(60) for one in waiting] == [0, 0]


@ONE
def test_pods_of_a_release_that_cannot_live_with_the_schema_say_so_and_do_not_start(
    cluster: Cluster, tmp_path: Path
) -> None:
    old = Release(REPOSITORY)
    new = old.next(tmp_path / "next", oldest_code="0900")
    assert cluster.migrates(new).wait(60) == 0
    waiting = cluster.waits(old, WAITING[0])
    waiting.wait_for_output("upgrade celery-taskdb to the release that migrated it", 60)
    assert waiting.is_running
    assert cluster.migrates(old).wait(60) == 5
