"""A submit over a plain connection, and over asynchronous sessions and connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from tests.cases import each
from tests.integration.submit_site import (
    assert_published,
    begin_by_hand,
    client,
    count,
    events,
    files,
    logged,
    messages,
)
from tests.rounds import rounds
from tests.servers import Blackhole

from taskdb import (
    InvalidInput,
    TaskDB,
    TaskStatus,
    set_default,
    submit_many_async,
    submit_task_async,
)


@asynccontextmanager
async def async_engine(store_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(store_url.replace("sqlite://", "sqlite+aiosqlite://"))
    if store_url.startswith("sqlite"):
        begin_by_hand(engine.sync_engine)
    try:
        yield engine
    finally:
        await engine.dispose()


# --- a plain connection ---------------------------------------------------------------------------


def committed(submit: Callable[[], str], connection: Connection) -> list[str]:
    found = [submit(), submit()]
    connection.commit()
    return found


def rolled_back(submit: Callable[[], str], connection: Connection) -> list[str]:
    submit()
    connection.rollback()
    return []


def closed(submit: Callable[[], str], connection: Connection) -> list[str]:
    submit()
    connection.close()
    return []


def savepoint_released_then_rolled_back(
    submit: Callable[[], str], connection: Connection
) -> list[str]:
    with connection.begin_nested():
        submit()
    connection.rollback()
    return []


def savepoint_rolled_back_then_committed(
    submit: Callable[[], str], connection: Connection
) -> list[str]:
    first = submit()
    savepoint = connection.begin_nested()
    submit()
    savepoint.rollback()
    connection.commit()
    return [first]


def only_a_savepoint_that_was_rolled_back(
    submit: Callable[[], str], connection: Connection
) -> list[str]:
    savepoint = connection.begin_nested()
    submit()
    savepoint.rollback()
    connection.commit()
    return []


def one_after_another(submit: Callable[[], str], connection: Connection) -> list[str]:
    first = submit()
    connection.commit()
    submit()
    connection.rollback()
    third = submit()
    connection.commit()
    return [first, third]


@each(
    "story",
    [
        committed,
        rolled_back,
        closed,
        savepoint_released_then_rolled_back,
        savepoint_rolled_back_then_committed,
        only_a_savepoint_that_was_rolled_back,
        one_after_another,
    ],
    alone=True,
)
def test_a_connections_transaction_decides(
    taskdb: TaskDB, engine: Engine, story: Callable[[Callable[[], str], Connection], list[str]]
) -> None:
    with engine.connect() as connection:
        expected = story(lambda: taskdb.submit_task("echo", session=connection).id, connection)
    assert count(taskdb) == len(expected)
    assert_published(taskdb, *expected)


def test_a_commit_that_fails_on_a_connection_publishes_nothing_and_holds_nobody_up(
    taskdb: TaskDB, engine: Engine
) -> None:
    taskdb.submit_task("echo")
    assert len(messages(taskdb)) == 1
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.exec_driver_sql("BEGIN")
        for statement in (
            "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
            "CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
            "INSERT INTO child VALUES (1)",
        ):
            connection.execute(text(statement))
        lost = taskdb.submit_task("echo", session=connection)
        with pytest.raises(SQLAlchemyError):
            connection.commit()
        # SQLAlchemy takes the transaction for over, SQLite does not.
        connection.invalidate()
    # The publisher still looks for the rows of the lost one.
    started = time.monotonic()
    beside = taskdb.submit_task("echo")
    assert beside.status is TaskStatus.QUEUED and time.monotonic() - started < 0.9
    assert_published(taskdb, beside.id)
    assert lost.id not in [one.id for one in taskdb.list_tasks()]


def test_the_connection_of_a_session_is_joined_too(taskdb: TaskDB, engine: Engine) -> None:
    with Session(engine) as session:
        entity = taskdb.submit_task("echo", session=session.connection())
        session.commit()
    assert_published(taskdb, entity.id)


@pytest.mark.rounds
def test_a_long_lived_connection_does_not_grow(taskdb: TaskDB, engine: Engine) -> None:
    with engine.connect() as connection:
        taskdb.submit_task("echo", session=connection)
        connection.rollback()
        at_first = len(connection.dispatch.commit)
        for _ in range(rounds(100, 1_000)):
            taskdb.submit_task("echo", session=connection)
            connection.rollback()
        assert len(connection.dispatch.commit) == at_first


# --- asynchronous ---------------------------------------------------------------------------------


def test_an_async_session_is_joined(taskdb: TaskDB, store_url: str) -> None:
    async def story() -> list[str]:
        async with async_engine(store_url) as engine, AsyncSession(engine) as session:
            one = await taskdb.submit_task_async("plus", {"a": 1}, session=session)
            many = await taskdb.submit_many_async(
                "plus", [{"a": n} for n in range(3)], session=session
            )
            await session.commit()
            await taskdb.submit_task_async("plus", {"a": 9}, session=session)
            await session.rollback()
            async with session.begin_nested():
                nested = await taskdb.submit_task_async("plus", {"a": 10}, session=session)
            await session.commit()
            return [one.id, *(entity.id for entity in many), nested.id]

    expected = asyncio.run(story())
    assert count(taskdb) == 5
    assert_published(taskdb, *expected)


def test_an_async_connection_is_joined(taskdb: TaskDB, store_url: str) -> None:
    async def story() -> str:
        async with async_engine(store_url) as engine, engine.connect() as connection:
            assert isinstance(connection, AsyncConnection)
            kept = await taskdb.submit_task_async("echo", session=connection)
            await connection.commit()
            await taskdb.submit_task_async("echo", session=connection)
            await connection.rollback()
            return kept.id

    expected = asyncio.run(story())
    assert count(taskdb) == 1
    assert_published(taskdb, expected)


def test_the_async_functions_of_the_module_use_the_default_client(taskdb: TaskDB) -> None:
    async def story() -> list[str]:
        one = await submit_task_async("plus", {"a": 1})
        many = await submit_many_async("plus", [{"a": 2}, {"a": 3}])
        return [one.id, *(entity.id for entity in many)]

    set_default(taskdb)
    try:
        expected = asyncio.run(story())
    finally:
        set_default(None)
    assert_published(taskdb, *expected)


def test_an_async_session_given_to_the_wrong_function_is_explained(
    taskdb: TaskDB, store_url: str
) -> None:
    async def story() -> None:
        async with async_engine(store_url) as engine:
            async with AsyncSession(engine) as session:
                with pytest.raises(InvalidInput, match="pass it to submit_task_async"):
                    taskdb.submit_task("echo", "x" * 2_000, session=session)
            async with engine.connect() as connection:
                with pytest.raises(InvalidInput, match="pass it to submit_task_async"):
                    taskdb.submit_task("echo", "x" * 2_000, session=connection)
            with pytest.raises(InvalidInput, match="pass an AsyncSession"):
                await taskdb.submit_task_async("echo", session=Session())  # type: ignore[arg-type]

    asyncio.run(story())
    assert files(taskdb) == [] and count(taskdb) == 0


@pytest.mark.parametrize("joined", ["session", "nothing"])
def test_a_frozen_broker_never_blocks_the_loop(
    store_url: str, tmp_path: Path, blackhole: Blackhole, joined: str
) -> None:
    url = f"redis://127.0.0.1:{blackhole.port}/0"
    with (
        client(store_url, tmp_path, broker_url=url, publish_budget_seconds=1) as taskdb,
        logged() as log,
    ):
        lag = asyncio.run(_largest_lag(taskdb, store_url, joined))
        assert count(taskdb) == 20
        if joined == "nothing":
            # The log is that of the process: a client of another test may still log its own broker.
            reasons = [event["reason"] for event in events(log, "publish.postponed")]
            assert reasons.count("no answer in time") == 1
    assert lag < 0.25


async def _largest_lag(taskdb: TaskDB, store_url: str, joined: str) -> float:
    lags: list[float] = []
    over = asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            started = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - started - 0.01)

    async def submit(session: Any) -> None:
        for number in range(20):
            # Some of them with a payload that goes to a file.
            given = "x" * (2_000 if number % 5 == 0 else 10)
            await taskdb.submit_task_async("echo", given, session=session)
            if session is not None:
                await session.commit()

    watching = asyncio.create_task(watch())
    if joined == "session":
        async with async_engine(store_url) as engine, AsyncSession(engine) as session:
            await submit(session)
    else:
        await submit(None)
    over.set()
    await watching
    assert lags
    return max(lags)
