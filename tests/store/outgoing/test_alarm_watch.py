"""Conditions that no event tells of raise alarms, and resolve them when they are over."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from taskdb.model.alarm.alarm import Alarm, AlarmEntity, AlarmSource, AlarmState
from taskdb.store.contract import Scope
from taskdb.store.outgoing.alarm.condition import Limits, Watched
from taskdb.store.store import Store
from taskdb.store.task.worker import WorkerRecord
from taskdb.store.upkeep import StoreUpkeep
from tests.store.alarms import alarms, messages, only, over, rules
from tests.store.tasks import at_once, create, queued, write

MINUTE = timedelta(minutes=1)
SCHEDULE = "00000000-0000-4000-8000-000000000001"


def watch(store: Store, backlog: dict[str, timedelta] | None = None, **given: Any) -> Watched:
    limits = Limits(lease=timedelta(seconds=20), unconsumed=MINUTE, backlog=backlog or {})
    return StoreUpkeep(store).conditions(rules(**given), limits).watch()


def age(store: Store, minutes: int) -> None:
    """All that waits has waited for so long."""
    d = store.database.dialect
    moment = d.later("-60 * :minutes")
    write(
        store,
        f"UPDATE taskdb_task SET created_at = {moment}, queued_at = {moment},"
        f" relay_at = CASE WHEN status = 'QUEUED' THEN relay_at ELSE {moment} END",
        minutes=minutes,
    )


def worker(store: Store, boot: str = "w@host/1", queues: tuple[str, ...] = ("taskdb",)) -> None:
    record = WorkerRecord(boot, boot.split("/", maxsplit=1)[0], "host", 7, queues=queues)
    store.workers.announce(record)


def vanish(store: Store, minutes: int) -> None:
    """No worker has been seen for so long."""
    moment = store.database.dialect.later("-60 * :minutes")
    write(store, f"UPDATE taskdb_worker SET seen_at = {moment}", minutes=minutes)


def by_source(store: Store) -> dict[AlarmSource, AlarmEntity]:
    return {one.source: one for one in alarms(store)}


def test_a_queue_that_nobody_takes_from_raises_one_alarm_until_somebody_does(store: Store) -> None:
    queued(store, queue="mail")
    create(store, queue="mail")
    worker(store)
    assert watch(store).holding == 0
    age(store, 2)
    assert watch(store).holding == 1
    one = only(store)
    assert (one.source, one.place, one.state) == (AlarmSource.NO_CONSUMER, "mail", AlarmState.OPEN)
    assert "2 tasks in queue 'mail' wait since" in one.message
    watch(store)
    assert (only(store).count, messages(store)) == (1, [("ops", "opened", 1, 1)])

    worker(store, "m@host/1", queues=("mail", "taskdb"))
    assert watch(store).over == 1
    ended = only(store)
    assert (ended.state, ended.note, ended.acted_by) == (AlarmState.RESOLVED, "it is over", None)
    write(store, "DELETE FROM taskdb_worker WHERE id = 'm@host/1'")
    watch(store)
    back = only(store)
    assert (back.state, back.is_regression, back.count) == (AlarmState.OPEN, True, 2)
    assert len(messages(store)) == 1, "its window is still open: what flaps is no storm"
    over(store)
    watch(store)
    assert messages(store)[-1] == ("ops", "regression", 1, 2)


def test_a_backlog_raises_by_queue_by_type_and_by_what_a_type_says(store: Store) -> None:
    store.alarms.declare({"pay": Alarm(backlog=3 * MINUTE), "quiet": Alarm(on=())})
    worker(store)
    for values in ({"type": "pay"}, {"type": "quiet"}, {"queue": "slow", "type": "sum"}):
        queued(store, **values)
    worker(store, "s@host/1", queues=("slow",))
    age(store, 5)
    limits = {"queue:slow": 10 * MINUTE, "type:quiet": MINUTE, "*": 4 * MINUTE}
    watch(store, limits)
    assert {one.place for one in alarms(store)} == {"type:pay", "queue:taskdb"}
    told = {one.place: one.message for one in alarms(store)}
    assert "1 task of type 'pay' waits, the oldest since" in told["type:pay"]
    assert "0:03:00 may pass" in told["type:pay"]

    write(store, "UPDATE taskdb_task SET status = 'COMPLETED' WHERE type = 'pay'")
    assert watch(store, {}).over == 2


def test_what_a_rule_holds_and_what_is_due_later_is_no_backlog(store: Store) -> None:
    create(store, held_by="paused:queue:taskdb")
    create(store, delay=timedelta(hours=1))
    write(store, "UPDATE taskdb_task SET created_at = :at", at=datetime(2026, 1, 1, tzinfo=UTC))

    assert watch(store, {"*": MINUTE}) == Watched()


def test_a_worker_that_vanished_raises_one_alarm_until_it_is_back(store: Store) -> None:
    worker(store)
    worker(store, "stopped@host/1")
    store.workers.stopped("stopped@host/1")
    assert watch(store) == Watched()
    vanish(store, 1)
    assert watch(store) == Watched(holding=1)
    one = only(store)
    assert (one.source, one.place) == (AlarmSource.LOST_WORKER, "w@host")
    assert "process 7 on host" in one.message
    assert watch(store) == Watched(holding=1)
    assert only(store).count == 1
    moment = store.database.dialect.later("-1")
    worker(store, "w@host/2")
    write(store, f"UPDATE taskdb_worker SET started_at = {moment} WHERE id = 'w@host/1'")
    assert watch(store) == Watched(over=1)

    vanish(store, 60 * 25)
    assert watch(store) == Watched(), "a day later nobody waits for it"


def test_an_acknowledged_condition_is_resolved_when_it_is_over(store: Store) -> None:
    worker(store)
    vanish(store, 1)
    watch(store)
    store.alarms.acknowledge(only(store).id, Scope(), "ann", None)
    watch(store)
    assert only(store).state is AlarmState.ACKNOWLEDGED
    worker(store, "w@host/2")
    write(store, "UPDATE taskdb_worker SET started_at = :at WHERE id = 'w@host/1'",
          at=datetime(2026, 1, 1, tzinfo=UTC))  # fmt: skip

    assert watch(store).over == 1


def test_a_condition_that_nobody_was_told_of_yet_is_not_forgotten(store: Store) -> None:
    worker(store)
    vanish(store, 1)
    watch(store)
    store.alarms.resolve(only(store).id, Scope(), None, None)
    write(store, "UPDATE taskdb_alarm SET window_until = :at", at=datetime(2999, 1, 1, tzinfo=UTC))
    watch(store)
    assert (only(store).is_regression, only(store).reported) == (True, 1)
    write(store, "DELETE FROM taskdb_worker")
    assert watch(store).over == 0
    over(store)

    assert watch(store).over == 1
    assert messages(store)[-1] == ("ops", "regression", 1, 2)


def missed(store: Store, due: str, outcome: str = "missed", number: int = 1) -> None:
    write(
        store,
        "INSERT INTO taskdb_schedule_run (schedule_id, due_at, outcome, number, reason)"
        f" VALUES (:id, {store.database.dialect.moment('due')}, :outcome, :number, 'late')",
        id=SCHEDULE,
        due=datetime.fromisoformat(due),
        outcome=outcome,
        number=number,
    )


def test_a_missed_schedule_raises_an_alarm_of_its_tenant_until_it_fires(store: Store) -> None:
    write(
        store,
        "INSERT INTO taskdb_schedule (id, tenant, name, type, cron)"
        " VALUES (:id, 'acme', 'nightly', 'sum', '0 3 * * *')",
        id=SCHEDULE,
    )
    missed(store, "2026-01-01T03:00:00+00:00", number=3)
    missed(store, "2026-01-04T03:00:00+00:00")
    assert watch(store).holding == 1
    one = only(store)
    assert (one.source, one.type, one.place, one.tenant, one.count) == (
        AlarmSource.MISSED_SCHEDULE, "sum", "nightly", "acme", 4,
    )  # fmt: skip
    assert "let 4 due times pass" in one.message
    assert watch(store) == Watched()
    missed(store, "2026-01-05T03:00:00+00:00", "fired")
    assert watch(store) == Watched(over=1)

    store.alarms.declare({"sum": Alarm(on="failed")})
    missed(store, "2026-01-06T03:00:00+00:00")
    watch(store)
    assert only(store).count == 4


def test_what_the_settings_leave_out_is_not_looked_for(store: Store) -> None:
    worker(store)
    vanish(store, 1)
    queued(store)
    age(store, 2)

    assert watch(store, sources=frozenset({AlarmSource.FAILED})) == Watched()


def test_several_looks_at_once_raise_one_alarm(store: Store) -> None:
    worker(store)
    vanish(store, 1)
    at_once(lambda _: watch(store), 5)

    assert (only(store).count, len(messages(store))) == (1, 1)


def test_runs_of_before_the_migration_wake_nobody(store: Store) -> None:
    with store.database.transaction() as connection:
        found = connection.execute(
            text("SELECT count(*) FROM taskdb_schedule_run WHERE NOT is_reported")
        )
        assert found.scalar() == 0
