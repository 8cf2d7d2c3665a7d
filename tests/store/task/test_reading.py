"""Lists, pages and the stream of events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine

from taskdb.errors import InvalidInput, TaskNotFound
from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskEvent, TaskKind, TaskRole
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.task.list import Cursor, EventCursor, Order
from tests.cases import each
from tests.store.tasks import OOPS, at_once, claim, create, draft, in_status, running

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
FOREIGN = "01936e4b-7c00-7000-8000-0123456789ab"


def ids(store: Store, **criteria: Any) -> set[str]:
    return {task.id for task in store.tasks.page(Filter(**criteria), EVERYONE, limit=100)}


@each(
    "one, other",
    [
        ({"tenant": "a"}, {"tenant": "b"}),
        ({"type": "a"}, {"type": "b"}),
        ({"kind": TaskKind.FAN_OUT}, {"kind": TaskKind.SEQUENCE}),
        ({"role": TaskRole.STEP}, {"role": TaskRole.PART}),
        ({"queue": "a"}, {"queue": "b"}),
        ({"unique_key": "a"}, {"unique_key": "b"}),
        ({"request_id": "a"}, {"request_id": "b"}),
        ({"created_by": "a"}, {"created_by": "b"}),
    ],
    alone=True,
)
def test_a_filter_finds_what_is_alike(
    store: Store, one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, second = create(store, **one), create(store, **other)
    assert ids(store, **one) == {first}
    assert ids(store, **other) == {second}


def test_a_filter_finds_by_status(store: Store) -> None:
    runs = {status: in_status(store, status).id for status in TaskStatus}
    for status in TaskStatus:
        assert ids(store, status=(status,)) == {runs[status]}
    both = (TaskStatus.FAILED, TaskStatus.HALTED)
    assert ids(store, status=both) == {runs[status] for status in both}


def test_parents_and_sub_tasks_are_not_mixed_unless_asked(store: Store) -> None:
    parent = create(store)
    parts = [create(store, parent_id=parent, position=number) for number in range(3)]
    assert ids(store) == {parent}
    assert ids(store, parent_id=parent) == set(parts)
    assert ids(store, with_sub_tasks=True) == {parent, *parts}
    assert ids(store, parent_id="no id") == set()
    assert store.tasks.get_sub_task(parent, 2, scope=EVERYONE).id == parts[2]
    for position in (3, -1):
        with pytest.raises(TaskNotFound):
            store.tasks.get_sub_task(parent, position, scope=EVERYONE)


def test_a_filter_finds_by_tag_and_attributes(store: Store) -> None:
    task = create(
        store,
        tags=("red", 'it\'s "so"'),
        attributes={"text": "1", "number": 1, "flag": True, "none": None, 'odd "key".x': "x"},
    )
    create(store, tags=("reddish",), attributes={"text": "2", "number": 2, "flag": False})
    for tag in ("red", 'it\'s "so"'):
        assert ids(store, tag=tag) == {task}
    for found in (
        {"text": "1"}, {"number": 1}, {"number": 1.0}, {"flag": True}, {"none": None},
        {'odd "key".x': "x"}, {"text": "1", "number": 1},
    ):  # fmt: skip
        assert ids(store, attributes=found) == {task}, found
    for missed in (
        {"text": 1},
        {"number": "1"},
        {"flag": 1},
        {"text": "1", "number": 2},
        {"x": None},
    ):
        assert ids(store, attributes=missed) == set(), missed


@each("words", ["50%", "a_b", "back\\slash", "'quote", "name"], alone=True)
def test_a_search_takes_words_to_the_letter(store: Store, words: str) -> None:
    task = create(store, name=f"the {words} of it")
    create(store, name="50 percent, aXb, backslash")
    assert task in ids(store, search=words)
    assert len(ids(store, search=words)) == 1


def test_a_search_looks_into_name_type_key_and_request(store: Store) -> None:
    found = {
        create(store, name="find ME"),
        create(store, type="find me"),
        create(store, unique_key="find me"),
        create(store, request_id="find me"),
    }
    create(store, queue="find me")
    assert ids(store, search="Find Me") == found


def test_a_filter_finds_by_time(store_url: str) -> None:
    clock = FixedClock(NEW_YEAR)
    with Store(store_url, clock=clock).closing() as store:
        made = []
        for _ in range(3):
            made.append(create(store))
            clock.advance(timedelta(hours=1))
        assert ids(store, created_from=NEW_YEAR + timedelta(hours=1)) == set(made[1:])
        assert ids(store, created_before=NEW_YEAR + timedelta(hours=1)) == {made[0]}


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_are_whole_on_equal_times(store_url: str, order: Order) -> None:
    with Store(store_url, clock=FixedClock(NEW_YEAR)).closing() as store:
        made = sorted(
            one.id for one in store.submissions.create([draft() for _ in range(25)], EVERYONE)
        )
        seen: list[str] = []
        after = None
        while page := store.tasks.page(Filter(), EVERYONE, limit=4, order=order, after=after):
            seen += [task.id for task in page]
            after = Cursor.parse(str(Cursor(page[-1].created_at, page[-1].id)))
        assert seen == (made if order == "oldest" else made[::-1])


def test_new_tasks_do_not_disturb_the_pages_behind_a_cursor(store: Store) -> None:
    made = [create(store) for _ in range(6)]
    first = store.tasks.page(Filter(), EVERYONE, limit=3)
    after = Cursor(first[-1].created_at, first[-1].id)
    create(store)
    rest = store.tasks.page(Filter(), EVERYONE, limit=10, after=after)
    assert [task.id for task in [*first, *rest]] == made[::-1]


@each(
    "garbage",
    [
        "x", "", "äöü", "bm8", "WzFd", "W10", "WyJub3ciLCAieCJd", "[" * 100_000,
        "W1tb" * 50_000,
        str(EventCursor(1, 2)),
        str(EventCursor(-1, 2)),
        str(Cursor(NEW_YEAR.replace(tzinfo=None), FOREIGN)),
        str(Cursor(NEW_YEAR, "no id")),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_cursor_is_refused(store: Store, garbage: str) -> None:
    with pytest.raises(InvalidInput, match="not a cursor"):
        Cursor.parse(garbage)
    if garbage and garbage != str(EventCursor(1, 2)):
        with pytest.raises(InvalidInput, match="not a cursor"):
            store.tasks.events_after(garbage, 10, EVERYONE)


# --- events ---------------------------------------------------------------------------------------


def read_all(store: Store, cursor: str | None = None, limit: int = 3) -> list[TaskEvent]:
    seen: list[TaskEvent] = []
    while (page := store.tasks.events_after(cursor, limit, EVERYONE)).events:
        seen += page.events
        cursor = page.cursor
    assert store.tasks.events_after(cursor, limit, EVERYONE).cursor == (cursor or page.cursor)
    return seen


def test_all_events_are_read_once_and_in_order(store: Store) -> None:
    runs = [running(store) for _ in range(4)]
    for run in runs:
        store.outcomes.fail(run.id, run.token, OOPS)
    seen = read_all(store)
    assert len(seen) == 12
    for run in runs:
        assert [event for event in seen if event.task_id == run.id] == store.tasks.history(
            run.id, EVERYONE
        )


def test_a_reader_goes_on_where_it_stopped(store: Store) -> None:
    create(store)
    page = store.tasks.events_after(None, 10, EVERYONE)
    assert len(page.events) == 1
    assert store.tasks.events_after(page.cursor, 10, EVERYONE).events == ()
    later = create(store)
    assert [
        event.task_id for event in store.tasks.events_after(page.cursor, 10, EVERYONE).events
    ] == [later]


def test_an_event_that_is_committed_late_is_not_missed(postgresql_store: Store) -> None:
    """Its number is the lower one, and was not to be seen when the higher one was."""
    store = postgresql_store
    start = create(store)
    cursor = store.tasks.events_after(None, 10, EVERYONE).cursor
    engine = create_engine(store.database.url)
    with engine.begin() as connection:
        (slow,) = store.submissions.create([draft()], EVERYONE, connection=connection)
        quick = create(store)
        assert store.tasks.get(quick, EVERYONE).id == quick
        # Nothing behind the open transaction is given away, or its own event would be passed by.
        held = store.tasks.events_after(cursor, 10, EVERYONE)
        assert (held.events, held.cursor) == ((), cursor)
    engine.dispose()
    seen = [event.task_id for event in read_all(store, cursor, 1)]
    assert seen == [slow.id, quick]
    assert start not in seen


def test_readers_miss_nothing_of_many_writers(store: Store) -> None:
    seen: list[int] = []

    def work(number: int) -> None:
        if number:
            for _ in range(15):
                run = running(store)
                store.outcomes.fail(run.id, run.token, OOPS)
            return
        cursor = None
        # Beside the writers: an empty page says nothing of the next one.
        for _ in range(60):
            page = store.tasks.events_after(cursor, 7, EVERYONE)
            seen.extend(event.id for event in page.events)
            cursor = page.cursor

    at_once(work, 4)
    rest = [event.id for event in read_all(store)]
    assert len(rest) == 3 * 15 * 3
    assert set(seen) <= set(rest)
    assert len(seen) == len(set(seen))
    assert seen == rest[: len(seen)]


def test_history_is_in_order_and_of_one_task(store: Store) -> None:
    one, other = create(store), create(store)
    claim(store, other)
    claim(store, one)
    assert [event.to_status for event in store.tasks.history(one, EVERYONE)] == [
        "CREATED",
        "STARTED",
    ]
    assert {event.task_id for event in store.tasks.history(one, EVERYONE)} == {one}
