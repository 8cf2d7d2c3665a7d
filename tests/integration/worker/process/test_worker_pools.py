"""Pools other than prefork: what makes sense for each holds there too."""

from collections.abc import Iterator

import pytest
from tests.integration.worker_site import COMBINATIONS, Site, site_of

C, S, E, DONE = "CREATED", "STARTED", "ERRORED", "COMPLETED"
THREADS = 4


@pytest.fixture(
    scope="module",
    params=[(pool, where) for pool in ("threads", "solo") for where in COMBINATIONS],
    ids="-".join,
)
def pool(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Site]]:
    name, combination = request.param
    with site_of(combination, request, tmp_path_factory) as site:
        site.start_worker("-P", name, "-c", str(THREADS))
        site.start_beat()
        yield name, site


@pytest.mark.parametrize(
    ("type", "input", "moves", "result"),
    [
        ("ends.returns", {"value": 1}, (C, S, DONE), {"got": 1}),
        ("ends.async", {"value": 1}, (C, S, DONE), 2),
        ("ends.surrounded", None, (C, S, DONE), True),
        ("ends.raises", None, (C, S, "FAILED"), None),
        ("ends.raises_once", None, (C, S, E, S, DONE), "second"),
        ("ends.requeues", None, (C, S, C, S, DONE), "then"),
        ("ends.says", {"what": "snooze", "how": "raised"}, (C, S, *("SCHEDULED", S) * 2, DONE), 2),
        ("ends.says", {"what": "halt", "how": "returned"}, (C, S, "HALTED"), None),
        ("ends.out_of_memory", {"times": 1}, (C, S, E, S, DONE), "survived"),
        ("ends.sys_exit", {"times": 1}, (C, S, E, S, DONE), "survived"),
        ("ends.not_json", {"what": "set"}, (C, S, "FAILED"), None),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("ends.") else "",
)
def test_a_run_ends_as_under_prefork(
    pool: tuple[str, Site], type: str, input: object, moves: tuple[str, ...], result: object
) -> None:
    _, site = pool
    entity = site.settled(site.submit(type, input).id)

    assert site.moves(entity.id) == list(moves)
    assert entity.result == result
    assert entity.attempt == moves.count(S)
    assert site.workers[0].is_running


def test_progress_reaches_the_row_while_the_body_runs(pool: tuple[str, Site]) -> None:
    _, site = pool
    task_id = site.submit("ends.reports").id
    site.wait_for(task_id, "PROCESSING")
    site.let_go(task_id)
    site.let_go(f"on-{task_id}")

    assert site.settled(task_id).attributes == {"colour": {"hue": 3}, "size": 2}


def test_a_body_that_agrees_can_be_canceled(pool: tuple[str, Site]) -> None:
    _, site = pool
    task_id = site.submit("ends.agrees").id
    site.wait_for_run(task_id)
    site.client.cancel_task(task_id)

    assert site.settled(task_id).status == "CANCELED"
    assert site.moves(task_id) == [C, S, "CANCELED"]


def test_threads_claim_at_the_same_time_in_one_process(pool: tuple[str, Site]) -> None:
    name, site = pool
    if name != "threads":
        pytest.skip("solo runs one body at a time")
    ids = [site.submit("ends.waits").id for _ in range(THREADS)]
    runs = [site.wait_for_run(task_id) for task_id in ids]
    for task_id in ids:
        site.wait_for(task_id, S)
        site.let_go(task_id)

    assert {run.pid for run in runs} == {site.workers[0].pid}
    for task_id in ids:
        assert site.settled(task_id).result == "went"
        assert site.moves(task_id) == [C, S, DONE]
