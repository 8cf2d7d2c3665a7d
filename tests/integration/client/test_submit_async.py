"""The module functions for coroutines."""

import asyncio
from collections.abc import Iterator

import pytest

from taskdb import (
    Registry,
    Settings,
    TaskDB,
    TaskStatus,
    WaitTimeout,
    cancel_task_async,
    get_task_async,
    list_tasks_async,
    retry_task_async,
    set_default,
    submit_many_async,
    submit_task_async,
    task,
    task_history_async,
    wait_task_async,
)


@pytest.fixture
def taskdb(tmp_path: object) -> Iterator[TaskDB]:
    registry = Registry()
    task("twin", registry=registry)(lambda: None)
    settings = Settings.load({"TASKDB_DATA_DIR": str(tmp_path)})
    with TaskDB(settings, registry=registry) as made:
        set_default(made)
        yield made
        set_default(None)


def test_every_function_has_a_twin_for_coroutines(taskdb: TaskDB) -> None:
    async def use_them() -> list[TaskStatus]:
        one = await submit_task_async("twin", tenant="acme")
        many = await submit_many_async("twin", [None, None])
        assert (await get_task_async(one.code)).id == one.id
        assert len(await list_tasks_async(limit=10)) == 1 + len(many)
        with pytest.raises(WaitTimeout):
            await wait_task_async(one.id, timeout=0.1)
        canceled = await cancel_task_async(one.id)
        waited = await wait_task_async(one.id, timeout=5)
        retried = await retry_task_async(one.id)
        history = [event.to_status for event in await task_history_async(one.id)]
        assert history[0] is TaskStatus.CREATED
        return [canceled.status, waited.status, retried.status]

    found = asyncio.run(use_them())

    assert found[:2] == [TaskStatus.CANCELED, TaskStatus.CANCELED]
    assert found[2] in {TaskStatus.CREATED, TaskStatus.QUEUED}


def test_a_waiting_twin_leaves_the_loop_to_others(taskdb: TaskDB) -> None:
    async def wait_and_count() -> int:
        one = await submit_task_async("twin")
        waiting = asyncio.create_task(wait_task_async(one.id, timeout=1))
        turns = 0
        while not waiting.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert isinstance(waiting.exception(), WaitTimeout)
        return turns

    assert asyncio.run(wait_and_count()) > 20
