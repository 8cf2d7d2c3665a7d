"""Whoever submits by whatever way, the row says who it was."""

import asyncio
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from tests.integration.submit_site import client, engine_on

from taskdb import Sequence, TaskDB, TaskEntity, submitting_as

SAID = {"request_id": "r-1", "created_by": "ada", "created_ip": "10.0.0.1"}


def said(entity: TaskEntity) -> dict[str, str | None]:
    return {name: getattr(entity, name) for name in SAID}


def test_every_way_to_submit_records_who_it_was(store_url: str, tmp_path: Path) -> None:
    engine = engine_on(store_url)
    with client(store_url, tmp_path) as taskdb:
        Sequence("two", ["echo", "plus"], registry=taskdb.types.registry)
        with submitting_as(**SAID), Session(engine) as session, session.begin():
            made = [
                taskdb.submit_task("echo", session=session),
                *taskdb.submit_many("echo", [1, 2], session=session),
                taskdb.submit_fan_out("plus", [{"a": 1}], session=session),
                taskdb.submit_sequence("two", session=session),
            ]
        with submitting_as(**SAID):
            made += [taskdb.submit_task("echo"), *asyncio.run(submits(taskdb, store_url))]
        parents = [one for one in made if one.kind != "TASK"]
        made += [sub for parent in parents for sub in taskdb.trees.sub_tasks(parent.id)]

        assert len(made) == 13
        for one in made:
            assert said(taskdb.get_task(one.id)) == said(one) == SAID
        assert set(said(taskdb.submit_task("echo")).values()) == {None}
    engine.dispose()


async def submits(taskdb: TaskDB, store_url: str) -> list[TaskEntity]:
    url = store_url.replace("sqlite://", "sqlite+aiosqlite://")
    engine = create_async_engine(url)
    try:
        async with AsyncSession(engine) as session, session.begin():
            made = [
                await taskdb.submit_task_async("echo", session=session),
                await taskdb.submit_fan_out_async("plus", [{"a": 1}], session=session),
            ]
    finally:
        await engine.dispose()
    return [*made, await taskdb.submit_sequence_async("two")]
