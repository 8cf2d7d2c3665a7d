"""A cancel ends the run that it was meant for, however late the worker comes to that."""

import pytest
from tests.integration.worker_site import COMBINATIONS, MODULE, site_of
from tests.waiting import wait_until

C, S, DONE = "CREATED", "STARTED", "COMPLETED"


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_a_task_that_was_retried_meanwhile_is_not_ended(
    combination: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    modules = f"{MODULE},tests.integration.worker.run.worker_late"
    with site_of(combination, request, tmp_path_factory, task_modules=modules) as site:
        site.start_worker("-c", "1")
        site.start_beat()
        task_id = site.submit("ends.waits").id
        site.wait_for_run(task_id)
        site.client.cancel_task(task_id)
        wait_until((site.folder / "wished").exists)
        site.let_go(task_id)
        assert site.settled(task_id).status == DONE

        (site.folder / f"go-{task_id}").unlink()
        site.client.retry_task(task_id)
        wait_until(lambda: len(site.runs(task_id)) == 2)
        site.wait_for(task_id, S)
        (site.folder / "end-it").touch()
        wait_until((site.folder / "looked").exists)
        site.let_go(task_id)

        assert site.settled(task_id).status == DONE
        assert site.moves(task_id) == [C, S, DONE, C, S, DONE]
