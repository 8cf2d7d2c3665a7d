"""However a part ends, its fan-out ends: each case that keeps a stock chord waiting for ever.

No loop looks for forgotten parents here: it is the end of the part itself that leads on.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.tree.fan_site import (
    BROKEN,
    client_of_newer_code,
    ended,
    fan_site,
    parts_of,
    statuses_of,
    story_of,
)
from tests.integration.worker_site import COMBINATIONS, Site
from tests.waiting import wait_until

from taskdb.model.entity import TaskEntity
from taskdb_beat.loops.reconcile import Reconcile

GOOD = {"what": "returns", "value": 1}
DONE, GONE, F, HALT = "COMPLETED", "CANCELED", "FAILED", "HALTED"


@dataclass(frozen=True)
class Case:
    """Items, and how they and their parent end."""

    name: str
    parts: dict[str, int]
    items: tuple[Any, ...]
    type: str = "fan.does"
    parent: str = F

    def __str__(self) -> str:
        return self.name


def does(*words: str) -> tuple[Any, ...]:
    return (GOOD, *({"what": word} for word in words))


CASES = [
    Case("all well", {DONE: 2}, (GOOD, GOOD), parent=DONE),
    Case("failed", {DONE: 1, F: 1}, does("fails")),
    Case("Ignore", {DONE: 1, F: 1}, does("ignores")),
    Case("Reject", {DONE: 1, F: 1}, does("rejects")),
    Case("Cancel", {DONE: 1, GONE: 1}, does("cancels")),
    Case("hard limit", {DONE: 1, F: 1}, ({"times": 0}, {"times": 9}), "ends.hard_limit"),
    Case("huge result", {DONE: 1, F: 1}, ({"size": 1}, {"size": 300_000}), "ends.huge"),
    Case("nobody well", {F: 3}, tuple({"what": "fails"} for _ in range(3))),
]

OPEN_CASES = [
    Case("killed", {DONE: 1, HALT: 1}, does("is killed")),
    Case("MemoryError", {DONE: 1, HALT: 1}, does("runs out of memory")),
    Case("sys.exit", {DONE: 1, HALT: 1}, does("exits")),
    Case("Halt", {DONE: 1, HALT: 1}, does("halts")),
]


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with fan_site(request.param, request, tmp_path_factory) as site:
        site.start_worker("-c", "2")
        site.start_beat()
        yield site


@pytest.mark.parametrize("join", ["all_succeeded", "all_settled"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fan_out_ends_however_its_parts_end(site: Site, case: Case, join: Any) -> None:
    parent = site.client.submit_fan_out(case.type, case.items, join=join)

    parent = ended(site, parent.id)
    assert statuses_of(site, parent.id) == Counter(case.parts)
    assert parent.status == (case.parent if join == "all_succeeded" else DONE)
    assert_result(parent, case)
    assert site.moves(parent.id) == ["CREATED", "PROCESSING", str(parent.status)]
    assert site.alarms(parent.id) == (parent.status == F)


def assert_result(parent: TaskEntity, case: Case) -> None:
    counted = {
        "total": sum(case.parts.values()),
        "succeeded": case.parts.get(DONE, 0),
        "failed": case.parts.get(F, 0),
        "canceled": case.parts.get(GONE, 0),
    }
    assert parent.result == (counted if parent.status == DONE else None)
    assert (parent.error is not None) == (parent.status == F)


@pytest.mark.parametrize("case", OPEN_CASES, ids=str)
def test_a_halted_part_keeps_its_parent_open_until_a_person_decides(site: Site, case: Case) -> None:
    parent = site.client.submit_fan_out(case.type, case.items, join="all_settled")
    halted = halted_part(site, parent.id)
    wait_until(lambda: statuses_of(site, parent.id) == Counter(case.parts))
    assert parent.refresh().status == "PROCESSING"
    assert parent.worker is None

    site.client.cancel_task(halted.id)
    parent = ended(site, parent.id)
    assert (parent.status, parent.result) == (
        DONE,
        {"total": 2, "succeeded": 1, "failed": 0, "canceled": 1},
    )


def halted_part(site: Site, parent_id: str) -> TaskEntity:
    def found() -> list[TaskEntity]:
        return [part for part in parts_of(site, parent_id) if part.status == HALT]

    return wait_until(found, 20, lambda: story_of(site, parent_id))[0]


def test_a_halted_part_that_is_retried_decides_anew(site: Site) -> None:
    items = [{"times": 0}, {"times": 2}]
    parent = site.client.submit_fan_out("ends.sys_exit", items)
    site.client.retry_task(halted_part(site, parent.id).id)

    assert ended(site, parent.id).status == DONE


def test_a_halted_part_is_canceled_with_its_parent(site: Site) -> None:
    parent = site.client.submit_fan_out("fan.does", [GOOD, {"what": "halts"}])
    halted_part(site, parent.id)
    site.client.cancel_task(parent.id)

    assert ended(site, parent.id).status == GONE
    assert site.moves(parent.id) == ["CREATED", "PROCESSING", "CANCELED"]


def test_parts_whose_type_no_worker_knows_end_and_so_does_their_parent(site: Site) -> None:
    with client_of_newer_code(site) as newer:
        parent_id = newer.submit_fan_out(BROKEN, [{}, {}], join="all_settled").id

    parent = ended(site, parent_id)
    assert parent.status == DONE
    errors = {part.error.type for part in parts_of(site, parent_id) if part.error}
    assert errors == {"UnknownTaskType"}


def test_parts_whose_deadline_passed_end_and_so_does_their_parent(site: Site) -> None:
    parent = site.client.submit_fan_out(
        "fan.does",
        [GOOD, GOOD],
        delay=timedelta(seconds=0.5),
        deadline=datetime.now(UTC) + timedelta(seconds=0.2),
    )

    parent = ended(site, parent.id)
    assert parent.status == F
    assert statuses_of(site, parent.id) == {F: 2}


def test_a_part_revoked_before_it_runs_ends_its_parent(site: Site) -> None:
    parent = site.client.submit_fan_out("fan.does", [GOOD, GOOD], delay=timedelta(seconds=1.5))
    part = parts_of(site, parent.id)[0]
    site.celery.control.revoke(part.id)
    wait_until(lambda: part.id in str(site.celery.control.inspect(timeout=0.3).revoked()))

    assert ended(site, parent.id).status == F
    assert statuses_of(site, parent.id) == {DONE: 1, GONE: 1}


def test_a_part_revoked_while_it_runs_ends_its_parent(site: Site) -> None:
    parent = site.client.submit_fan_out("ends.stubborn", [None])
    [part] = parts_of(site, parent.id)
    site.wait_for_run(part.id)
    site.wait_for(part.id, "STARTED")
    site.celery.control.revoke(part.id, terminate=True)

    assert ended(site, parent.id).status == F
    assert statuses_of(site, parent.id) == {GONE: 1}


def test_a_part_that_is_canceled_ends_its_parent(site: Site) -> None:
    parent = site.client.submit_fan_out("fan.does", [GOOD, GOOD], delay=timedelta(hours=1))
    for part in parts_of(site, parent.id):
        site.client.cancel_task(part.id)

    assert ended(site, parent.id).status == F


@pytest.mark.parametrize(
    ("what", "join", "status"),
    [
        ("fails", "all_succeeded", F),
        ("returns", "all_succeeded", DONE),
        ("fails", "all_settled", DONE),
    ],
)
def test_fan_outs_inside_a_fan_out_end_with_it(
    site: Site, what: str, join: Any, status: str
) -> None:
    inner = {"items": [GOOD, {"what": what}]}
    parent = site.client.submit_fan_out("fan.splits", [inner, {"items": [GOOD]}], join=join)

    parent = ended(site, parent.id)
    assert parent.status == status, story_of(site, parent.id)
    first, second = parts_of(site, parent.id)
    assert (first.status, second.status) == (DONE if what == "returns" else F, DONE)
    assert statuses_of(site, first.id)[F] == (what == "fails")


def test_fail_fast_stops_what_runs_and_what_waits(site: Site) -> None:
    items = [{"what": "fails"}, *[GOOD] * 3]
    parent = site.client.submit_fan_out("fan.does", items, join="fail_fast", max_concurrency=1)

    parent = ended(site, parent.id)
    assert (parent.status, statuses_of(site, parent.id)) == (F, {F: 1, GONE: 3})


def test_time_that_is_up_fails_the_parent_with_what_is_open(site: Site) -> None:
    # The beat of this site never looks at the clock again.
    parent = site.client.submit_fan_out("fan.waits", [{"number": 1}], timeout=0.1, queue="nowhere")
    wait_until(lambda: (Reconcile(site.client.store).run_once(), parent.refresh())[1].status == F)

    assert ended(site, parent.id).error.type == "TimedOut"  # type: ignore[union-attr]
    assert statuses_of(site, parent.id) == {GONE: 1}
