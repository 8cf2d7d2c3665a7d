"""A submit inside the caller's session exists exactly if the session's transaction commits."""

import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, String, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session
from sqlalchemy.orm import sessionmaker as make_sessionmaker
from tests.cases import each
from tests.integration.submit_site import (
    assert_published,
    client,
    count,
    end,
    engine_on,
    events,
    files,
    ids,
    logged,
    messages,
    until_queued,
)
from tests.rounds import rounds
from tests.waiting import wait_until

from taskdb import InvalidInput, TaskDB, TaskNotFound, TaskStatus
from taskdb.errors import DatabaseNotMigrated


class Model(DeclarativeBase):
    pass


class Customer(Model):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String, unique=True)


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """With tables of the user's own."""
    Model.metadata.create_all(engine)
    return engine


def test_a_commit_publishes_and_the_id_was_known_before(taskdb: TaskDB, engine: Engine) -> None:
    with Session(engine) as session:
        entity = taskdb.submit_task("plus", {"a": 1}, session=session)
        assert entity.status is TaskStatus.CREATED
        with pytest.raises(TaskNotFound):
            taskdb.get_task(entity.id)
        session.commit()
    assert_published(taskdb, entity.id)
    assert taskdb.get_task(entity.id).input == {"a": 1, "b": 0}


def test_a_rollback_leaves_nothing_and_publishes_nothing(taskdb: TaskDB, engine: Engine) -> None:
    with Session(engine) as session:
        taskdb.submit_task("plus", {"a": 1}, session=session)
        session.rollback()
        session.commit()
    assert count(taskdb) == 0
    assert_published(taskdb)


def test_a_session_closed_without_commit_forgets_its_tasks(taskdb: TaskDB, engine: Engine) -> None:
    session = Session(engine)
    taskdb.submit_task("plus", {"a": 1}, session=session)
    session.close()
    assert count(taskdb) == 0
    # The same session again: what it forgot must not be published with what comes now.
    kept = taskdb.submit_task("plus", {"a": 2}, session=session)
    session.commit()
    session.close()
    assert_published(taskdb, kept.id)


def test_an_error_in_a_with_block_takes_the_tasks_along(taskdb: TaskDB, engine: Engine) -> None:
    def fail() -> None:
        with Session(engine) as session, session.begin():
            taskdb.submit_task("plus", {"a": 1}, session=session)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert count(taskdb) == 0
    assert_published(taskdb)


def test_several_submits_in_one_transaction_are_published_together(
    taskdb: TaskDB, engine: Engine
) -> None:
    with Session(engine) as session, session.begin():
        first = taskdb.submit_task("plus", {"a": 1}, session=session)
        many = taskdb.submit_many("plus", [{"a": n} for n in range(20)], session=session)
    assert_published(taskdb, first.id, *(one.id for one in many))


def test_transactions_one_after_another_in_a_session_are_each_their_own(
    taskdb: TaskDB, engine: Engine
) -> None:
    with Session(engine) as session:
        first = taskdb.submit_task("plus", {"a": 1}, session=session)
        session.commit()
        taskdb.submit_task("plus", {"a": 2}, session=session)
        session.rollback()
        third = taskdb.submit_task("plus", {"a": 3}, session=session)
        session.commit()
    assert_published(taskdb, first.id, third.id)


# --- savepoints -----------------------------------------------------------------------------------


def released_then_rolled_back(submit: Callable[[], str], session: Session) -> list[str]:
    with session.begin_nested():
        submit()
    session.rollback()
    return []


def rolled_back_then_committed(submit: Callable[[], str], session: Session) -> list[str]:
    savepoint = session.begin_nested()
    submit()
    savepoint.rollback()
    session.commit()
    return []


def between_two_that_stay(submit: Callable[[], str], session: Session) -> list[str]:
    before = submit()
    savepoint = session.begin_nested()
    submit()
    savepoint.rollback()
    after = submit()
    session.commit()
    return [before, after]


def two_deep_and_committed(submit: Callable[[], str], session: Session) -> list[str]:
    with session.begin_nested():
        outer = submit()
        with session.begin_nested():
            inner = submit()
    session.commit()
    return [outer, inner]


def two_deep_and_the_inner_undone(submit: Callable[[], str], session: Session) -> list[str]:
    with session.begin_nested():
        outer = submit()
        inner = session.begin_nested()
        submit()
        inner.rollback()
    session.commit()
    return [outer]


def two_deep_and_the_outer_undone(submit: Callable[[], str], session: Session) -> list[str]:
    first = submit()
    outer = session.begin_nested()
    submit()
    with session.begin_nested():
        submit()
    outer.rollback()
    session.commit()
    return [first]


def closed_inside_a_savepoint(submit: Callable[[], str], session: Session) -> list[str]:
    session.begin_nested()
    submit()
    session.close()
    kept = submit()
    session.commit()
    return [kept]


def undone_by_an_error_in_its_block(submit: Callable[[], str], session: Session) -> list[str]:
    kept = submit()
    with suppress(RuntimeError), session.begin_nested():
        submit()
        raise RuntimeError
    session.commit()
    return [kept]


@each(
    "story",
    [
        released_then_rolled_back,
        rolled_back_then_committed,
        between_two_that_stay,
        two_deep_and_committed,
        two_deep_and_the_inner_undone,
        two_deep_and_the_outer_undone,
        closed_inside_a_savepoint,
        undone_by_an_error_in_its_block,
    ],
    alone=True,
)
def test_a_savepoint_decides_with_the_transaction_around_it(
    taskdb: TaskDB,
    engine: Engine,
    story: Callable[[Callable[[], str], Session], list[str]],
) -> None:
    with Session(engine) as session:
        # Begun by something else first, as a view's transaction is.
        session.execute(text("SELECT 1"))
        numbers = iter(range(100))

        def submit() -> str:
            return taskdb.submit_task("plus", {"a": next(numbers)}, session=session).id

        expected = story(submit, session)
    assert count(taskdb) == len(expected)
    assert_published(taskdb, *expected)


# --- beside the user's own rows -------------------------------------------------------------------


def test_objects_and_tasks_are_committed_together(taskdb: TaskDB, engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Customer(name="Ada"))
        entity = taskdb.submit_task("plus", {"a": 1}, session=session)
        session.commit()
    with Session(engine) as session:
        assert session.query(Customer).count() == 1
    assert_published(taskdb, entity.id)


def test_a_flush_that_fails_takes_the_task_along(taskdb: TaskDB, engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Customer(name="Ada"))
        session.commit()
        taskdb.submit_task("plus", {"a": 1}, session=session)
        session.add(Customer(name="Ada"))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        kept = taskdb.submit_task("plus", {"a": 2}, session=session)
        session.commit()
    assert_published(taskdb, kept.id)


def test_a_commit_that_fails_in_the_database_takes_the_task_along(
    taskdb: TaskDB, engine: Engine
) -> None:
    later = (
        "CREATE TABLE child (parent INTEGER REFERENCES customer (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    with Session(engine) as session:
        session.execute(text(later))
        session.commit()
        if engine.dialect.name == "sqlite":
            session.execute(text("PRAGMA foreign_keys = ON"))
            session.rollback()
            session.connection().exec_driver_sql("COMMIT")
            session.connection().exec_driver_sql("PRAGMA foreign_keys = ON")
            session.connection().exec_driver_sql("BEGIN")
        taskdb.submit_task("plus", {"a": 1}, session=session)
        session.execute(text("INSERT INTO child VALUES (12345)"))
        with pytest.raises(SQLAlchemyError):
            session.commit()
        session.rollback()
    assert count(taskdb) == 0
    assert_published(taskdb)


def test_a_submit_from_a_flush_event_belongs_to_the_transaction(
    taskdb: TaskDB, engine: Engine
) -> None:
    from sqlalchemy import event  # noqa: PLC0415

    submitted: list[str] = []
    with Session(engine) as session:

        @event.listens_for(session, "after_flush")
        def _after_flush(flushed: Session, _context: Any) -> None:
            submitted.append(taskdb.submit_task("plus", {"a": 1}, session=flushed).id)

        session.add(Customer(name="Ada"))
        session.commit()
    assert len(submitted) == 1
    assert_published(taskdb, *submitted)


# --- every kind of session ------------------------------------------------------------------------


def test_a_scoped_session_is_joined(taskdb: TaskDB, engine: Engine) -> None:
    sessions = scoped_session(make_sessionmaker(engine))
    entity = taskdb.submit_task("plus", {"a": 1}, session=sessions)
    sessions.commit()
    taskdb.submit_task("plus", {"a": 2}, session=sessions)
    sessions.remove()
    assert_published(taskdb, entity.id)


def test_a_session_that_lives_in_a_tests_transaction_publishes_nothing(
    taskdb: TaskDB, engine: Engine
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            taskdb.submit_task("plus", {"a": 1}, session=session)
            session.commit()
        outer.rollback()
    assert count(taskdb) == 0
    assert_published(taskdb)


def test_a_session_with_a_connection_of_its_own_publishes(taskdb: TaskDB, engine: Engine) -> None:
    with engine.connect() as connection, Session(connection) as session:
        entity = taskdb.submit_task("plus", {"a": 1}, session=session)
        session.commit()
        until_queued(taskdb, entity.id)
    assert_published(taskdb, entity.id)


@each("session", ["text", 5, object(), Session])
def test_what_is_no_session_is_refused_before_anything_is_written(
    taskdb: TaskDB, session: Any
) -> None:
    with pytest.raises(InvalidInput, match=r"session: .* cannot be joined"):
        taskdb.submit_task("echo", "x" * 2_000, session=session)
    assert count(taskdb) == 0 and files(taskdb) == []


def test_a_session_on_another_database_is_told_apart(taskdb: TaskDB, tmp_path: Path) -> None:
    elsewhere = engine_on(f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}")
    with Session(elsewhere) as session, pytest.raises(DatabaseNotMigrated, match="this session"):
        taskdb.submit_task("echo", "x" * 2_000, session=session)
    elsewhere.dispose()
    assert files(taskdb) == []


def test_two_clients_in_one_session_publish_each_to_its_own_broker(
    taskdb: TaskDB, engine: Engine, store_url: str, tmp_path: Path
) -> None:
    with client(store_url, tmp_path / "other") as other:
        with Session(engine) as session, session.begin():
            mine = taskdb.submit_task("plus", {"a": 1}, session=session)
            theirs = other.submit_task("plus", {"a": 2}, session=session)
        until_queued(taskdb, mine.id, theirs.id)
        assert ids(messages(taskdb)) == [mine.id]
        assert ids(messages(other)) == [theirs.id]


# --- unique keys ----------------------------------------------------------------------------------


def test_a_unique_key_holds_inside_and_across_transactions(taskdb: TaskDB, engine: Engine) -> None:
    with Session(engine) as session:
        first = taskdb.submit_task("once", {"a": 1}, session=session)
        assert taskdb.submit_task("once", {"a": 1}, session=session).id == first.id
        session.commit()
        assert taskdb.submit_task("once", {"a": 1}, session=session).id == first.id
        session.commit()
    assert_published(taskdb, first.id)


def test_a_failed_task_is_resubmitted_exactly_if_the_transaction_commits(
    taskdb: TaskDB, engine: Engine
) -> None:
    failed = taskdb.submit_task("once", {"a": 1, "b": 1})
    end(taskdb, failed.id, "FAILED")
    messages(taskdb)
    with Session(engine) as session:
        again = taskdb.submit_task("once", {"a": 1, "b": 2}, session=session)
        assert (again.id, again.status) == (failed.id, TaskStatus.CREATED)
        session.rollback()
        assert taskdb.get_task(failed.id).status is TaskStatus.FAILED
        taskdb.submit_task("once", {"a": 1, "b": 3}, session=session)
        session.commit()
    assert_published(taskdb, failed.id)
    assert taskdb.get_task(failed.id).input == {"a": 1, "b": 3}


# --- the hook itself ------------------------------------------------------------------------------


def test_an_error_in_the_hook_does_not_break_the_commit(
    taskdb: TaskDB, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken on purpose")

    with logged() as log, Session(engine) as session:
        monkeypatch.setattr(taskdb._connections.background, "publish", broken)
        entity = taskdb.submit_task("plus", {"a": 1}, session=session)
        session.commit()
    assert taskdb.get_task(entity.id).status is TaskStatus.CREATED
    assert len(events(log, "publish.hook_failed")) == 1


@pytest.mark.rounds
def test_a_long_lived_session_does_not_grow(taskdb: TaskDB, engine: Engine) -> None:
    with Session(engine) as session:

        def listeners() -> int:
            return len(session.dispatch.after_commit) + len(session.dispatch.after_transaction_end)

        taskdb.submit_task("plus", {"a": 0}, session=session)
        session.rollback()
        at_first = listeners()
        for number in range(rounds(100, 1_000)):
            taskdb.submit_task("plus", {"a": number}, session=session)
            session.rollback()
        assert listeners() == at_first == 2
        assert session.info["taskdb_publications"].entries == []


@pytest.mark.parametrize("ending", ["commit", "rollback", "none"])
def test_a_session_is_garbage_once_nobody_holds_it(
    taskdb: TaskDB, engine: Engine, ending: str
) -> None:
    session = Session(engine)
    gone = weakref.ref(session)
    taskdb.submit_task("plus", {"a": 0}, session=session)
    if ending != "none":
        getattr(session, ending)()
        session.close()
    else:
        session.connection().invalidate()  # or the pool warns of one that was never given back
    del session

    def collected() -> bool:
        gc.collect()
        return gone() is None

    wait_until(collected, 3, "the session to be collected")
