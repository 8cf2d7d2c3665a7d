"""Subscriptions and events that cannot be read or written: all others are served."""

from taskdb.store.store import Store
from tests.cases import each
from tests.store.deliveries import lease
from tests.store.outgoing.test_notify import add, read, told
from tests.store.poison import allow, aside, let_be_due, refuse
from tests.store.tasks import create, write


@each(
    "columns",
    ["statuses = '[\"NEVER\"]'", "statuses = '7'", "statuses = '[7]'"],
    alone=True,
)
def test_a_filter_that_cannot_be_read_keeps_no_other_from_being_served(
    store: Store, columns: str
) -> None:
    ids = {name: add(store, name).id for name in ("a", "bad", "b")}
    write(store, f"UPDATE taskdb_subscription SET {columns} WHERE name = 'bad'")
    create(store)
    assert {one.name for one in lease(store)} == {"a", "b"}
    assert aside(store) == {("deliver", ids["bad"])}
    assert lease(store) == []
    write(store, "UPDATE taskdb_subscription SET statuses = '[]', lease_until = NULL")
    let_be_due(store)
    assert "bad" in {one.name for one in lease(store)}


def test_a_subscription_that_cannot_be_leased_keeps_no_other_from_it(store: Store) -> None:
    ids = {name: add(store, name).id for name in ("a", "bad", "b")}
    refuse(store, "OLD.name = 'bad'", "taskdb_subscription")
    create(store)
    assert {one.name for one in lease(store)} == {"a", "b"}
    assert aside(store) == {("deliver", ids["bad"])}
    allow(store, "taskdb_subscription")
    let_be_due(store)
    assert [one.name for one in lease(store)] == ["bad"]


@each("value", ["[1]", '"text"', "7"], alone=True)
def test_an_event_that_says_nothing_readable_is_told_all_the_same(store: Store, value: str) -> None:
    add(store)
    first, second = create(store), create(store)
    json_of = store.database.dialect.json("value")
    for table, column, key in (
        ("taskdb_event", "detail", "task_id"),
        ("taskdb_task", "attributes", "id"),
    ):
        sql = f"UPDATE {table} SET {column} = {json_of} WHERE {key} = :id"
        write(store, sql, id=first, value=value)
    (leased,) = lease(store)
    page = read(store, leased)
    assert told(page) == [(first, "CREATED"), (second, "CREATED")]
    assert page.due[0].content.event.detail == {}
    assert page.due[0].content.attributes == {}


def test_text_that_is_no_json_is_left_out_of_what_is_told(sqlite_url: str) -> None:
    with Store(sqlite_url).closing() as store:
        add(store)
        first, second = create(store), create(store)
        write(store, "UPDATE taskdb_event SET detail = '{' WHERE task_id = :id", id=first)
        write(
            store, "UPDATE taskdb_task SET attributes = '{', result = '{' WHERE id = :id", id=first
        )
        (leased,) = lease(store)
        assert told(read(store, leased)) == [(first, "CREATED"), (second, "CREATED")]
