"""Rules with real workers: who must be alone is, who is limited is, and a pause holds messages."""

from collections.abc import Iterator

import pytest
from tests.integration.admission import limit_tasks
from tests.integration.worker_site import MODULE, Site, site_of
from tests.waiting import wait_until

from taskdb import Limit, TaskStatus

TASKS = 50


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Eight processes of two workers, and a beat."""
    modules = f"{MODULE},tests.integration.admission.limit_tasks"
    with site_of("postgresql+redis", request, tmp_path_factory, task_modules=modules) as opened:
        for _ in range(2):
            opened.start_worker("-c", "4", ready=False)
        opened.start_beat()
        yield opened


def test_of_fifty_with_a_mutex_never_two_run_and_they_keep_their_order(site: Site) -> None:
    """Also when the process of one that has the mutex is killed."""
    ids = [
        site.submit("limit.alone", {"number": number}, mutex_key="shared").id
        for number in range(TASKS)
    ]
    for task_id in ids:
        assert site.settled(task_id, 60).status is TaskStatus.COMPLETED
    found = limit_tasks.notes(site.folder)
    assert [one for one in found if one[2] != "alone"] == []
    first_runs = [int(number) for number, attempt, _ in found if attempt == "1"]
    assert first_runs == list(range(TASKS))
    again = [int(number) for number, attempt, _ in found if attempt != "1"]
    assert again == [limit_tasks.KILLED]
    assert site.query("SELECT key FROM taskdb_slot") == []


def test_a_declared_limit_holds_over_all_workers(site: Site) -> None:
    (entity,) = [one for one in site.client.limits.list() if one.name == "limit.few"]
    assert (entity.limit, entity.origin) == (Limit(max_running=2), "code")
    found = site.client.submit_many("limit.few", [{"number": number} for number in range(40)])
    assert {one.held_by for one in found} == {"admission"}
    places = [site.settled(one.id).result for one in found]
    assert set(places) <= {0, 1}


def test_a_pause_holds_messages_that_the_broker_has_already(site: Site) -> None:
    site.client.limits.pause(type="limit.paused", reason="the other side is down")
    # As if the pause had come a moment later: the row is not held, and its message is out.
    task_id = site.insert("limit.paused", "{}")
    wait_until(
        lambda: site.client.get_task(task_id).held_by == "paused:type:limit.paused",
        describe=lambda: str(site.moves(task_id)),
    )
    assert site.client.get_task(task_id).attempt == 0
    assert site.client.limits.resume(type="limit.paused")
    assert site.settled(task_id).result == "ran"
