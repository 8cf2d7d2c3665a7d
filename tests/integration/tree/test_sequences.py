"""Sequences and handlers on real workers; no beat runs, so each next step starts by itself."""

import ast
from collections.abc import Iterator

import pytest
from celery.result import AsyncResult
from tests.integration.tree.fan_site import assert_ran_once, ended, fan_site, story_of
from tests.integration.worker_site import COMBINATIONS, Site

from taskdb.errors import SequenceAlreadyCompleted
from taskdb.model.entity import TaskEntity

DONE, F = "COMPLETED", "FAILED"


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with fan_site(request.param, request, tmp_path_factory) as site:
        site.start_worker("-c", "2")
        yield site


@pytest.fixture
def mended(site: Site) -> Iterator[None]:
    """Steps that would fail do not, from here on; the next test starts anew."""
    yield
    (site.folder / "mended").unlink(missing_ok=True)


def mend(site: Site) -> None:
    (site.folder / "mended").touch()


def steps_of(site: Site, parent_id: str) -> list[TaskEntity]:
    return list(site.client.trees.sub_tasks(parent_id, role="step"))


def handlers_of(site: Site, parent_id: str) -> list[TaskEntity]:
    return list(site.client.trees.sub_tasks(parent_id, role="handler"))


def test_each_step_gets_what_the_one_before_returned(site: Site) -> None:
    task = site.client.submit_sequence("seq.plain", {"number": 1})

    task = ended(site, task.id)
    assert (task.status, task.result) == (DONE, {"number": 20})
    assert site.moves(task.id) == ["CREATED", "PROCESSING", DONE]
    assert [step.name for step in steps_of(site, task.id)] == ["step.adds", "step.needs"]
    assert [step.result for step in steps_of(site, task.id)] == [{"number": 2}, {"number": 20}]
    assert_ran_once(site, task.id)
    progress = site.client.trees.sequence_progress(task.id)
    assert (progress.done, progress.total, progress.current) == (2, 2, None)
    assert AsyncResult(task.id, app=site.client.celery_app).get(timeout=5) == {"number": 20}


def test_handlers_are_run_before_and_behind_the_steps(site: Site) -> None:
    task = site.client.submit_sequence("seq.handled", {"number": 1})

    task = ended(site, task.id)
    assert (task.status, task.result) == (DONE, {"number": 103})
    assert site.moves(task.id) == ["CREATED", "PROCESSING", "FINISHED", DONE]
    assert [one.name for one in handlers_of(site, task.id)] == ["on_start", "on_success"]
    told = (site.folder / "told").read_text().splitlines()
    assert [ast.literal_eval(line) for line in told] == [{"number": 103}]
    assert_ran_once(site, task.id)


def test_a_handler_of_errors_answers_for_the_step_that_failed(site: Site) -> None:
    task = site.client.submit_sequence("seq.consoled", {"number": 3})

    task = ended(site, task.id)
    assert task.status == DONE, story_of(site, task.id)
    assert task.result == {"instead": ["odd", "the need", {"number": 3}]}
    assert [step.status for step in steps_of(site, task.id)] == [F]


@pytest.mark.usefixtures("mended")
def test_a_sequence_that_failed_goes_on_at_its_failed_step(site: Site) -> None:
    task = site.client.submit_sequence("seq.plain", {"number": 2})
    assert ended(site, task.id).status == F
    assert site.client.trees.sequence_progress(task.id).current == "step.needs"
    assert site.alarms(task.id) == 1

    mend(site)
    site.client.retry_task(task.id)
    assert ended(site, task.id).result == {"number": 30}
    assert [len(site.runs(step.id)) for step in steps_of(site, task.id)] == [1, 2]
    with pytest.raises(SequenceAlreadyCompleted):
        site.client.retry_task(task.id)

    site.client.retry_task(task.id, force=True)
    assert ended(site, task.id).result == {"number": 30}
    assert len(steps_of(site, task.id)) == 4


def test_a_step_may_be_a_fan_out_over_what_the_one_before_returned(site: Site) -> None:
    task = site.client.submit_sequence("seq.spread", {"number": 3})

    task = ended(site, task.id)
    assert task.status == DONE, story_of(site, task.id)
    assert task.result == {"total": 3, "succeeded": 3, "failed": 0, "canceled": 0}
    fan_out = steps_of(site, task.id)[1]
    assert [part.result for part in site.client.trees.sub_tasks(fan_out.id, role="part")] == [
        {"got": number} for number in range(3)
    ]


def test_an_empty_fan_out_and_no_list_at_all_end_their_sequence(site: Site) -> None:
    task = site.client.submit_sequence("seq.spread", {"number": 0})
    assert ended(site, task.id).result["total"] == 0

    task = site.client.submit_sequence("seq.spread_nothing", {"number": 1})
    task = ended(site, task.id)
    assert task.status == F and task.error is not None
    assert "needs a list" in task.error.message


def test_a_body_may_fan_out_as_a_step(site: Site) -> None:
    items = [{"what": "returns", "value": number} for number in range(2)]
    task = site.client.submit_sequence("seq.splits", {"items": items})

    task = ended(site, task.id)
    assert task.status == DONE, story_of(site, task.id)
    assert task.result["counts"] == [2, 2, 0, 0]


def test_a_sequence_is_canceled_with_its_step(site: Site) -> None:
    task = site.client.submit_sequence("seq.waits")
    [step] = steps_of(site, task.id)
    site.wait_for_run(step.id)
    site.client.cancel_task(task.id)

    assert ended(site, task.id).status == "CANCELED"
    assert [step.status for step in steps_of(site, task.id)] == ["CANCELED"]


# --- several handlers of one task type ------------------------------------------------------------


def test_every_handler_of_a_type_is_run_and_its_result_kept(site: Site) -> None:
    task = site.submit("fan.is_handled", {"number": 4})

    task = ended(site, task.id)
    assert (task.status, task.result) == (DONE, 4)
    assert site.moves(task.id) == ["CREATED", "STARTED", "FINISHED", DONE]
    handlers = handlers_of(site, task.id)
    assert [(one.type, one.result) for one in handlers] == [
        ("fan.is_handled:adds", 5),
        ("fan.is_handled:fails_on_odd", 8),
    ]
    assert_ran_once(site, task.id)
    found = site.client.trees.results(task.id, role="handler")
    assert [one.result for one in found] == [5, 8]


@pytest.mark.usefixtures("mended")
def test_a_handler_that_failed_is_retried_alone(site: Site) -> None:
    task = site.submit("fan.is_handled", {"number": 3})
    task = ended(site, task.id)
    assert (task.status, task.result) == (F, 3)
    assert [one.status for one in handlers_of(site, task.id)] == [DONE, F]

    mend(site)
    site.client.retry_task(task.id)
    task = ended(site, task.id)
    assert (task.status, task.result) == (DONE, 3)
    assert [one.result for one in handlers_of(site, task.id)] == [4, 6]
    assert [len(site.runs(one.id)) for one in handlers_of(site, task.id)] == [1, 2]
    assert len(site.runs(task.id)) == 1
