"""Waiting for tasks: with one query for all, through an outage, a fork and a close."""

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.integration.notify_site import run_tasks, site
from tests.servers import PostgreSQL
from tests.waiting import wait_until

from taskdb import TaskDB, TaskNotFound, WaitTimeout, default_taskdb, wait_task, wait_task_async
from taskdb.cli.given_client import using
from taskdb.cli.session import Session
from taskdb.client.default import replaced_default
from taskdb.client.wait.watcher import LOOK_SECONDS
from taskdb.errors import WaitInterrupted
from taskdb.store.contract import Scope


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with site(store_url, tmp_path) as taskdb:
        yield taskdb


@pytest.fixture
def looks(taskdb: TaskDB, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks each look of the watcher was about."""
    seen: list[int] = []
    statuses = taskdb.store.tasks.statuses

    def counted(ids: list[str], scope: Scope) -> object:
        seen.append(len(ids))
        return statuses(ids, scope)

    monkeypatch.setattr(taskdb.store.tasks, "statuses", counted)
    return seen


def test_many_who_wait_share_their_looks(taskdb: TaskDB, looks: list[int]) -> None:
    ids = [one.id for one in taskdb.submit_many("work", [{}] * 20)]
    with ThreadPoolExecutor(20) as threads:
        waits = [threads.submit(taskdb.wait_task, one, 30) for one in ids]
        wait_until(lambda: looks and looks[-1] == 20)
        run_tasks(taskdb, *ids)
        assert {one.result(30).status for one in waits} == {"COMPLETED"}
    wait_until(lambda: "taskdb-watcher" not in {one.name for one in threading.enumerate()})
    assert len(looks) < 20


def test_coroutines_wait_without_a_thread_each(taskdb: TaskDB, looks: list[int]) -> None:
    ids = [one.id for one in taskdb.submit_many("work", [{}] * 100)]
    threads = threading.active_count()

    async def all_of_them() -> set[str]:
        waits = [asyncio.ensure_future(taskdb.wait_task_async(one, 30)) for one in ids]
        await asyncio.to_thread(wait_until, lambda: looks and looks[-1] == len(ids))
        # The default pool of the loop may have some of them; none is held by a wait.
        assert threading.active_count() < threads + 50
        waits[0].cancel()
        await asyncio.to_thread(run_tasks, taskdb, *ids)
        found = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        with pytest.raises(WaitTimeout):
            await taskdb.wait_task_async(taskdb.submit_task("work", {}).id, 0.1)
        return {one.status for one in found[1:] if not isinstance(one, BaseException)}

    assert asyncio.run(all_of_them()) == {"COMPLETED"}


def test_a_wait_whose_task_is_pruned_says_that_it_is_gone(taskdb: TaskDB, looks: list[int]) -> None:
    one = taskdb.submit_task("work", {})
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(one.wait, 30)
        wait_until(lambda: looks)
        taskdb.store.database.query("DELETE FROM taskdb_task", {})
        with pytest.raises(TaskNotFound):
            waiting.result(10)


def test_closing_ends_a_wait(taskdb: TaskDB, looks: list[int]) -> None:
    one = taskdb.submit_task("work", {})
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(one.wait, 30)
        wait_until(lambda: looks)
        taskdb.close()
        with pytest.raises(WaitInterrupted, match=one.id):
            waiting.result(10)


def test_a_client_waits_also_in_a_child_that_was_forked_while_others_waited(
    taskdb: TaskDB, looks: list[int]
) -> None:
    one = taskdb.submit_task("work", {})
    done = taskdb.submit_task("work", {})
    run_tasks(taskdb, done.id)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(one.wait, 30)
        wait_until(lambda: looks)
        child = os.fork()
        if child == 0:
            try:
                taskdb.wait_task(done.id, 10)
                with pytest.raises(WaitTimeout):
                    taskdb.wait_task(one.id, 2 * LOOK_SECONDS)
            except BaseException:  # noqa: BLE001 - a child of a test must not run the rest of it
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        run_tasks(taskdb, one.id)
        assert waiting.result(10).status == "COMPLETED"


def test_a_wait_outlives_an_outage_of_the_database(
    own_postgresql: PostgreSQL, tmp_path: Path
) -> None:
    with site(own_postgresql.url, tmp_path) as taskdb, ThreadPoolExecutor(2) as threads:
        one, other = taskdb.submit_many("work", [{}] * 2)
        waiting = threads.submit(one.wait, 60)
        short = threads.submit(other.wait, 2)
        # Both have seen their tasks: a wait that begins in an outage fails at once.
        wait_until(lambda: len(taskdb._connections._watcher._waiting) == 2)
        own_postgresql.stop()
        with pytest.raises(WaitTimeout, match="CREATED"):
            short.result(20)
        own_postgresql.start()
        run_tasks(taskdb, one.id)
        assert waiting.result(30).status == "COMPLETED"


# --- who closes --------------------------------------------------------------------------------


def test_a_scoped_client_that_closes_interrupts_no_wait_elsewhere(
    taskdb: TaskDB, looks: list[int]
) -> None:
    task_id = taskdb.submit_task("work", {}, tenant="acme").id
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(taskdb.wait_task, task_id, 30)
        wait_until(lambda: looks)
        with taskdb.for_tenant("acme", "other") as both, both.for_tenant("acme") as scoped:
            assert scoped.get_task(task_id).id == task_id
        taskdb.for_tenant("acme").close()
        pool = taskdb.store.database.pool()
        assert pool.open > 0
        run_tasks(taskdb, task_id)
        assert waiting.result(30).status == "COMPLETED"


def test_the_client_that_made_the_connections_closes_them_for_its_scoped_ones_too(
    taskdb: TaskDB, looks: list[int]
) -> None:
    scoped = taskdb.for_tenant("acme")
    task_id = scoped.submit_task("work", {}).id
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(scoped.wait_task, task_id, 30)
        wait_until(lambda: looks)
        taskdb.close()
        with pytest.raises(WaitInterrupted):
            waiting.result(30)
    assert taskdb.store.database.pool().open == 0
    # As every client, both open new ones when they are used again.
    assert scoped.get_task(task_id).id == task_id


def test_a_command_about_a_client_leaves_it_open(taskdb: TaskDB, looks: list[int]) -> None:
    task_id = taskdb.submit_task("work", {}, tenant="acme").id
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(taskdb.wait_task, task_id, 30)
        wait_until(lambda: looks)
        for tenant in (None, "acme"):
            with using(taskdb), Session() as session:
                assert session.taskdb_of(tenant).get_task(task_id).id == task_id
        run_tasks(taskdb, task_id)
        assert waiting.result(30).status == "COMPLETED"


@pytest.mark.parametrize("is_async", [False, True])
def test_the_default_outlives_a_scoped_client_of_it(
    taskdb: TaskDB,
    looks: list[int],
    is_async: bool,  # noqa: FBT001 - a case
) -> None:
    task_id = taskdb.submit_task("work", {}, tenant="acme").id
    with replaced_default(taskdb):

        async def wait() -> str:
            waiting = asyncio.ensure_future(wait_task_async(task_id, 30))
            await asyncio.to_thread(wait_until, lambda: looks)
            await asyncio.to_thread(close_scoped)
            await asyncio.to_thread(run_tasks, taskdb, task_id)
            return (await waiting).status

        def close_scoped() -> None:
            with default_taskdb().for_tenant("acme"):
                pass

        if is_async:
            assert asyncio.run(wait()) == "COMPLETED"
            return
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(wait_task, task_id, 30)
            wait_until(lambda: looks)
            close_scoped()
            run_tasks(taskdb, task_id)
            assert waiting.result(30).status == "COMPLETED"
