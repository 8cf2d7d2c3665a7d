"""A worker whose main process stands still is taken for dead: it loses its tasks, and takes none.

Its children go on meanwhile. What they then say of a task that was taken back is refused.
"""

import signal
from collections.abc import Iterator

import pytest
from tests.integration.worker.run.worker_stops import STOP
from tests.integration.worker_site import COMBINATIONS, MODULE, Site, site_of
from tests.waiting import wait_until

from taskdb.model.status import TaskStatus

C, S, E, DONE = "CREATED", "STARTED", "ERRORED", "COMPLETED"
OWN = "own"
"""A queue that only the worker which is stopped reads."""


@pytest.fixture(params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    modules = f"{MODULE},tests.integration.worker.run.worker_stops"
    with site_of(
        request.param,
        request,
        tmp_path_factory,
        task_modules=modules,
        worker_lease_seconds=2,
    ) as site:
        site.start_beat(ready=False)
        yield site
        # Stopping in order is proven elsewhere, and takes seconds.
        for process in site.processes.started:
            if process.is_running:
                process.kill_all()


def test_a_worker_that_stands_still_loses_its_task_and_claims_none_until_it_goes_on(
    site: Site,
) -> None:
    queues = f"{site.settings.default_queue},{OWN}"
    stopped = site.start_worker("-c", "2", "-Q", queues, env={STOP: "before the claim"})
    # One child stands before its claim, the other runs a body.
    waiting = site.submit("ends.returns", queue=OWN).id
    wait_until((site.folder / "stopped").exists)
    lost = site.submit("ends.waits_each").id
    assert site.wait_for_run(lost).parent_pid == stopped.pid
    site.wait_for(lost, S)

    stopped.signal(signal.SIGSTOP)
    rescuer = site.start_worker("-c", "1", ready=False)
    assert site.wait_for_run(lost, attempt=2).parent_pid == rescuer.pid
    site.let_go(f"{lost}-1")
    stopped.wait_for_output("outcome.rejected")
    assert site.wait_for(lost, S).attempt == 2
    (site.folder / "go").touch()
    stopped.wait_for_output("claim.paused")
    site.let_go(f"{lost}-2")
    entity = site.settled(lost)
    assert site.moves(waiting) == [C] and not site.runs(waiting)

    stopped.signal(signal.SIGCONT)
    stopped.wait_for_output("claim.resumed")
    for task_id in (waiting, site.submit("ends.returns", queue=OWN).id):
        assert site.settled(task_id).status == DONE
        assert site.moves(task_id) == [C, S, DONE]
        assert [run.parent_pid for run in site.runs(task_id)] == [stopped.pid]
    # The word of the first run reached Celery at last, and changed nothing.
    assert site.moves(lost) == [C, S, E, S, DONE]
    assert (entity.result, entity.attempt, entity.crashes, entity.spared) == (2, 2, 1, 0)
    assert ended(site, lost) == {1: [E], 2: [DONE]}


def ended(site: Site, task_id: str) -> dict[int, list[str]]:
    """How each attempt ended, of those that began."""
    found: dict[int, list[str]] = {}
    for event in site.client.task_history(task_id):
        if event.attempt and event.to_status in {TaskStatus.ERRORED, TaskStatus.COMPLETED}:
            found.setdefault(event.attempt, []).append(str(event.to_status))
    return found
