"""The profile `rabbitmq`: the same site on quorum queues."""

import re
from collections.abc import Iterator

import pytest
from tests.compose.site import ROOT, Site, docker
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def site(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With the lines of the example that choose RabbitMQ, without their #."""
    example = (ROOT / ".env.example").read_text()
    said = example.partition("# RabbitMQ instead of Redis")[2].partition("\n\n")[0]
    chosen = dict(re.findall(r"^#([A-Z_]+)=(.*)$", said, re.MULTILINE))
    assert len(chosen) == 4
    site = Site(tmp_path_factory.mktemp("rabbitmq"), image, **chosen)
    try:
        yield site
    finally:
        site.close()


def test_quorum_queues_carry_the_tasks_and_outlive_the_death_of_the_broker(site: Site) -> None:
    site.up(workers=1)
    site.wait_until_healthy(timeout=180)
    tasks = site.client().submit_many("compose.nap", [{"number": n} for n in range(60)])
    ids = [task.id for task in tasks]
    site.wait_for_some(ids, 4)

    (broker,) = site.containers("rabbitmq")
    listed = docker("exec", broker, "rabbitmqctl", "--quiet", "list_queues", "name", "type")
    assert re.search(r"^taskdb\s+quorum$", listed, re.MULTILINE), listed

    users = docker("exec", broker, "rabbitmqctl", "--quiet", "list_permissions")
    assert re.search(
        r"^flower\s+\^celeryev\.\*\s+\^celeryev\.\*\s+\^celeryev\.\*$", users, re.MULTILINE
    )
    shown = wait_until(lambda: site.flower("/api/tasks"), timeout=60)
    assert set(shown) & set(ids)

    site.kill(broker)
    site.up(workers=1)
    wait_until(lambda: "healthy" in site.states("rabbitmq").values(), timeout=180)
    site.wait_until_completed(ids)
    (counted,) = site.query(
        "SELECT max(attempt - spared) AS runs, max(crashes) AS c FROM taskdb_task"
    )
    assert (counted["runs"], counted["c"]) == (1, 0)
