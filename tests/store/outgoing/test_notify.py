"""Subscriptions in the store: leased by one, read by cursor, moved on, and nothing skipped."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from taskdb.errors import InvalidInput, SubscriptionExists, SubscriptionNotFound
from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskKind
from taskdb.model.status import TaskStatus
from taskdb.model.subscription import (
    EventFilter,
    SubscriptionEntity,
    SubscriptionState,
    TransportKind,
)
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.outgoing.delivery import LeasedSubscription, Page, Passed
from taskdb.store.outgoing.subscription.subscription import BEGINNING, NewSubscription, Start
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from taskdb.store.task.list import EventCursor
from tests.cases import each
from tests.store.deliveries import lease, notifications
from tests.store.tasks import DONE, HOUR, OOPS, SOON, claim, create, draft, running, write

MINUTE = timedelta(minutes=1)
ACME = Scope(("acme",))


def add(
    store: Store,
    name: str = "hook",
    *,
    tenant: str | None = None,
    start: Start = "now",
    **wanted: Any,
) -> SubscriptionEntity:
    new = NewSubscription(
        name=name,
        tenant=tenant,
        transport=TransportKind.WEBHOOK,
        target="https://receiver.example/",
        filter=EventFilter(**wanted),
        secret="whsec_AAAA",
        created_by=None,
    )
    return store.subscriptions.add(new, start, EVERYONE)


def read(store: Store, leased: LeasedSubscription, **options: Any) -> Page:
    after = options.pop("after", leased.cursor)
    return notifications(store).page(leased, after, **{"scan": 1_000, "limit": 100, **options})


def told(page: Page) -> list[tuple[str, str]]:
    return [(one.content.event.task_id, one.content.event.to_status) for one in page.due]


def read_all(store: Store, **options: Any) -> list[tuple[str, str]]:
    """Everything that the one subscription is to be told, a page at a time, moving it on."""
    found = []
    for number in range(100):
        leased = lease(store, f"reader {number}")
        if not leased:
            return found
        page = read(store, leased[0], **options)
        found += told(page)
        assert notifications(store).advance(leased[0], page.end, MINUTE, ends=True)
    raise AssertionError("it does not end")


@pytest.mark.parametrize("xid", [2**63 - 1, 2**61])
def test_an_event_whose_xid_was_written_by_hand_keeps_no_later_one_from_being_told(
    store: Store, xid: int
) -> None:
    add(store)
    first = create(store)
    write(
        store,
        f"INSERT INTO taskdb_event (task_id, to_status, xid) SELECT id, status, {xid}"
        " FROM taskdb_task",
    )
    assert read_all(store) == [(first, "CREATED")]
    second = create(store)
    assert read_all(store) == [(second, "CREATED")]
    (found,) = [
        one for one in store.doctor.drifts(lease=MINUTE) if one.name == "event_without_order"
    ]
    assert found.examples == (first,)


def test_a_subscription_with_text_for_a_number_is_set_aside_and_others_are_told(
    sqlite_url: str,
) -> None:
    with Store(sqlite_url).closing() as store:
        bad = add(store, "bad")
        add(store, "good")
        create(store)
        write(store, "UPDATE taskdb_subscription SET attempts = '!' WHERE name = 'bad'")
        assert [one.name for one in lease(store)] == ["good"]
        assert {(one.loop, one.key) for one in store.aside.listed(10)} == {("deliver", bad.id)}


def test_a_subscription_is_told_what_comes_after_it(store: Store) -> None:
    create(store)
    add(store)
    assert lease(store) == []
    run = running(store)
    store.outcomes.complete(run.id, run.token, DONE)
    (leased,) = lease(store)
    page = read(store, leased)
    assert told(page) == [(run.id, "CREATED"), (run.id, "STARTED"), (run.id, "COMPLETED")]
    first, _, last = (one.content for one in page.due)
    assert (first.result, last.result) == (None, {"sum": 3})
    assert (last.type, last.kind, last.event.attempt) == ("sum", TaskKind.TASK, 1)
    assert last.event.from_status is TaskStatus.STARTED


def test_one_at_a_time_has_the_lease_and_only_that_one_moves_the_cursor(store: Store) -> None:
    add(store)
    create(store)
    (first,) = lease(store, "one", lease=timedelta(seconds=-1))
    (second,) = lease(store, "two")
    assert lease(store, "three") == []
    end = read(store, first).end
    assert not notifications(store).advance(first, end, MINUTE, ends=True)
    assert (
        notifications(store).fail(first, end, "x", delay=SOON, give_up=HOUR, is_final=True) is None
    )
    assert store.subscriptions.get("hook", EVERYONE).cursor == str(second.cursor)
    assert notifications(store).advance(second, Passed(end.cursor, end.at, 1), MINUTE, ends=True)
    after = store.subscriptions.get("hook", EVERYONE)
    assert (after.cursor, after.cursor_at, after.sent) == (str(end.cursor), end.at, 1)
    assert after.last_sent_at is not None
    assert lease(store, "four") == []


def test_those_that_this_process_serves_still_are_left_out(store: Store) -> None:
    (one, other) = add(store, "one"), add(store, "other")
    create(store)
    assert [leased.id for leased in lease(store, busy=[one.id])] == [other.id]


def test_nothing_is_written_where_nothing_is_ahead(postgresql_store: Store) -> None:
    add(postgresql_store)
    (before,) = write(postgresql_store, "SELECT xmin::text AS x FROM taskdb_subscription")
    assert lease(postgresql_store) == []
    (after,) = write(postgresql_store, "SELECT xmin::text AS x FROM taskdb_subscription")
    assert before == after


@each(
    "wanted, count",
    [
        ({}, 6),
        ({"type": "mail.send"}, 3),
        ({"type": "mail.*"}, 3),
        ({"type": "Mail.*"}, 0),
        ({"type": "mail_*"}, 0),
        ({"type": "*"}, 6),
        ({"kind": TaskKind.TASK}, 6),
        ({"kind": TaskKind.FAN_OUT}, 0),
        ({"statuses": (TaskStatus.COMPLETED, TaskStatus.FAILED)}, 2),
        ({"statuses": (TaskStatus.HALTED,)}, 0),
        ({"with_sub_tasks": True}, 7),
    ],
    alone=True,
)
def test_a_filter_lets_pass_what_fits_and_the_cursor_moves_on_anyway(
    store: Store, wanted: dict[str, Any], count: int
) -> None:
    add(store, **wanted)
    runs = [running(store, type=name) for name in ("mail.send", "import")]
    create(store, parent_id=runs[1].id, position=0)
    store.outcomes.complete(runs[0].id, runs[0].token, DONE)
    store.outcomes.fail(runs[1].id, runs[1].token, OOPS)
    assert len(read_all(store, scan=2)) == count
    assert lease(store) == []


def test_remarks_that_move_nothing_are_not_told(store: Store) -> None:
    add(store)
    run = running(store)
    store.runs.remark(run.id, {"reason": "a remark"})
    assert told(read(store, lease(store)[0])) == [(run.id, "CREATED"), (run.id, "STARTED")]


def test_a_subscription_of_a_tenant_never_carries_another_ones_event(store: Store) -> None:
    add(store, "acme", tenant="acme")
    add(store, "nobody", tenant="")
    add(store, "all")
    made = {tenant: create(store, tenant=tenant) for tenant in ("acme", "other", "")}
    found = {one.name: {task for task, _ in told(read(store, one))} for one in lease(store)}
    assert found == {"acme": {made["acme"]}, "nobody": {made[""]}, "all": set(made.values())}


def test_a_scope_sees_and_moves_its_own_subscriptions_only(store: Store) -> None:
    add(store, "mine", tenant="acme")
    others = [add(store, "theirs", tenant="other"), add(store, "all"), add(store, "mine")]
    assert [one.tenant for one in store.subscriptions.all(ACME)] == ["acme"]
    assert store.subscriptions.get("mine", ACME).tenant == "acme"
    for one in others:
        for act in (
            lambda i: store.subscriptions.get(i, ACME),
            lambda i: store.subscriptions.pause(i, ACME),
            lambda i: store.subscriptions.resume(i, ACME, "beginning"),
            lambda i: store.subscriptions.rotate_secret(i, "x", HOUR, ACME),
            lambda i: store.subscriptions.secrets(i, ACME),
            lambda i: store.subscriptions.remove(i, ACME),
        ):
            with pytest.raises(SubscriptionNotFound):
                act(one.id)
    assert len(store.subscriptions.all(EVERYONE)) == 4
    with pytest.raises(InvalidInput, match="pass a tenant or an id"):
        store.subscriptions.get("mine", EVERYONE)
    with pytest.raises(SubscriptionExists):
        add(store, "mine", tenant="acme")


def test_a_tenant_that_names_its_subscription_as_anothers_id_keeps_nobody_from_it(
    store: Store,
) -> None:
    whole = add(store, "all")
    mine = add(store, whole.id, tenant="acme")
    assert store.subscriptions.get(whole.id, EVERYONE).id == whole.id
    assert store.subscriptions.pause(whole.id, EVERYONE).id == whole.id
    assert store.subscriptions.get(whole.id, ACME).id == mine.id
    store.subscriptions.remove(whole.id, EVERYONE)
    assert [one.id for one in store.subscriptions.all(EVERYONE)] == [mine.id]


def test_a_target_that_fails_is_tried_later_and_dead_in_the_end(store_url: str) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        add(store)
        create(store)
        states = []
        for attempt in range(4):
            (leased,) = lease(store)
            assert leased.attempts == attempt
            here = Passed(leased.cursor, None)
            states.append(
                notifications(store).fail(
                    leased, here, "oops", delay=HOUR, give_up=3 * HOUR, is_final=False
                )
            )
            assert lease(store) == []
            clock.advance(HOUR)
        assert states == [SubscriptionState.ACTIVE] * 3 + [SubscriptionState.DEAD]
        assert lease(store) == []
        dead = store.subscriptions.get("hook", EVERYONE)
        assert (dead.attempts, dead.last_error) == (4, "oops")
        assert dead.failing_since == datetime(2026, 1, 1, tzinfo=UTC)
        assert [one.name for one in store.doctor.drifts(lease=MINUTE) if "sub" in one.name] == [
            "subscription_dead"
        ]
        again = store.subscriptions.resume("hook", EVERYONE)
        assert (again.state, again.attempts, again.last_error) == ("active", 0, None)
        (leased,) = lease(store)
        here = Passed(leased.cursor, None)
        final = notifications(store).fail(
            leased, here, "gone", delay=HOUR, give_up=HOUR, is_final=True
        )
        assert final is SubscriptionState.DEAD


def test_what_was_sent_before_a_failure_counts_as_a_success(store: Store) -> None:
    add(store)
    for _ in range(2):
        create(store)
    for _ in range(2):
        (leased,) = lease(store)
        here = Passed(leased.cursor, None)
        notifications(store).fail(leased, here, "oops", delay=SOON, give_up=HOUR, is_final=False)
    (leased,) = lease(store)
    first = read(store, leased).due[0]
    passed = first.after
    notifications(store).fail(leased, passed, "oops", delay=SOON, give_up=HOUR, is_final=False)
    found = store.subscriptions.get("hook", EVERYONE)
    assert (found.attempts, found.sent, found.cursor) == (1, 1, str(first.after.cursor))
    assert len(read(store, lease(store)[0]).due) == 1


def test_a_paused_one_is_not_served_and_who_serves_it_loses_it(store: Store) -> None:
    add(store)
    create(store)
    (leased,) = lease(store)
    store.subscriptions.pause("hook", EVERYONE)
    assert not notifications(store).advance(leased, read(store, leased).end, MINUTE, ends=True)
    assert lease(store) == []
    store.subscriptions.resume("hook", EVERYONE)
    assert len(read_all(store)) == 1


def test_a_replay_begins_at_any_place_and_a_late_cursor_cannot_undo_it(store_url: str) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        made = []
        for _ in range(4):
            made.append(create(store))
            clock.advance(HOUR)
        subscription = add(store, start=datetime(2026, 1, 1, 1, tzinfo=UTC))
        (leased,) = lease(store)
        end = read(store, leased).end
        store.subscriptions.resume(subscription.id, EVERYONE, "beginning")
        assert not notifications(store).advance(leased, end, MINUTE, ends=True)
        clock.advance(HOUR)
        assert [task for task, _ in read_all(store)] == made
        for start, expected in (
            (datetime(2026, 1, 1, 1, tzinfo=UTC), made[1:]),
            (datetime(2026, 1, 1, 1, 1, tzinfo=UTC), made[2:]),
            (datetime(2030, 1, 1, tzinfo=UTC), []),
            (leased.cursor, made[1:]),
            (BEGINNING, made),
            ("now", []),
        ):
            store.subscriptions.resume(subscription.id, EVERYONE, start)
            assert [task for task, _ in read_all(store)] == expected, start


def test_a_secret_that_was_exchanged_signs_until_its_time_is_over(store_url: str) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        one = add(store)
        store.subscriptions.rotate_secret(one.id, "whsec_new", HOUR, EVERYONE)
        create(store)
        assert lease(store)[0].secrets == ("whsec_new", "whsec_AAAA")
        assert store.subscriptions.secrets(one.id, EVERYONE) == ["whsec_new", "whsec_AAAA"]
        clock.advance(HOUR)
        assert lease(store)[0].secrets == ("whsec_new",)
        store.subscriptions.rotate_secret(one.id, "whsec_newer", timedelta(0), EVERYONE)
        assert store.subscriptions.secrets(one.id, EVERYONE) == ["whsec_newer"]
        assert "whsec" not in repr(store.subscriptions.get(one.id, EVERYONE)) + repr(lease(store))


def test_what_is_too_large_is_not_even_read(store: Store) -> None:
    add(store)
    large = running(store, attributes={"a": "x" * 40_000}, notify_id="mine")
    store.outcomes.complete(large.id, large.token, Payload("y" * 20_000, '"' + "y" * 20_000 + '"'))
    last = read(store, lease(store)[0]).due[-1].content
    assert (last.attributes, last.result, last.notify_id) == ({}, None, "mine")


# --- commits out of order, on PostgreSQL ----------------------------------------------------------


@contextmanager
def transaction(store: Store) -> Iterator[Connection]:
    """One of a user's, which is open for as long as the test likes."""
    engine = create_engine(store.database.url)
    with engine.connect() as connection, connection.begin() as open_one:
        connection.execute(text("SELECT pg_current_xact_id()"))
        yield connection
        if open_one.is_active:
            open_one.commit()
    engine.dispose()


def test_an_event_that_is_committed_late_is_not_skipped(postgresql_store: Store) -> None:
    """Two interleaved transactions: the one that began first is committed last."""
    store = postgresql_store
    add(store)
    with transaction(store) as open_one:
        early = create_in(store, open_one)
        late = create(store)
        # The later number is committed, and not told yet: the cursor may not pass the open one.
        assert read_all(store) == []
        open_one.commit()
    assert read_all(store) == [(early, "CREATED"), (late, "CREATED")]


def test_events_of_one_task_stay_in_order_when_a_lower_number_follows(
    postgresql_store: Store,
) -> None:
    """A transaction takes its number, another one moves the task, then the first one does.

    The order of the numbers is not that of the task; and a third transaction, still open, hides
    the higher number behind the horizon while the lower one may be read.
    """
    store = postgresql_store
    add(store)
    task_id = create(store)
    assert read_all(store) == [(task_id, "CREATED")]
    with transaction(store) as low, transaction(store) as between:
        assert claim(store, task_id)
        low.execute(
            text(
                "WITH moved AS (UPDATE taskdb_task SET status = 'HALTED' WHERE id = :id"
                " RETURNING id) INSERT INTO taskdb_event (task_id, tenant, from_status, to_status,"
                " attempt) SELECT id, 'acme', 'STARTED', 'HALTED', 1 FROM moved"
            ),
            {"id": task_id},
        )
        low.commit()
        assert [one.to_status for one in store.tasks.history(task_id, EVERYONE)][1:] == [
            "STARTED",
            "HALTED",
        ]
        for limit in (1, 100):
            (leased,) = lease(store, f"limit {limit}")
            page = read(store, leased, limit=limit)
            assert told(page)[0] == (task_id, "STARTED"), "it is told first"
            store.subscriptions.resume(leased.id, EVERYONE, leased.cursor)
        assert read_all(store) == [(task_id, "STARTED"), (task_id, "HALTED")]
        between.commit()
    # Its own number is past the horizon now: it was told, and is not told again.
    other = create(store)
    assert read_all(store) == [(other, "CREATED")]


def create_in(store: Store, connection: Connection) -> str:
    return store.submissions.create([draft()], EVERYONE, connection=connection)[0].id


def test_the_position_of_a_cursor_is_that_of_the_history(postgresql_store: Store) -> None:
    store = postgresql_store
    start = EventCursor.parse(add(store, start="beginning").cursor)
    assert start == BEGINNING
    create(store)
    page = store.tasks.events_after(None, 10, EVERYONE)
    (leased,) = lease(store)
    assert str(read(store, leased).end.cursor) == page.cursor
