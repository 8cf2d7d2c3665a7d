"""What a body may do with parts, what a window holds, and what duplicates change: nothing."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from tests.integration.tree.fan_site import (
    QUICK_RETURN,
    assert_ran_once,
    ended,
    fan_site,
    parts_of,
    statuses_of,
    story_of,
)
from tests.integration.worker_site import COMBINATIONS, Site
from tests.waiting import wait_until

from taskdb.celery.message_signature import MessageKeys
from taskdb.celery.publish.publisher import Publisher, publish_end
from taskdb.celery.publish.sender import BatchResult
from taskdb.errors import IllegalMove
from taskdb.model.entity import TaskEntity
from taskdb.store.contract import Publication
from taskdb_beat.loops.reconcile import Reconcile

GOOD = {"what": "returns", "value": 1}
BAD = {"what": "fails"}


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """One process runs bodies, so that a parent which held it would wait for itself."""
    settings = {"worker_lease_seconds": 2, **QUICK_RETURN}
    with fan_site(request.param, request, tmp_path_factory, **settings) as site:
        site.start_worker("-c", "1")
        site.start_beat()
        yield site


# --- fan-outs of a body ---------------------------------------------------------------------------


def test_a_parent_holds_no_worker_while_its_parts_run(site: Site) -> None:
    parent = site.submit("fan.splits", {"items": [{"number": 7}], "type": "fan.waits"})
    parts = wait_until(lambda: parts_of(site, parent.id))
    site.wait_for_run(parts[0].id)
    seen = parent.refresh()
    assert (seen.status, seen.worker) == ("PROCESSING", None)
    assert waits_for(site, parent) == "parts"
    site.let_go(parts[0].id)

    parent = ended(site, parent.id)
    assert parent.result == {"counts": [1, 1, 0, 0], "results": [[0, "COMPLETED", 7]]}
    assert waits_for(site, parent) is None
    moves = ["CREATED", "STARTED", "PROCESSING", "FINISHED", "COMPLETED"]
    assert site.moves(parent.id) == moves
    assert (parent.attempt, parent.crashes) == (1, 0)


def waits_for(site: Site, parent: TaskEntity) -> str | None:
    [row] = site.query("SELECT waits_for FROM taskdb_task WHERE id = :id", id=parent.id)
    stage: str | None = row["waits_for"]
    return stage


def test_a_handler_reads_counts_and_results_in_the_order_of_the_items(site: Site) -> None:
    items = [{"what": "returns", "value": number} for number in range(12)]
    items[3], items[8] = BAD, {"what": "cancels"}
    parent = site.submit("fan.splits", {"items": items, "join": "all_settled"})

    result = ended(site, parent.id).result
    assert result["counts"] == [12, 10, 1, 1]
    assert [one[0] for one in result["results"]] == list(range(12))
    assert result["results"][3][1:] == ["FAILED", None]
    assert result["results"][8][1:] == ["CANCELED", None]
    assert result["results"][11] == [11, "COMPLETED", {"got": 11}]
    assert_ran_once(site, parent.id)


def test_a_body_that_raises_after_its_fan_out_leaves_a_remark(site: Site) -> None:
    parent = site.submit("fan.splits", {"items": [GOOD], "then": "raises"})

    assert ended(site, parent.id).status == "COMPLETED"
    said = [str(event.detail) for event in site.client.task_history(parent.id)]
    assert any("raised after its fan-out: ValueError: too late" in one for one in said), said
    assert len(site.runs(parent.id)) == 1


def test_a_second_fan_out_is_refused_and_the_first_one_stands(site: Site) -> None:
    parent = site.submit("fan.splits", {"items": [GOOD], "then": "splits again"})

    assert ended(site, parent.id).status == "COMPLETED"
    assert len(parts_of(site, parent.id)) == 1
    said = [str(event.detail) for event in site.client.task_history(parent.id)]
    assert any("has fanned out already" in one for one in said), said


def test_an_empty_fan_out_is_joined_at_once(site: Site) -> None:
    parent = site.submit("fan.splits", {"items": []})
    assert ended(site, parent.id).result == {"counts": [0, 0, 0, 0], "results": []}


def test_a_parent_is_canceled_while_it_waits(site: Site) -> None:
    parent = site.submit("fan.splits", {"items": [{"number": 1}, {"number": 2}], "type": "ends.x"})
    site.settled(parent.id)  # of an unknown type: nothing was made
    assert (parent.refresh().status, parts_of(site, parent.id)) == ("FAILED", [])

    items = {"items": [{}] * 3, "type": "ends.agrees"}
    parent = site.submit("fan.splits_plainly", items)
    parts = wait_until(lambda: parts_of(site, parent.id))
    site.wait_for_run(parts[0].id)
    site.client.cancel_task(parent.id)

    assert ended(site, parent.id).status == "CANCELED"
    assert statuses_of(site, parent.id) == {"CANCELED": 3}
    assert site.moves(parent.id)[-2:] == ["PROCESSING", "CANCELED"]


def test_a_parent_that_failed_runs_its_bad_parts_again(site: Site) -> None:
    items = {"items": [{"number": number} for number in range(4)], "type": "fan.fails_at_first"}
    parent = site.submit("fan.splits", items)
    mended = site.folder / "mended"
    try:
        assert ended(site, parent.id).status == "FAILED"
        mended.touch()
        site.client.retry_task(parent.id)
        result = ended(site, parent.id).result
    finally:
        mended.unlink(missing_ok=True)

    assert result["results"] == [[n, "COMPLETED", n * 10] for n in range(4)]
    assert [len(site.runs(part.id)) for part in parts_of(site, parent.id)] == [1, 2, 1, 2]
    # Its own body made the parts, and is not asked again.
    assert len(site.runs(parent.id)) == 1
    with pytest.raises(IllegalMove):
        site.client.retry_task(parts_of(site, parent.id)[0].id)


def test_two_levels_of_fan_outs_are_joined_from_below(site: Site) -> None:
    items = [
        {"items": [{"what": "returns", "value": row * 10 + n} for n in range(3)]}
        for row in range(2)
    ]
    parent = site.submit("fan.splits", {"items": items, "type": "fan.splits"})

    result = ended(site, parent.id).result
    assert result["counts"] == [2, 2, 0, 0]
    inner = [one[2]["results"] for one in result["results"]]
    assert [[one[2]["got"] for one in row] for row in inner] == [[0, 1, 2], [10, 11, 12]]
    for part in parts_of(site, parent.id):
        assert_ran_once(site, part.id)


# --- a window -------------------------------------------------------------------------------------


def most_at_once(site: Site, parent_id: str) -> int:
    running, most = set(), 0
    for line in (site.folder / f"overlap-{parent_id}").read_text().splitlines():
        running = running | {line[1:]} if line[0] == "+" else running - {line[1:]}
        most = max(most, len(running))
    return most


def test_never_more_bodies_run_than_the_window_has_room_for(site: Site) -> None:
    second = site.start_worker("-c", "4")
    items = [{"number": number} for number in range(24)]
    parent = site.client.submit_fan_out("fan.overlaps", items, max_concurrency=3)

    assert ended(site, parent.id).status == "COMPLETED"
    assert_ran_once(site, parent.id)
    assert 2 <= most_at_once(site, parent.id) <= 3
    second.terminate()


def test_a_window_goes_on_when_a_worker_dies_in_it(site: Site) -> None:
    items = [{"number": number, "what": "dies" if number == 4 else ""} for number in range(12)]
    # Only the beat's rescue and one pass of the loop after it may help.
    parent = site.client.submit_fan_out("fan.overlaps", items, max_concurrency=2, queue="window")
    dying = site.start_worker("-c", "2", "-Q", "window")
    dying.wait()
    wait_until(lambda: not dying.children)
    helper = site.start_worker("-c", "2", "-Q", "window")

    def is_over() -> bool:
        Reconcile(site.client.store).run_once()
        return parent.refresh().status.is_terminal

    wait_until(is_over, 30, lambda: story_of(site, parent.id))
    assert ended(site, parent.id).status == "COMPLETED"
    assert most_at_once(site, parent.id) <= 2
    runs = Counter(len(site.runs(part.id)) for part in parts_of(site, parent.id))
    assert runs[1] >= 10 and sum(runs.values()) == 12
    helper.terminate()


# --- duplicates -----------------------------------------------------------------------------------


@pytest.fixture
def publisher(site: Site) -> Iterator[Publisher]:
    publisher = Publisher(site.settings, site.client.store)
    yield publisher
    publisher.close()


def send_again(publisher: Publisher, tasks: list[TaskEntity]) -> None:
    """Messages as they were, without a mark on the rows."""
    items = [publication_of(publisher, one.id) for one in tasks]
    publisher._send(items, BatchResult())


def publication_of(publisher: Publisher, task_id: str) -> Publication:
    [found] = publisher._store.publications.find([task_id])
    return found


def publish_body(app: Celery, parent: TaskEntity) -> None:
    publish_end(app, MessageKeys((), 1), parent.id, parent.queue)


def test_duplicates_of_every_message_change_nothing(site: Site, publisher: Publisher) -> None:
    items = {"items": [GOOD, GOOD, BAD], "join": "all_settled"}
    parent = site.submit("fan.splits", items)
    parts = wait_until(lambda: parts_of(site, parent.id))
    send_again(publisher, [parent, *parts])
    for _ in range(5):
        publish_body(site.celery, parent)
    parent = ended(site, parent.id)
    assert parent.result["counts"] == [3, 2, 1, 0]
    before = state_of(site, parent)

    sub_tasks = site.client.trees.sub_tasks(parent.id)
    for _ in range(2):
        send_again(publisher, [parent, *sub_tasks])
        publish_body(site.celery, parent)
    for part in parts:
        site.client.store.joins.join(parent.id)
        site.client.store.joins.part_ended(parent.id, badly=True)
        site.client.store.joins.settle(part.id)
    # Behind all of them in the queue of a worker with one process.
    assert site.settled(site.submit("ends.returns").id).status == "COMPLETED"

    assert state_of(site, parent) == before
    assert_ran_once(site, parent.id)
    assert len(site.runs(parent.id)) == 1


def state_of(site: Site, parent: TaskEntity) -> Any:
    """Rows and histories, whole."""
    ids = [parent.id, *(one.id for one in site.client.trees.sub_tasks(parent.id))]
    rows = site.query("SELECT * FROM taskdb_task WHERE id = :id OR parent_id = :id", id=parent.id)
    rows.sort(key=lambda row: str(row["id"]))
    return rows, [site.client.task_history(one) for one in ids]


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_parts_that_wait_for_the_outside_hold_no_worker(site: Site, chunk_size: int) -> None:
    parent = site.client.submit_fan_out("fan.calls", [None, None], chunk_size=chunk_size)
    parts = parts_of(site, parent.id)
    wait_until(
        lambda: all(part.refresh().waits_for == "callback" for part in parts),
        describe=lambda: story_of(site, parent.id),
    )
    told = site.client.explain_task(parent.id)
    assert (told.cause, told.below and told.below.cause) == ("sub_tasks", "callback")
    for number, part in enumerate(parts):
        token = (site.folder / f"token-{part.id}").read_text()
        site.client.resume_task(token, number)
    parent = ended(site, parent.id)
    assert (parent.status, [part.refresh().result for part in parts]) == ("COMPLETED", [0, 1])
