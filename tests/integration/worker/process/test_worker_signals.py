"""What the receivers cost, that there is one each, and that they leave other tasks alone."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.worker_site import (
    COMBINATIONS,
    MODULE,
    Site,
    postgresql_and_redis,
    site_of,
)
from tests.servers import PostgreSQL, Redis
from tests.waiting import wait_until

TASKS = 20
_STATEMENT = re.compile(r"\[(\d+)\] (\S+) taskdb LOG:  (?:statement|execute [^:]*): (.{0,60})")


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    modules = f"{MODULE},tests.integration.worker.process.worker_foreign"
    with site_of(request.param, request, tmp_path_factory, task_modules=modules) as site:
        site.start_worker("-c", "1")
        yield site


def send(site: Site, name: str, file: str, *arguments: object) -> Path:
    """Send a plain task; the file that it writes."""
    site.celery.send_task(
        name, args=[file, *arguments], queue=site.settings.default_queue, retry=False
    )
    return site.folder / file


def test_a_plain_celery_task_is_not_touched(site: Site) -> None:
    added = send(site, "foreign.adds", "added", 4)
    raised = send(site, "foreign.raises", "raised")
    retried = send(site, "foreign.retries", "retried")
    unknown = send(site, "foreign.unknown", "unknown")
    wait_until(lambda: retried.exists() and retried.read_text() == "xx")
    tracked = site.settled(site.submit("ends.returns").id)

    assert (added.read_text(), raised.exists(), unknown.exists()) == ("5", True, False)
    assert tracked.status == "COMPLETED"
    rows = site.query("SELECT id, status FROM taskdb_task")
    assert [str(row["id"]) for row in rows] == [tracked.id]
    output = site.workers[0].output
    assert "Signal handler" not in output and "taskdb." not in "".join(
        line for line in output.splitlines() if "[error" in line
    )


def test_each_signal_has_one_receiver_in_a_pool_process(site: Site) -> None:
    path = send(site, "foreign.counts_receivers", "counts")
    wait_until(lambda: path.exists() and path.read_text())

    counts = json.loads(path.read_text())
    ours = {"prerun", "success", "failure", "retry", "revoked", "unknown", "rejected"}
    assert counts == {name: int(name in ours) for name in counts}


def test_a_run_that_succeeds_costs_the_worker_two_statements(
    postgresql_server: PostgreSQL, redis_server: Redis, tmp_path: Path
) -> None:
    with postgresql_and_redis(postgresql_server, redis_server, tmp_path) as site:
        name = site.settings.store_url.rpartition("/")[2]
        site.query(f"ALTER DATABASE {name} SET log_statement = 'all'")
        site.client.store.close()
        site.start_worker("-c", "1")
        # The pool process opens its connection, and looks at the schema, with its first task.
        site.settled(site.submit("ends.returns").id)
        before = len(postgresql_server.log)
        ids = [entity.id for entity in site.client.submit_many("ends.returns", [None] * TASKS)]
        for task_id in ids:
            site.settled(task_id)
        log = postgresql_server.log[before:]

    statements = [found for found in _STATEMENT.findall(log) if found[1] == name]
    [child] = {pid for pid, _, _ in statements} & claimers(log, name)
    costs = Counter(words.split()[0] for pid, _, words in statements if pid == child)
    assert costs == {"WITH": 2 * TASKS}, costs


def claimers(log: str, name: str) -> set[str]:
    """The backends that claimed something."""
    return {
        found.group(1)
        for line in log.splitlines()
        if (found := re.search(rf"\[(\d+)\] {name} taskdb LOG: ", line))
        and "SET status = 'STARTED'" in line
    }
