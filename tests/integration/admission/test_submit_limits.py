"""Rules through the client and the command line: who may make them, and what a submit then does."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from tests.cases import each
from tests.integration.cli_site import Site, cli
from tests.integration.submit_site import client

from taskdb import (
    InvalidInput,
    Limit,
    Registry,
    TaskDB,
    TaskStatus,
    default_taskdb,
    set_default,
    task,
)
from taskdb_beat.loops.release import Release

__all__ = ["cli"]


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with client(store_url, tmp_path) as taskdb:
        own: dict[str, Any] = {"registry": taskdb.types.registry}
        task("shop", mutex=("shop", "floor"), **own)(lambda shop, floor=0: None)
        task("limited", max_running=2, max_starts=5, per=60, **own)(lambda: None)
        yield taskdb


def release(taskdb: TaskDB) -> None:
    Release(taskdb.settings, taskdb.store, taskdb.publisher).run_once()


def mutex_of(taskdb: TaskDB, **options: Any) -> str | None:
    """The mutex key of a new task."""
    found = taskdb.submit_task(**options)
    with taskdb.store.database.transaction() as connection:
        sql = f"SELECT mutex_key FROM taskdb_task WHERE id = '{found.id}'"
        return connection.exec_driver_sql(sql).scalar()


# --- mutexes --------------------------------------------------------------------------------------


def test_a_task_with_a_mutex_is_created_and_held_until_it_is_its_turn(taskdb: TaskDB) -> None:
    first = taskdb.submit_task("echo", 1, mutex_key="k")
    second, third = taskdb.submit_many("plus", [{"a": 1}, {"a": 2}], mutex_key="k")
    assert (first.status, first.held_by) == (TaskStatus.CREATED, "admission")
    release(taskdb)
    found = [taskdb.get_task(one.id) for one in (first, second, third)]
    assert [one.status for one in found] == ["QUEUED", "CREATED", "CREATED"]
    assert [one.held_by for one in found] == [None, "mutex:/k", "mutex:/k"]


def test_a_mutex_of_fields_is_that_of_their_values_and_of_the_type(taskdb: TaskDB) -> None:
    one = mutex_of(taskdb, type="shop", input={"shop": 1})
    assert one is not None
    assert mutex_of(taskdb, type="shop", input={"floor": 0, "shop": 1}) == one
    assert mutex_of(taskdb, type="shop", input={"shop": "1"}) != one
    assert mutex_of(taskdb, type="shop", input={"shop": 1}, mutex_key="own") == "own"
    assert mutex_of(taskdb, type="echo", input={"shop": 1}) is None


@each("key", ["", "#shop#1", 7, "x" * 1_001])
def test_a_key_that_is_none_is_refused(taskdb: TaskDB, key: Any) -> None:
    with pytest.raises(InvalidInput, match="mutex_key"):
        taskdb.submit_task("echo", 1, mutex_key=key)


def test_a_sequence_has_no_mutex(taskdb: TaskDB) -> None:
    with pytest.raises(InvalidInput, match="steps a mutex"):
        taskdb.submit_sequence("any", {}, mutex_key="k")


def test_parts_of_a_fan_out_have_the_mutex_and_their_parent_has_none(taskdb: TaskDB) -> None:
    parent = taskdb.submit_fan_out("shop", [{"shop": 1}, {"shop": 2}, {"shop": 1}])
    assert taskdb.get_task(parent.id).held_by is None
    release(taskdb)
    held = [one.held_by for one in taskdb.trees.sub_tasks(parent.id)]
    assert held[:2] == [None, None]
    assert str(held[2]).startswith("mutex:/#shop#")


def test_what_is_held_does_not_keep_others_of_the_same_commit_waiting(
    store_url: str, taskdb: TaskDB
) -> None:
    engine = create_engine(store_url)
    with engine.begin() as connection:
        held = taskdb.submit_task("echo", 1, mutex_key="k", session=connection)
        free = taskdb.submit_task("echo", 1, session=connection)
    engine.dispose()
    assert held.held_by == "admission"
    taskdb.close()
    assert taskdb.get_task(free.id).status is TaskStatus.QUEUED
    assert taskdb.get_task(held.id).status is TaskStatus.CREATED


# --- rules ----------------------------------------------------------------------------------------


def test_declared_limits_are_written_and_go_with_their_declaration(taskdb: TaskDB) -> None:
    taskdb.limits.declare()
    (entity,) = taskdb.limits.list()
    assert (entity.name, entity.origin) == ("limited", "code")
    assert entity.limit == Limit(2, 5, timedelta(seconds=60))
    taskdb.types.registry = Registry()
    task("limited", registry=taskdb.types.registry)(lambda: None)
    taskdb.limits.declare()
    assert taskdb.limits.list() == []


def test_a_scoped_client_makes_rules_for_its_tenants_only(taskdb: TaskDB) -> None:
    taskdb.limits.pause(queue="q")
    taskdb.limits.set(tenant="other", max_running=1)
    acme = taskdb.for_tenant("acme")
    acme.limits.pause(tenant="acme", reason="unpaid")
    assert [(one.target, one.name) for one in acme.limits.list()] == [("tenant", "acme")]
    for place in ({"tenant": "other"}, {"queue": "q"}, {"type": "echo"}):
        for refused in (acme.limits.pause, acme.limits.resume, acme.limits.clear):
            with pytest.raises(InvalidInput, match="scope"):
                refused(**place)
        with pytest.raises(InvalidInput, match="scope"):
            acme.limits.set(**place, max_running=1)
    assert len(taskdb.limits.list()) == 3


def test_a_scoped_client_declares_no_limits(taskdb: TaskDB) -> None:
    acme = taskdb.for_tenant("acme")
    for refused in (acme.limits.declare, lambda: acme.limits.release(["running:own:other"])):
        with pytest.raises(InvalidInput, match="all tenants"):
            refused()
    assert taskdb.limits.list() == []


def test_the_operator_lifts_what_a_tenant_has_set(taskdb: TaskDB) -> None:
    acme = taskdb.for_tenant("acme")
    acme.limits.pause(tenant="acme", by="bob")
    acme.limits.set(tenant="acme", max_running=1)
    taskdb.limits.pause(tenant="acme", reason="unpaid", by="ann")
    assert acme.limits.resume(tenant="acme")
    with pytest.raises(InvalidInput, match="owner"):
        acme.limits.resume(tenant="acme", owner="operator")
    with pytest.raises(InvalidInput, match="owner"):
        taskdb.limits.resume(tenant="acme", owner="beta")  # type: ignore[arg-type]
    assert [(one.owner, one.is_paused, one.reason) for one in acme.limits.list()] == [
        ("tenant", False, None),
        ("operator", True, None),
    ]
    assert taskdb.limits.clear(tenant="acme", owner="tenant")
    (entity,) = taskdb.limits.list()
    assert (entity.owner, entity.reason, entity.set_by) == ("operator", "unpaid", "ann")


@pytest.mark.parametrize("owner", ["operator", "tenant"])
def test_a_tenant_is_told_the_reason_of_its_own_rule_only(taskdb: TaskDB, owner: str) -> None:
    acme = taskdb.for_tenant("acme")
    (taskdb if owner == "operator" else acme).limits.pause(tenant="acme", reason="unpaid", by="ann")
    task_id = acme.submit_task("echo", 1).id
    release(taskdb)
    told = str(acme.explain_task(task_id))
    assert "was paused" in told
    for word in ("unpaid", "ann"):
        assert (word in told) is (owner == "tenant")
        assert word in str(taskdb.explain_task(task_id))


@each("place", [{}, {"queue": "a", "type": "b"}, {"queue": ""}, {"type": 7}])
def test_a_rule_is_for_one_place(taskdb: TaskDB, place: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        taskdb.limits.pause(**place)


@each("limit", [{}, {"max_running": 0}, {"max_starts": 1}, {"per": "x"}])
def test_a_limit_that_says_nothing_is_refused(taskdb: TaskDB, limit: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        taskdb.limits.set(queue="q", **limit)


def test_coroutines_make_rules_as_well(taskdb: TaskDB) -> None:
    set_default(taskdb)
    try:
        limits = default_taskdb().limits
        asyncio.run(asyncio.to_thread(limits.pause, queue="q"))
        assert [one.is_paused for one in asyncio.run(asyncio.to_thread(limits.list))] == [True]
    finally:
        set_default(None)


# --- the command line -----------------------------------------------------------------------------


def test_rules_are_made_shown_and_lifted(cli: Site) -> None:
    assert cli("pause", "--type", "echo", "--reason", "no power").out == "paused type echo\n"
    words = ("limit", "set", "--tenant", "acme", "--max-running", "3", "--max-starts", "5")
    assert cli(*words, "--per", "1m").code == 0
    shown = cli("limit", "list").out
    assert "no power" in shown and "3 at once, 5 in 1m" in shown
    limited, paused = cli("limit", "list", "--json").document
    assert (limited["name"], limited["max_running"], limited["per_seconds"]) == ("acme", 3, 60)
    assert (paused["is_paused"], paused["max_running"]) == (True, None)
    assert cli("limit", "clear", "--tenant", "acme").out == "cleared tenant acme\n"
    assert cli("resume", "--type", "echo", "--json").document["changed"] is True
    assert "it was not paused" in cli("resume", "--type", "echo").err
    assert "no limits" in cli("limit", "list").err


@pytest.mark.parametrize("per", ["60", "60s", "1m", "0.5"])
def test_a_limit_takes_a_duration_with_a_unit_or_in_seconds(cli: Site, per: str) -> None:
    assert cli("limit", "set", "--type", "echo", "--max-starts", "5", "--per", per).code == 0
    (limit,) = cli("limit", "list", "--json").document
    assert limit["per_seconds"] == (0.5 if per == "0.5" else 60)
    refused = cli("limit", "set", "--type", "echo", "--max-starts", "5", "--per", "soon")
    assert refused.code == 2 and "write seconds, or for example 5m" in refused.err


@pytest.mark.parametrize("words", [("pause",), ("limit", "set", "--max-running", "1")])
def test_a_type_that_no_module_declares_is_refused_unless_forced(
    cli: Site, words: tuple[str, ...]
) -> None:
    refused = cli(*words, "--type", "ecko")
    assert refused.code == 2
    assert "no task type is named 'ecko'; did you mean 'echo'?" in refused.err
    assert cli("limit", "list", "--json").document == []
    assert cli(*words, "--type", "ecko", "--force").code == 0
    assert [one["name"] for one in cli("limit", "list", "--json").document] == ["ecko"]


def test_the_command_line_lifts_what_a_tenant_has_set(cli: Site) -> None:
    with cli.client() as taskdb:
        taskdb.for_tenant("acme").limits.pause(tenant="acme")
    assert "it was not paused" in cli("resume", "--tenant", "acme").err
    assert cli("resume", "--tenant", "acme", "--own").out == "resumed tenant acme\n"
    cli("pause", "--tenant", "acme")
    with cli.client() as taskdb:
        (entity,) = taskdb.limits.list()
    assert entity.owner == "operator"
    assert str(entity.set_by).startswith("cli:")


def test_a_rule_for_nothing_is_an_error_that_says_so(cli: Site) -> None:
    ran = cli("pause")
    assert ran.code != 0
    assert "name one of queue, type, tenant" in ran.err


def test_run_task_says_which_rule_holds_the_task(cli: Site) -> None:
    task_id = cli.submit("echo", 1)
    cli("pause", "--type", "echo")
    ran = cli("run-task", task_id)
    assert ran.code != 0
    assert "held by admission" in ran.err
    assert cli.status(task_id) is TaskStatus.CREATED
