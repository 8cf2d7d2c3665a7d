"""The census and the tally: what is counted of the rows and of their history."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from taskdb.model.alarm.alarm import Alarm, AlarmState, Severity
from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskError
from taskdb.model.schedule.schedule import Origin, Schedule
from taskdb.model.status import OPEN
from taskdb.model.status import TaskStatus as S
from taskdb.model.subscription import EventFilter, SubscriptionState, TransportKind
from taskdb.store.contract import EVERYONE
from taskdb.store.doctor.count import SubscriptionCounts, TaskCount
from taskdb.store.doctor.statistics import MoveCounts, Page, Statistics
from taskdb.store.outgoing.delivery import Passed
from taskdb.store.outgoing.subscription.subscription import NewSubscription
from taskdb.store.schedule.row import Definition
from taskdb.store.store import Store
from taskdb.store.task.worker import Held, WorkerRecord
from taskdb.store.upkeep import StoreUpkeep
from tests.store.alarms import alarms, fail, fold
from tests.store.deliveries import lease, notifications, refused, sent, take
from tests.store.tasks import (
    DONE,
    HOUR,
    OOPS,
    claim,
    create,
    in_status,
    publication,
    queued,
    running,
    write,
)

LEASE = timedelta(seconds=20)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def store(store_url: str, clock: FixedClock) -> Iterator[Store]:
    with Store(store_url, clock=clock).closing() as opened:
        yield opened


def approx(number: float) -> Any:
    # SQLite's days with fractions are good for a tenth of a millisecond.
    return pytest.approx(number, abs=0.001)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def census(store: Store, *, by_tenant: bool = False) -> dict[tuple[str, str], TaskCount]:
    found = StoreUpkeep(store).counts.tasks(by_tenant=by_tenant)
    return {(one.status.value, one.rule or one.tenant): one for one in found}


def tally(store: Store, holder: str = "me") -> Statistics:
    return StoreUpkeep(store).statistics(holder, LEASE)


def page_of(store: Store, reader: Statistics) -> Page:
    """Everything since the reader began."""
    cursor = reader.begin()
    assert cursor is not None
    return reader.read(cursor, 1_000, by_tenant=False)


def moved(page: Page, target: S) -> list[MoveCounts]:
    return [one for one in page.happened if one.target is target]


# --- the census -----------------------------------------------------------------------------------


def test_the_census_counts_what_is_not_over_and_nothing_else(store: Store) -> None:
    for status in S:
        in_status(store, status)
        in_status(store, status)
    found = census(store)
    assert {S(status) for status, _ in found} == OPEN
    assert all(one.number == 2 for one in found.values())
    ready = {status for (status, _), one in found.items() if one.ready}
    assert ready == {"CREATED", "QUEUED"}


def test_the_oldest_is_as_old_as_its_last_move_or_its_time_to_run(
    store: Store, clock: FixedClock
) -> None:
    create(store)
    create(store, delay=seconds(30))
    clock.advance(seconds(10))
    run = queued(store)
    clock.advance(seconds(40))
    found = census(store)
    assert found["CREATED", ""].oldest_ready_seconds == approx(50)
    assert found["QUEUED", ""].oldest_ready_seconds == approx(40)
    # Due, though nobody has taken it out of its status yet: for 20 of the 50 seconds.
    assert found["SCHEDULED", ""].oldest_ready_seconds == approx(20)
    claim(store, run.id)
    clock.advance(seconds(60))
    store.outcomes.error(run.id, "token-1", OOPS, seconds(5))
    assert census(store)["ERRORED", ""].ready == 0
    clock.advance(seconds(6))
    assert census(store)["ERRORED", ""].oldest_ready_seconds == approx(1)


def test_a_clock_that_steps_back_makes_nothing_younger_than_new(
    store: Store, clock: FixedClock
) -> None:
    create(store)
    clock.advance(seconds(-60))
    (one,) = census(store).values()
    assert one.oldest_ready_seconds == 0


def test_what_a_rule_holds_is_told_apart_and_is_not_ready(store: Store) -> None:
    for held in (
        "mutex:acme/k",
        "running:type:sum",
        "starts:queue:q",
        "paused:tenant:acme",
        "admission",
    ):
        task_id = create(store)
        write(store, "UPDATE taskdb_task SET held_by = :held WHERE id = :id", held=held, id=task_id)
    found = census(store)
    rules = {rule for _, rule in found}
    assert rules == {"mutex", "running", "starts", "paused", "admission"}
    assert not any(one.ready for one in found.values())


def test_what_is_only_watched_is_counted_and_is_nobodys_to_take(store: Store) -> None:
    for task_id in (create(store), queued(store).id):
        write(store, "UPDATE taskdb_task SET is_adopted = true WHERE id = :id", id=task_id)
    found = census(store)
    assert {status: one.number for (status, _), one in found.items()} == {"CREATED": 1, "QUEUED": 1}
    assert not any(one.ready for one in found.values())


def test_tenants_are_told_apart_when_that_is_asked_for(store: Store) -> None:
    for tenant in ("acme", "acme", "umbrella"):
        create(store, tenant=tenant)
    assert census(store)["CREATED", ""].number == 3
    by_tenant = census(store, by_tenant=True)
    assert {tenant: one.number for (_, tenant), one in by_tenant.items()} == {
        "acme": 2,
        "umbrella": 1,
    }


def test_workers_are_live_or_stale_or_no_news_any_more(store: Store, clock: FixedClock) -> None:
    workers = store.workers
    both = WorkerRecord("both", "both", "host", 1, queues=("a", "b"))
    for record in (both, WorkerRecord("a", "a", "host", 2, queues=("a",))):
        workers.announce(record)
    workers.announce(WorkerRecord("stopped", "stopped", "host", 3, queues=("a",)))
    workers.stopped("stopped")
    clock.advance(seconds(15))
    counted = StoreUpkeep(store).counts.workers(LEASE)
    assert (counted.live, counted.stale, counted.by_queue) == (2, 0, {"a": 2, "b": 1})
    assert counted.oldest_seen_seconds == approx(15)
    clock.advance(seconds(10))
    workers.renew(both, Held())
    counted = StoreUpkeep(store).counts.workers(LEASE)
    assert (counted.live, counted.stale, counted.by_queue) == (1, 1, {"a": 1, "b": 1})
    clock.advance(seconds(3_600))
    workers.renew(both, Held())
    assert StoreUpkeep(store).counts.workers(LEASE).stale == 0


def test_a_schedule_that_is_due_and_not_fired_lags(store: Store, clock: FixedClock) -> None:
    none = StoreUpkeep(store).counts.schedules()
    assert (none.enabled, none.broken, none.lag_seconds) == (0, 0, 0)
    schedule = Schedule(name="nightly", every=timedelta(minutes=1))
    store.schedules.sync(
        Origin.CODE, [Definition("nightly", "", "sum", None, schedule, Origin.CODE)]
    )
    waits = StoreUpkeep(store).counts.schedules()
    assert (waits.enabled, waits.lag_seconds) == (1, 0)
    clock.advance(seconds(3_600))
    assert StoreUpkeep(store).counts.schedules().lag_seconds > 3_000
    write(store, "UPDATE taskdb_schedule SET last_error = 'no such type'")
    assert StoreUpkeep(store).counts.schedules().broken == 1


def test_alarms_are_counted_until_they_are_resolved(store: Store) -> None:
    none = StoreUpkeep(store).counts.alarms()
    assert (none.numbers, none.unrouted, none.undelivered) == ({}, 0, {})
    store.alarms.declare({"pay": Alarm(severity="critical")})
    for type_ in ("pay", "a", "b", "c", "d"):
        fail(store, type=type_)
    fold(store, channels=())
    by_type = {one.type: one.id for one in alarms(store)}
    acting = store.alarms
    acting.acknowledge(by_type["a"], EVERYONE, "me", None)
    acting.snooze(by_type["b"], EVERYONE, HOUR, "me")
    acting.resolve(by_type["c"], EVERYONE, "me", None)
    found = StoreUpkeep(store).counts.alarms()
    assert found.numbers == {
        (AlarmState.OPEN, Severity.CRITICAL): 1,
        (AlarmState.OPEN, Severity.ERROR): 1,
        (AlarmState.ACKNOWLEDGED, Severity.ERROR): 1,
        (AlarmState.SNOOZED, Severity.ERROR): 1,
    }
    # Somebody knows of the other ones.
    assert (found.unrouted, found.undelivered) == (2, {})


def test_messages_that_no_channel_took_are_as_old_as_their_decision(
    store: Store, clock: FixedClock
) -> None:
    for type_ in ("a", "b"):
        fail(store, type=type_)
    fold(store, channels=("mail", "ops"))
    now = store.database.dialect.now
    write(store, f"UPDATE taskdb_delivery SET created_at = {now}, next_try_at = {now}")
    clock.advance(seconds(90))
    assert sent(store, take(store))
    refused(store, take(store), "no such room")
    found = StoreUpkeep(store).counts.alarms()
    assert {name: one.number for name, one in found.undelivered.items()} == {"mail": 2, "ops": 1}
    assert [one.oldest_seconds for one in found.undelivered.values()] == [approx(90)] * 2
    assert found.unrouted == 0


def test_subscriptions_are_counted_by_state_and_lag_like_the_last_of_them(
    store: Store, clock: FixedClock
) -> None:
    assert StoreUpkeep(store).counts.subscriptions() == SubscriptionCounts({}, 0, 0.0)
    active, paused, dead = SubscriptionState
    for name in ("behind", "in time", "paused", "dead"):
        subscribe(store, name)
    assert StoreUpkeep(store).counts.subscriptions() == SubscriptionCounts({active: 4}, 0, 0.0)
    create(store)
    clock.advance(seconds(40))
    create(store)
    clock.advance(seconds(20))
    leased = {one.name: one for one in lease(store)}
    for name, one in leased.items():
        passed = notifications(store).page(one, one.cursor, scan=10, limit=10).end
        if name == "in time":
            assert notifications(store).advance(one, passed, LEASE, ends=True)
        if name in {"behind", "dead"}:
            notifications(store).fail(
                one,
                Passed(one.cursor, None),
                "503",
                delay=HOUR,
                give_up=HOUR,
                is_final=name == "dead",
            )
    store.subscriptions.pause(leased["paused"].id, EVERYONE)
    found = StoreUpkeep(store).counts.subscriptions()
    assert (found.numbers, found.failing) == ({active: 2, paused: 1, dead: 1}, 1)
    assert found.lag_seconds == approx(60)
    # What is told nothing on purpose, or not any more, is not behind.
    store.subscriptions.pause(leased["behind"].id, EVERYONE)
    assert StoreUpkeep(store).counts.subscriptions().lag_seconds == 0


def subscribe(store: Store, name: str) -> None:
    new = NewSubscription(
        name=name,
        tenant=None,
        transport=TransportKind.LOG,
        target="",
        filter=EventFilter(),
        secret=None,
        created_by=None,
    )
    store.subscriptions.add(new, "now", EVERYONE)


def test_sizes_are_those_of_the_tables_with_their_indexes(store: Store) -> None:
    create(store)
    sizes = StoreUpkeep(store).counts.sizes()
    assert set(sizes) in ({"taskdb_task", "taskdb_event"}, {"database"})
    assert all(size > 8_192 for size in sizes.values())


# --- the tally ------------------------------------------------------------------------------------


def test_moves_waits_and_runs_come_back_as_sums(store: Store, clock: FixedClock) -> None:
    reader = tally(store)
    cursor = reader.begin()
    assert cursor is not None
    for wait, run in ((0.2, 3.0), (20.0, 30.0)):
        task = queued(store)
        clock.advance(seconds(wait))
        claim(store, task.id)
        clock.advance(seconds(run))
        store.outcomes.complete(task.id, "token-1", DONE)
    page = reader.read(cursor, 1_000, by_tenant=False)
    assert page.events == 8
    (created,) = [one for one in page.happened if one.source is None]
    assert (created.type, created.queue, created.tenant, created.number) == (
        "sum",
        "taskdb",
        "",
        2,
    )
    (started,) = moved(page, S.STARTED)
    assert started.waits.number == 2
    assert started.waits.seconds == approx(20.2)
    # Up to 0.1, 0.5, ..., 10, 30 and more seconds.
    assert started.waits.up_to == (0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2)
    (ended,) = moved(page, S.COMPLETED)
    assert ended.runs.number == 2
    assert ended.runs.seconds == approx(33)
    assert ended.waits.number == started.runs.number == 0


def test_a_task_that_was_claimed_unmarked_waited_since_it_was_due(
    store: Store, clock: FixedClock
) -> None:
    reader = tally(store)
    cursor = reader.begin()
    assert cursor is not None
    task_id = create(store, delay=seconds(60))
    clock.advance(seconds(67))
    assert claim(store, task_id)
    page = reader.read(cursor, 100, by_tenant=False)
    (started,) = moved(page, S.STARTED)
    assert (started.waits.number, started.waits.seconds) == (1, approx(7))
    store.outcomes.error(task_id, "token-1", OOPS, seconds(0))
    clock.advance(seconds(100))
    # Of a second attempt without a mark nobody knows since when it waited.
    assert claim(store, task_id, "token-2")
    (started,) = moved(reader.read(page.cursor, 100, by_tenant=False), S.STARTED)
    assert (started.number, started.waits.number) == (1, 0)


def test_an_attempt_counts_also_when_its_row_has_moved_on(store: Store, clock: FixedClock) -> None:
    reader = tally(store)
    cursor = reader.begin()
    assert cursor is not None
    task = queued(store)
    for number, wait, run in ((1, 2.0, 3.0), (2, 20.0, 30.0)):
        clock.advance(seconds(wait))
        assert claim(store, task.id, f"token-{number}")
        clock.advance(seconds(run))
        store.outcomes.error(task.id, f"token-{number}", OOPS, seconds(0))
        assert store.publications.mark_queued([publication(store, task.id)])
    page = reader.read(cursor, 100, by_tenant=False)
    (started,), (errored,) = moved(page, S.STARTED), moved(page, S.ERRORED)
    assert (started.waits.number, started.waits.seconds) == (2, approx(22))
    assert (errored.runs.number, errored.runs.seconds) == (2, approx(33))


def test_a_rescue_and_a_crash_are_told_apart_and_a_rescue_has_no_run(store: Store) -> None:
    reader = tally(store)
    cursor = reader.begin()
    assert cursor is not None
    running(store)
    lost = TaskError("WorkerLost", "not seen")
    assert store.take_backs.rescue(lost, lease=HOUR, limit=10, max_crashes=3)
    run = running(store)
    died = TaskError("billiard.exceptions.WorkerLostError", "exited")
    store.outcomes.crash(run.id, run.token, died, delay=HOUR, max_crashes=3)
    errored = moved(reader.read(cursor, 100, by_tenant=False), S.ERRORED)
    by_loss = {(one.is_rescue, one.is_crash): one for one in errored}
    assert {loss: one.number for loss, one in by_loss.items()} == {
        (True, False): 1,
        (False, True): 1,
    }
    assert by_loss[True, False].runs.number == 0
    assert by_loss[False, True].runs.number == 1


def test_a_remark_is_read_and_not_counted(store: Store) -> None:
    task_id = create(store)
    reader = tally(store)
    cursor = reader.begin()
    assert cursor is not None
    assert store.runs.remark(task_id, {"reason": "looked at"})
    page = reader.read(cursor, 100, by_tenant=False)
    assert (page.happened, page.events) == ((), 1)
    assert reader.read(page.cursor, 100, by_tenant=False).events == 0


def test_a_page_of_pruned_tasks_is_passed_over(store: Store) -> None:
    reader = tally(store)
    cursor = reader.begin()
    assert cursor is not None
    task_id = create(store)
    write(store, "DELETE FROM taskdb_task WHERE id = :id", id=task_id)
    page = reader.read(cursor, 100, by_tenant=False)
    assert page.happened == () and page.events == 1
    assert reader.lag_seconds(page.cursor) == 0


def test_pages_follow_each_other_without_a_gap(store: Store) -> None:
    reader = tally(store)
    cursor = reader.begin()
    assert cursor is not None
    for _ in range(7):
        create(store)
    seen = []
    while (page := reader.read(cursor, 3, by_tenant=False)).events:
        seen.append(page.events)
        cursor = page.cursor
    assert seen == [3, 3, 1]


# --- who reports ----------------------------------------------------------------------------------


def test_one_reports_and_another_one_goes_on_where_it_was(store: Store, clock: FixedClock) -> None:
    first, second = tally(store, "first"), tally(store, "second")
    cursor = first.begin()
    assert cursor is not None and second.begin() is None
    create(store)
    counted = first.read(cursor, 100, by_tenant=False)
    assert first.keep(counted.cursor)
    create(store)
    clock.advance(LEASE - seconds(1))
    assert second.begin() is None
    clock.advance(seconds(2))
    taken = second.begin()
    assert taken == counted.cursor
    assert second.read(taken, 100, by_tenant=False).events == 1
    # What it has read since counts for nothing.
    assert not first.keep(counted.cursor)
    assert first.begin() is None


def test_who_gives_up_is_followed_at_once(store: Store, clock: FixedClock) -> None:
    first, second = tally(store, "first"), tally(store, "second")
    assert first.begin() is not None
    second.give_up()
    assert second.begin() is None
    first.give_up()
    clock.advance(seconds(0.001))
    assert second.begin() is not None


def test_after_a_long_time_without_anyone_it_begins_at_the_end(
    store: Store, clock: FixedClock
) -> None:
    first, second = tally(store, "first"), tally(store, "second")
    cursor = first.begin()
    assert cursor is not None and first.keep(cursor)
    create(store)
    clock.advance(LEASE + seconds(61))
    assert page_of(store, second).events == 0


def test_an_open_transaction_holds_the_tally_up_and_shows_as_lag(postgresql_store: Store) -> None:
    store = postgresql_store
    reader = tally(store)
    cursor = reader.begin()
    assert cursor is not None
    with store.database.transaction() as connection:
        connection.execute(text("SELECT pg_current_xact_id()"))
        create(store)
        assert reader.read(cursor, 100, by_tenant=False).events == 0
        assert reader.lag_seconds(cursor) > 0
    assert reader.read(cursor, 100, by_tenant=False).events == 1
