"""Moves of rows that another transaction has just changed: no CHECK sees half of an older row."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text

from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.dialect import CHECKED_TOGETHER
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.task.statements import moves_for
from tests.store.tasks import DONE, OOPS, claim, create, in_status, moves, row, running, write
from tests.waiting import wait_until

S = TaskStatus
_CHECKS = """
SELECT c.conname AS name, pg_get_constraintdef(c.oid) AS definition, p.prosrc AS source,
  (SELECT string_agg(a.attname, ',') FROM pg_attribute AS a
   WHERE a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)) AS columns
FROM pg_constraint AS c
LEFT JOIN pg_depend AS d ON d.objid = c.oid AND d.refclassid = 'pg_proc'::regclass
LEFT JOIN pg_proc AS p ON p.oid = d.refobjid
WHERE c.conrelid = 'taskdb_task'::regclass AND c.contype = 'c'
"""
_WAITING = "SELECT count(*) AS number FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@contextmanager
def changing(store: Store, sql: str, **given: Any) -> Iterator[Connection]:
    """Change rows in a transaction of a stranger, which commits on leaving."""
    with store.database.transaction() as connection:
        connection.execute(text(sql), given)
        yield connection


def after_a_change(store: Store, act: Callable[[], object], sql: str, **given: Any) -> object:
    """Let a verb begin before a change of its row is committed, and end after it."""
    with ThreadPoolExecutor(1) as pool:
        with changing(store, sql, **given):
            done = pool.submit(act)
            wait_until(lambda: write(store, _WAITING)[0]["number"] > 0, 10)
        return done.result(30)


def compared(condition: str, columns: set[str]) -> Iterator[set[str]]:
    """The columns of each part of a condition that has several."""
    for part in re.split(r" AND (?!attempt)", condition):
        found = columns & set(re.findall(r"\b[a-z_]+\b", part))
        if len(found) > 1:
            yield found


def test_every_comparison_of_columns_in_a_check_is_known(postgresql_store: Store) -> None:
    known = {frozenset(together) for together in CHECKED_TOGETHER}
    found = set()
    for check in write(postgresql_store, _CHECKS):
        condition = check["source"] or check["definition"]
        columns = set(check["columns"].split(","))
        found |= {frozenset(one) for one in compared(condition, columns)}
    assert found == known


def test_every_move_assigns_all_columns_that_a_check_compares(postgresql_store: Store) -> None:
    dialect: Any = postgresql_store.database.dialect
    moves = moves_for(dialect)
    statements = [getattr(moves, name) for name in moves.names]
    assert len(statements) > 30
    for statement in statements:
        update = dialect.move_sql(statement).split(" SET ", 1)[1]
        assigned = set(re.findall(r"(?:^|, )([a-z_]+) = ", update.split(" FROM old", 1)[0]))
        for together in CHECKED_TOGETHER:
            assert assigned >= set(together) or assigned.isdisjoint(together), statement.name


def test_a_bulk_retry_bears_that_a_row_has_failed_again_meanwhile(postgresql_store: Store) -> None:
    store = postgresql_store
    run = in_status(store, S.ERRORED)
    counted = after_a_change(
        store,
        lambda: sum(
            number for number, _ in store.bulk.retry(Filter(status=(S.ERRORED,)), EVERYONE)
        ),
        "UPDATE taskdb_task SET attempt = attempt + 1 WHERE id = :id",
        id=run.id,
    )
    assert counted == 1
    found = row(store, run.id)
    assert (found["status"], found["attempt"], found["spared"]) == ("CREATED", 2, 2)


def test_a_retry_of_one_task_bears_it_as_well(postgresql_store: Store) -> None:
    store = postgresql_store
    run = in_status(store, S.FAILED)
    after_a_change(
        store,
        lambda: store.interventions.retry(run.id, EVERYONE),
        "UPDATE taskdb_task SET attempt = 7, spared = 3 WHERE id = :id",
        id=run.id,
    )
    assert (row(store, run.id)["attempt"], row(store, run.id)["spared"]) == (7, 7)


def test_a_run_that_is_spared_bears_that_its_numbers_grow(postgresql_store: Store) -> None:
    store = postgresql_store
    run = running(store)
    after_a_change(
        store,
        lambda: store.outcomes.hand_back(run.id, run.token, "stopped"),
        "UPDATE taskdb_task SET attempt = 5, spared = 4 WHERE id = :id",
        id=run.id,
    )
    assert (row(store, run.id)["attempt"], row(store, run.id)["spared"]) == (5, 5)


@pytest.mark.parametrize("verb", ["fail", "rescue", "cancel", "complete"])
def test_a_task_that_waits_no_more_is_ended_by_who_came_before(
    postgresql_store: Store, verb: str
) -> None:
    store = postgresql_store
    run = running(store)
    write(
        store,
        "UPDATE taskdb_task SET status = 'PROCESSING', waits_for = 'callback' WHERE id = :id",
        id=run.id,
    )
    verbs: dict[str, Callable[[], object]] = {
        "fail": lambda: store.outcomes.fail(run.id, run.token, OOPS),
        "rescue": lambda: store.endings.hand_back_worker("w-1", "gone"),
        "cancel": lambda: store.interventions.cancel(run.id, EVERYONE),
        "complete": lambda: store.outcomes.complete(run.id, run.token, DONE),
    }
    after_a_change(
        store, verbs[verb], "UPDATE taskdb_task SET waits_for = NULL WHERE id = :id", id=run.id
    )
    assert row(store, run.id)["waits_for"] is None


@pytest.mark.parametrize("moment", ["BEFORE", "AFTER"])
def test_the_history_is_whole_where_a_user_has_a_trigger(
    postgresql_store: Store, moment: str
) -> None:
    """The server then locks the row before it evaluates what the row was."""
    store = postgresql_store
    write(
        store,
        "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    )
    write(
        store,
        f"CREATE TRIGGER own {moment} UPDATE ON taskdb_task FOR EACH ROW EXECUTE FUNCTION own()",
    )
    # A connection looks for triggers once a minute.
    with Store(store.database.url, pool_size=10).closing() as fresh:
        task_id = create(fresh)
        granted = after_a_change(
            fresh,
            lambda: claim(fresh, task_id),
            "WITH moved AS (UPDATE taskdb_task SET status = 'QUEUED', queued_at = now()"
            " WHERE id = :id RETURNING id, tenant) INSERT INTO taskdb_event"
            " (task_id, tenant, from_status, to_status)"
            " SELECT id, tenant, 'CREATED', 'QUEUED' FROM moved",
            id=task_id,
        )
        assert granted is True
        assert moves(fresh, task_id) == [
            (None, "CREATED"),
            ("CREATED", "QUEUED"),
            ("QUEUED", "STARTED"),
        ]
