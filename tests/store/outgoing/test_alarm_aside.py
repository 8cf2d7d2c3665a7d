"""Alarms, messages and subscriptions with a bad row among them: all others are told."""

from datetime import timedelta

import pytest

from taskdb.model.alarm.alarm import AlarmSource
from taskdb.model.alarm.route import Route
from taskdb.store.contract import EVERYONE
from taskdb.store.outgoing.alarm.condition import Limits
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep
from tests.cases import each
from tests.store.alarms import alarms, fail, fold, messages, over, rules
from tests.store.deliveries import take
from tests.store.poison import allow, aside, let_be_due, refuse
from tests.store.tasks import LEASE, write


def sources(store: Store) -> dict[str, int]:
    return {one.type: one.count for one in alarms(store)}


def test_an_alarm_that_cannot_be_written_keeps_no_other_from_being_raised(store: Store) -> None:
    refuse(store, "NEW.type = 'bad'", "taskdb_alarm", "INSERT")
    fail(store, type="a")
    fail(store, type="bad")
    fail(store, type="b")
    assert fold(store).messages == 2
    assert sources(store) == {"a": 1, "b": 1}
    assert {loop for loop, _ in aside(store)} == {"fold"}
    # The cursor goes on behind it, and it is counted once it can be.
    fail(store, type="a")
    fold(store)
    assert sources(store) == {"a": 2, "b": 1}
    let_be_due(store)
    fold(store)
    assert len(aside(store)) == 1
    allow(store, "taskdb_alarm")
    let_be_due(store)
    fold(store)
    assert sources(store) == {"a": 2, "b": 1, "bad": 1}
    assert aside(store) == set()
    let_be_due(store)
    fold(store)
    assert sources(store)["bad"] == 1


def test_an_alarm_that_cannot_be_told_keeps_no_other_from_it(store: Store) -> None:
    for kind in ("a", "bad", "b"):
        fail(store, type=kind)
    bad = "(SELECT id FROM taskdb_alarm WHERE type = 'bad')"
    fold(store, channels=())
    over(store)
    write(store, "UPDATE taskdb_alarm SET is_routed = NULL")
    if store.database.dialect.name == "postgresql":
        bad_id = str(write(store, "SELECT id FROM taskdb_alarm WHERE type = 'bad'")[0]["id"])
        refuse(store, f"NEW.alarm_id = '{bad_id}'", "taskdb_delivery", "INSERT")
    else:
        refuse(store, f"NEW.alarm_id = {bad}", "taskdb_delivery", "INSERT")
    assert fold(store).messages == 2
    assert len(messages(store)) == 2
    assert {loop for loop, _ in aside(store)} == {"announce"}
    allow(store, "taskdb_delivery")
    let_be_due(store)
    fold(store)
    assert len(messages(store)) == 3
    fold(store)
    assert aside(store) == set()


@each("detail", ["[1]", '"text"', "7", None], alone=True)
def test_a_failure_that_says_nothing_raises_an_alarm_as_well(
    store: Store, detail: str | None
) -> None:
    run = fail(store)
    value = store.database.dialect.json("detail")
    sql = f"UPDATE taskdb_event SET detail = {value} WHERE task_id = :id"
    write(store, sql, id=run.id, detail=detail)
    fold(store)
    assert [one.count for one in alarms(store)] == [1]
    assert aside(store) == set()


def test_text_that_is_no_json_raises_an_alarm_as_well(sqlite_url: str) -> None:
    with Store(sqlite_url).closing() as store:
        run, other = fail(store), fail(store, type="b")
        write(store, "UPDATE taskdb_event SET detail = '{' WHERE task_id = :id", id=run.id)
        write(store, "UPDATE taskdb_task SET error = '{', input = '{' WHERE id = :id", id=run.id)
        fold(store)
        assert len(alarms(store)) == 2
        assert any(other.id in one.task_ids for one in alarms(store))


@pytest.mark.parametrize(
    ("column", "value"), [("severity", "'loud'"), ("sources", "'[\"never\"]'")]
)
def test_a_policy_that_cannot_be_read_keeps_no_alarm_from_being_raised(
    store: Store, column: str, value: str
) -> None:
    write(
        store,
        f"INSERT INTO taskdb_alarm_policy (type, channels, {column}) VALUES ('a', '[]', {value})",
    )
    fail(store, type="a")
    fail(store, type="b")
    assert fold(store).messages == 2
    assert sources(store) == {"a": 1, "b": 1}


def test_a_route_that_cannot_be_read_keeps_the_others(store: Store) -> None:
    desk = store.alarms
    desk.add_route(Route(to=("ops",)), EVERYONE, None)
    write(store, "INSERT INTO taskdb_alarm_route (channels, source) VALUES ('[\"ops\"]', 'never')")
    write(store, "INSERT INTO taskdb_alarm_route (channels) VALUES ('7')")
    assert len(desk.routes(EVERYONE)) == 1


def test_a_look_for_conditions_bears_one_that_cannot_be_written(store: Store) -> None:
    refuse(store, "NEW.place = 'queue:bad'", "taskdb_alarm", "INSERT")
    for queue in ("bad", "good"):
        write(
            store,
            "INSERT INTO taskdb_task (type, queue, relay_at) VALUES ('x', :queue, :at)",
            queue=queue,
            at="2020-01-01T00:00:00.000Z",
        )
    limits = Limits(LEASE, timedelta(days=9999), {"*": timedelta(seconds=1)})
    StoreUpkeep(store).conditions(rules(), limits).watch()
    assert {one.place for one in alarms(store) if one.source is AlarmSource.BACKLOG} == {
        "queue:good"
    }
    assert {loop for loop, _ in aside(store)} == {"watch"}


def test_a_message_that_cannot_be_taken_keeps_no_other_of_its_channel(store: Store) -> None:
    for kind in ("a", "bad", "b"):
        fail(store, type=kind)
    fold(store)
    bad_id = str(write(store, "SELECT id FROM taskdb_alarm WHERE type = 'bad'")[0]["id"])
    refuse(store, f"OLD.alarm_id = '{bad_id}'", "taskdb_delivery")
    taken = [take(store) for _ in range(3)]
    assert [one is None for one in taken] == [False, False, True]
    assert bad_id not in {one.alarm_id for one in taken if one is not None}
    assert {loop for loop, _ in aside(store)} == {"deliver_alarms"}


def test_a_message_that_cannot_be_read_is_set_aside_with_a_reason(sqlite_url: str) -> None:
    with Store(sqlite_url).closing() as store:
        for kind in ("bad", "good"):
            fail(store, type=kind)
        fold(store)
        bad = "alarm_id = (SELECT id FROM taskdb_alarm WHERE type = 'bad')"
        write(store, f"UPDATE taskdb_delivery SET message = '{{' WHERE {bad}")
        taken = [take(store) for _ in range(2)]
        assert [one is None for one in taken] == [False, True]
        (row,) = store.aside.listed(10)
        assert row.loop == "deliver_alarms" and "JSONDecodeError" in row.reason
