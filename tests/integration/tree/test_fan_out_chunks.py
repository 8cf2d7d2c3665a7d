"""Parts that share a message, on real workers: each has a run, an outcome and a fate of its own."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.result import AsyncResult
from tests.integration.worker_site import COMBINATIONS, MODULE, Site, site_of
from tests.integration.worker_tasks import FOLDER

from taskdb.celery.publish.publisher import CHUNK_HEADER
from taskdb.errors import ResultNotKept
from taskdb.model.entity import TaskEntity, TaskRole
from taskdb_worker.command import run_task

C, S, E, P, F = "CREATED", "STARTED", "ERRORED", "PROCESSING", "FAILED"
DONE, GONE, HALT, LATER = "COMPLETED", "CANCELED", "HALTED", "SCHEDULED"
MODULES = f"{MODULE},tests.integration.tree.worker_chunks"


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site_of(request.param, request, tmp_path_factory, task_modules=MODULES) as site:
        site.start_worker("-c", "3")
        site.start_beat()
        yield site


def fan_out(site: Site, *items: Any, type: str = "chunk.item", **options: Any) -> TaskEntity:
    """A fan-out whose items share one message, unless `chunk_size` says otherwise."""
    given = {"chunk_size": max(len(items), 2), "join": "all_settled", **options}
    return site.client.submit_fan_out(type, items, **given)


def do(*what: str) -> list[dict[str, Any]]:
    return [{"do": one, "n": n} for n, one in enumerate(what)]


def parts(site: Site, parent: TaskEntity) -> list[TaskEntity]:
    return site.client.trees.sub_tasks(parent.id, role=TaskRole.PART)


def columns(site: Site, parent: TaskEntity, name: str) -> list[Any]:
    rows = site.query(
        f"SELECT {name} AS value FROM taskdb_task WHERE parent_id = :id AND role = 'part'"
        " ORDER BY position",
        id=parent.id,
    )
    return [row["value"] for row in rows]


def chunk_of(site: Site, parent: TaskEntity) -> str:
    return next(str(one) for one in columns(site, parent, "chunk") if one is not None)


# --- ends of items --------------------------------------------------------------------------------


def test_items_that_succeed_are_one_run_of_one_message(site: Site) -> None:
    items = do(*["return"] * 150)
    parent = fan_out(site, *items, join="all_succeeded", on_join="chunk.joined")
    parent = site.settled(parent.id)

    assert (parent.status, parent.result) == (DONE, list(range(150)))
    done = parts(site, parent)
    assert [one.result for one in done] == [{"n": n, "left": 1, "position": n} for n in range(150)]
    assert [one.position for one in site.client.trees.results(parent.id)] == list(range(150))
    assert len(set(columns(site, parent, "claim_token"))) == 1
    assert len(set(columns(site, parent, "chunk"))) == 1
    assert {tuple(site.moves(one.id)) for one in done} == {(C, S, DONE)}
    ran = [run for run in site.runs() if run.task_id in {one.id for one in done}]
    assert [run.task_id for run in ran] == [one.id for one in done]
    assert len({run.pid for run in ran}) == 1


ENDS: dict[str, tuple[tuple[str, ...], int, int]] = {
    # What the item does: its moves, runs that do not count, crashes.
    "return": ((C, S, DONE), 0, 0),
    "raise once": ((C, S, E, S, DONE), 0, 0),
    "raise": ((C, S, E, S, F), 0, 0),
    "snooze": ((C, S, LATER, S, DONE), 1, 0),
    "requeue": ((C, S, C, S, DONE), 1, 0),
    # As the soft limit of the whole message strikes an item that has hardly begun.
    "time up": ((C, S, C, S, DONE), 1, 0),
    "exit": ((C, S, E, S, DONE), 0, 1),
    "no memory": ((C, S, E, S, DONE), 0, 1),
    "fail": ((C, S, F), 0, 0),
    "cancel": ((C, S, GONE), 0, 0),
    "report": ((C, S, P, DONE), 0, 0),
    "large": ((C, S, DONE), 0, 0),
    "surrounded": ((C, S, DONE), 0, 0),
    "fan out": ((C, S, P, DONE), 0, 0),
    "last": ((C, S, DONE), 0, 0),
}


def test_each_item_ends_as_it_would_alone_and_the_others_go_on(site: Site) -> None:
    parent = site.settled(fan_out(site, *do(*ENDS)).id)

    assert parent.status == DONE
    by_name = dict(zip(ENDS, parts(site, parent), strict=True))
    found = {
        name: (tuple(site.moves(one.id)), one.spared, one.crashes) for name, one in by_name.items()
    }
    assert found == ENDS
    first_runs = [run for run in site.runs() if run.task_id in {p.id for p in by_name.values()}]
    assert len({run.pid for run in first_runs if run.attempt == 1}) == 1
    assert by_name["surrounded"].result is True
    assert by_name["large"].result_ref
    assert by_name["large"].result == "x" * 5_000
    reported = by_name["report"]
    assert reported.attributes == {"n": list(ENDS).index("report")}
    assert reported.progress is not None
    assert (reported.progress.current, reported.progress.message) == (2, "whole")
    assert by_name["raise"].error is not None
    assert (by_name["raise"].error.message, by_name["raise"].error.attempt) == ("never", 2)
    # What goes on does so by itself.
    alone = {"raise once", "raise", "snooze", "requeue", "time up", "exit", "no memory"}
    chunks = zip(ENDS, columns(site, parent, "chunk"), strict=True)
    assert {name for name, chunk in chunks if chunk is None} == alone


def test_an_item_that_waits_for_a_person_keeps_the_parent_waiting(site: Site) -> None:
    parent = fan_out(site, *do("return", "halt"))
    halted = parts(site, parent)[1]
    site.wait_for(halted.id, HALT)
    site.wait_for(parts(site, parent)[0].id, DONE)
    assert site.client.get_task(parent.id).status == P
    site.client.cancel_task(halted.id)
    assert site.settled(parent.id).status == DONE


def test_items_whose_type_has_further_handlers_end_with_them(site: Site) -> None:
    parent = site.settled(fan_out(site, {"n": 1}, {"n": 2}, type="chunk.handled").id)
    assert [one.result for one in parts(site, parent)] == [1, 2]
    assert {tuple(site.moves(one.id)) for one in parts(site, parent)} == {(C, S, "FINISHED", DONE)}


def test_the_first_bad_item_of_a_hasty_fan_out_stops_those_behind_it(site: Site) -> None:
    parent = site.settled(fan_out(site, *do("return", "fail", "wait", "wait"), join="fail_fast").id)
    assert parent.status == F
    assert [one.status for one in parts(site, parent)] == [DONE, F, GONE, GONE]
    assert [len(site.runs(one.id)) for one in parts(site, parent)] == [1, 1, 0, 0]


# --- while it runs --------------------------------------------------------------------------------


def test_results_are_seen_and_cancels_obeyed_while_a_long_item_runs(site: Site) -> None:
    parent = fan_out(site, *do("return", "wait", "return", "return"))
    first, long, third, _ = parts(site, parent)
    site.wait_for_run(long.id)
    assert site.wait_for(first.id, DONE).result["n"] == 0
    site.client.cancel_task(third.id)
    stopped = site.wait_for(third.id, GONE)
    assert stopped.error is not None
    assert "before its turn" in stopped.error.message
    assert site.client.get_task(long.id).status == S
    site.let_go(long.id)

    assert site.settled(parent.id).status == DONE
    assert [one.status for one in parts(site, parent)] == [DONE, DONE, GONE, DONE]
    assert not site.runs(third.id)


def test_an_item_that_ignores_its_cancel_is_ended_and_the_others_go_on_alone(site: Site) -> None:
    parent = fan_out(site, *do("return", "ignore", "return"))
    ignores = parts(site, parent)[1]
    site.wait_for_run(ignores.id)
    site.wait_for(parts(site, parent)[0].id, DONE)
    site.client.cancel_task(ignores.id)

    assert site.settled(parent.id).status == DONE
    assert [one.status for one in parts(site, parent)] == [DONE, GONE, DONE]
    last = parts(site, parent)[2]
    assert (last.attempt, last.spared, last.crashes) == (2, 1, 0)


def test_a_duplicate_of_the_message_changes_nothing(site: Site) -> None:
    parent = fan_out(site, *do("return", "wait", "return"))
    waiting = parts(site, parent)[1]
    site.wait_for_run(waiting.id)
    again(site, parent)
    assert site.settled(site.submit("ends.returns").id).status == DONE
    site.let_go(waiting.id)
    site.settled(parent.id)
    again(site, parent)
    duplicate = AsyncResult(chunk_of(site, parent), app=site.celery)
    # A chunk has no row of its own.
    with pytest.raises(ResultNotKept):
        _ = duplicate.state
    for _ in range(3):
        assert site.settled(site.submit("ends.returns").id).status == DONE
    assert {tuple(site.moves(one.id)) for one in parts(site, parent)} == {(C, S, DONE)}
    assert [len(site.runs(one.id)) for one in parts(site, parent)] == [1, 1, 1]


def again(site: Site, parent: TaskEntity, type: str = "chunk.item") -> None:
    """Publish the message of a chunk once more."""
    site.publish(type, chunk_of(site, parent), headers={CHUNK_HEADER: 3}, group_id=parent.id)


# --- limits ---------------------------------------------------------------------------------------


def test_limits_are_for_an_item_and_the_message_has_them_together(site: Site) -> None:
    within = fan_out(site, *[{"seconds": 0.6}] * 3, type="chunk.slow")
    assert site.settled(within.id).status == DONE
    assert {tuple(site.moves(one.id)) for one in parts(site, within)} == {(C, S, DONE)}


def test_a_message_that_exceeds_its_hard_limit_leaves_each_item_to_its_own(site: Site) -> None:
    beyond = fan_out(site, {"seconds": 60}, {"seconds": 0}, type="chunk.slow")
    assert site.settled(beyond.id).status == DONE
    assert {tuple(site.moves(one.id)) for one in parts(site, beyond)} == {(C, S, C, S, DONE)}
    assert columns(site, beyond, "spared") == [1, 1]


# --- deaths ---------------------------------------------------------------------------------------


def test_an_item_that_kills_its_process_is_found_out_alone(site: Site) -> None:
    parent = fan_out(site, *do("return", "kill", "return", "return"))
    parent = site.settled(parent.id)

    assert parent.status == DONE
    ended = parts(site, parent)
    assert {one.status for one in ended} == {DONE}
    assert [one.attempts_used for one in ended] == [1, 1, 1, 1]
    assert [one.crashes for one in ended] == [0, 0, 0, 0]
    assert [one.attempt for one in ended[1:]] == [2, 2, 2]
    assert columns(site, parent, "chunk")[1:] == [None, None, None]
    assert not any(site.alarms(one.id) for one in ended)


def test_what_was_written_before_the_death_stays(site: Site) -> None:
    parent = fan_out(site, *do("return", "wait", "return"))
    first, waiting, last = parts(site, parent)
    run = site.wait_for_run(waiting.id)
    site.wait_for(first.id, DONE)
    os.kill(run.pid, signal.SIGKILL)
    site.let_go(waiting.id)

    assert site.settled(parent.id).status == DONE
    assert site.moves(first.id) == [C, S, DONE]
    assert site.moves(waiting.id) == site.moves(last.id) == [C, S, C, S, DONE]


def test_a_message_that_is_revoked_cancels_no_item(site: Site) -> None:
    parent = fan_out(site, *do("return", "wait", "return"))
    waiting = parts(site, parent)[1]
    site.wait_for_run(waiting.id)
    site.wait_for(parts(site, parent)[0].id, DONE)
    AsyncResult(chunk_of(site, parent), app=site.celery).revoke(terminate=True)
    assert site.celery.control.inspect(timeout=1).ping()
    site.let_go(waiting.id)

    assert site.settled(parent.id).status == DONE
    assert [one.status for one in parts(site, parent)] == [DONE] * 3


def test_a_message_that_comes_after_the_deadline_fails_its_items(site: Site) -> None:
    parent = fan_out(
        site,
        *do("return", "return"),
        delay=timedelta(seconds=0.5),
        deadline=datetime.now(UTC) + timedelta(seconds=0.2),
    )
    assert site.settled(parent.id).status == DONE
    assert [one.status for one in parts(site, parent)] == [F, F]


def test_an_unknown_type_fails_its_items_once_it_was_enough(site: Site) -> None:
    parent = fan_out(site, *do("return", "return"), delay=timedelta(seconds=1))
    site.query("UPDATE taskdb_task SET type = 'nobody.knows' WHERE parent_id = :id", id=parent.id)
    assert site.settled(parent.id).status == DONE
    errors = [one.error for one in parts(site, parent)]
    assert [error and error.type for error in errors] == ["UnknownTaskType"] * 2


# --- without, and instead of, the shared worker ---------------------------------------------------


@pytest.fixture(params=COMBINATIONS)
def own_site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site whose workers may be killed."""
    settings = {"task_modules": MODULES, "worker_lease_seconds": 1}
    with site_of(request.param, request, tmp_path_factory, **settings) as site:
        yield site
        for process in site.processes.started:
            if process.is_running:
                process.kill_all()


def test_a_worker_killed_in_the_middle_loses_nothing(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = own_site
    monkeypatch.setenv(FOLDER, str(site.folder))
    parent = fan_out(site, *do("return", "wait", "return"))
    first, waiting, last = parts(site, parent)
    # An item is a task: by hand it runs without its message.
    assert run_task(site.client, last.id).status == DONE
    worker = site.start_worker("-c", "1")
    site.wait_for_run(waiting.id)
    site.wait_for(first.id, DONE)
    worker.kill_all()
    site.let_go(waiting.id)
    site.start_worker("-c", "1")
    site.start_beat()

    assert site.settled(parent.id).status == DONE
    assert site.moves(first.id) == site.moves(last.id) == [C, S, DONE]
    assert site.moves(waiting.id) == [C, S, C, S, DONE]
    ended = site.client.get_task(waiting.id)
    assert (ended.attempts_used, ended.crashes) == (1, 0)


def test_a_stopped_worker_gives_back_what_it_has_not_begun(own_site: Site) -> None:
    site = own_site
    parent = fan_out(site, *do("return", "wait", "return"))
    first, waiting, last = parts(site, parent)
    worker = site.start_worker("-c", "1")
    site.wait_for_run(waiting.id)
    site.wait_for(first.id, DONE)
    worker.signal(signal.SIGQUIT)
    worker.wait()
    assert [site.client.get_task(one.id).status for one in (waiting, last)] == [C, C]
    assert columns(site, parent, "chunk")[1:] == [None, None]
    assert columns(site, parent, "spared") == [0, 1, 1]
