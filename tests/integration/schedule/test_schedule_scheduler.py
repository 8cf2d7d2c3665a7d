"""The scheduler class of Celery's command, in this process: what it declares and sends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from celery import Celery
from celery.beat import BeatLazyFunc, ScheduleEntry
from celery.schedules import crontab, schedule
from celery.signals import after_task_publish
from tests.integration.schedule.schedule_site import MINUTE, START, Site
from tests.integration.submit_site import depth, plus, settings

from taskdb import Alarm, BrokerUnreachable, Registry, Schedule, task
from taskdb.model.clock import FixedClock
from taskdb.model.schedule import ScheduleEntity
from taskdb.model.schedule.schedule import Origin
from taskdb.store.contract import EVERYONE
from taskdb.store.schedule.row import Definition
from taskdb_beat.scheduler import DatabaseScheduler

NOWHERE = "redis://127.0.0.1:1/0"


def registry() -> Registry:
    found = Registry()
    limited = {"max_running": 2, "alarm": Alarm(on=("failed",), severity="critical")}
    task("plus", registry=found, **limited)(plus)  # type: ignore[arg-type]
    return found


@contextmanager
def scheduler(
    store_url: str,
    folder: Path,
    entries: dict[str, Any],
    broker: str = NOWHERE,
    types: Registry | None = None,
    **conf: Any,
) -> Iterator[tuple[Site, DatabaseScheduler]]:
    """One whose loops do not run."""
    site = Site(settings(store_url, folder), types or registry(), FixedClock(START))
    app = Celery("app", broker=broker, set_as_current=False)
    app.conf.update(beat_schedule=entries, broker_connection_retry=False, **conf)
    app.conf.task_publish_retry = False
    # One try at a broker that does not listen; kombu makes three, with pauses of 6 s together.
    app.conf.broker_transport_options = {"max_retries": 0}
    app.taskdb_reader = site.taskdb
    made = DatabaseScheduler(app, lazy=True)
    try:
        yield site, made
    finally:
        made.close()
        app.close()


def test_celerys_beat_declares_limits_alarms_and_schedules(store_url: str, tmp_path: Path) -> None:
    entries = {"ours": {"task": "plus", "schedule": 60, "kwargs": {"a": 1}}}
    with scheduler(store_url, tmp_path, entries) as (its, beat):
        beat.tick()
        assert [one.name for one in its.taskdb.limits.list()] == ["plus"]
        assert its.write("SELECT type FROM taskdb_alarm_policy")[0]["type"] == "plus"
        assert [one.name for one in its.taskdb.schedules.list()] == ["ours"]


def test_celerys_beat_waits_while_the_broker_is_unreachable(store_url: str, tmp_path: Path) -> None:
    entries = {name: {"task": "foreign.ping", "schedule": 60} for name in ("one", "two")}
    with scheduler(store_url, tmp_path, entries) as (its, beat):
        beat.tick()
        its.clock.advance(2 * MINUTE)
        waits = [beat.tick() for _ in range(6)]
        assert min(waits) > 0.1
        # Both were tried, and what was due is kept.
        assert all("was not sent" in str(one.last_error) for one in its.taskdb.schedules.list())
        assert its.runs("one") == its.runs("two") == []


def test_a_broker_that_is_back_gets_what_was_due(
    store_url: str, tmp_path: Path, redis_url: str
) -> None:
    entries = {"one": {"task": "foreign.ping", "schedule": crontab(), "options": {"queue": "q"}}}
    with scheduler(store_url, tmp_path, entries) as (its, beat):
        beat.tick()
        its.clock.advance(MINUTE)
        assert beat.tick() > 0
    with scheduler(store_url, tmp_path, entries, redis_url) as (its, beat):
        its.clock.advance(MINUTE)
        while beat.tick() == 0:
            pass
        assert its.runs("one") == [("10:01:00", "fired", 1)]
        assert its.taskdb.schedules.get("one").last_error is None
        with beat.app.connection_for_read() as connection:
            queue = connection.SimpleQueue("q")
            assert queue.qsize() == 1
            queue.close()


def test_a_beat_that_is_stopped_while_it_sends_records_what_it_has_sent(
    store_url: str, tmp_path: Path, redis_url: str, as_celerys_command: None
) -> None:
    def stop(**_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    entries = {"one": {"task": "foreign.ping", "schedule": crontab(), "options": {"queue": "q"}}}
    with scheduler(store_url, tmp_path, entries, redis_url) as (its, beat):
        beat.tick()
        its.clock.advance(MINUTE)
        after_task_publish.connect(stop)
        try:
            with pytest.raises(SystemExit):
                tick_for_ever(beat)
        finally:
            after_task_publish.disconnect(stop)
        assert its.runs("one") == [("10:01:00", "fired", 1)]
        assert depth(redis_url, "q") == 1


def tick_for_ever(beat: DatabaseScheduler) -> NoReturn:
    while True:
        beat.tick()


@pytest.fixture
def as_celerys_command() -> Iterator[None]:
    """A handler of SIGTERM that raises, as `celery beat` has one."""

    def end(*_: object) -> None:
        raise SystemExit

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def plain(its: Site, name: str = "it") -> None:
    message = {"args": [], "kwargs": {}, "options": {}}
    one = Schedule("* * * * *", misfire="run_all")
    its.taskdb.store.schedules.add(
        Definition(name, "", "foreign.ping", None, one, Origin.CELERY, message=message), EVERYONE
    )


def test_no_transaction_is_open_while_a_message_is_sent(store_url: str, tmp_path: Path) -> None:
    """Another process changes the schedule meanwhile, and its change stays."""
    with scheduler(store_url, tmp_path, {}) as (its, _):
        plain(its)
        its.clock.advance(MINUTE)

        def send(one: ScheduleEntity, _due: datetime) -> None:
            its.taskdb.schedules.pause(one.id)

        assert its.taskdb.store.firings.send_due(send).sent == 1
        assert not its.taskdb.schedules.get("it").is_enabled
        assert its.runs() == [("10:01:00", "fired", 1)]


def test_a_schedule_that_is_being_sent_is_kept_from_other_beats(
    store_url: str, tmp_path: Path
) -> None:
    with scheduler(store_url, tmp_path, {}) as (its, _):
        plain(its)
        its.clock.advance(MINUTE)
        sent: list[datetime] = []

        def send(_one: ScheduleEntity, due: datetime) -> None:
            sent.append(due)
            if len(sent) < 3:
                assert its.taskdb.store.firings.send_due(send).sent == 0

        assert its.taskdb.store.firings.send_due(send).sent == 1
        assert len(sent) == 1


def test_a_beat_that_died_while_it_sent_is_made_up_for(store_url: str, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die(_one: ScheduleEntity, _due: datetime) -> None:
        raise Killed

    with scheduler(store_url, tmp_path, {}) as (its, _):
        plain(its)
        its.clock.advance(MINUTE)
        with pytest.raises(Killed):
            its.taskdb.store.firings.send_due(die)
        assert its.taskdb.store.firings.send_due(lambda _one, _due: None).sent == 0
        its.clock.advance(1.5 * MINUTE)
        assert its.taskdb.store.firings.send_due(lambda _one, _due: None).sent == 3


def test_of_several_due_times_those_that_were_sent_are_not_sent_again(
    store_url: str, tmp_path: Path
) -> None:
    sent: list[str] = []

    def send(_one: ScheduleEntity, due: datetime) -> None:
        if len(sent) == 2:
            sent.append("away")
            raise BrokerUnreachable("away")
        sent.append(f"{due:%H:%M}")

    with scheduler(store_url, tmp_path, {}) as (its, _):
        plain(its)
        its.clock.advance(4 * MINUTE)
        with pytest.raises(BrokerUnreachable):
            its.taskdb.store.firings.send_due(send)
        its.taskdb.store.firings.send_due(send)
        assert sent == ["10:01", "10:02", "away", "10:03", "10:04"]
        assert [outcome for _, outcome, _ in its.runs()] == ["fired"] * 4


class Moody(ScheduleEntry):  # type: ignore[misc]
    def is_due(self) -> Any:
        return super().is_due()


def test_one_wrong_entry_stops_no_other_and_each_is_listed_with_its_reason(
    store_url: str, tmp_path: Path
) -> None:
    every = {"task": "plus", "schedule": 60, "kwargs": {"a": 1}}
    wrong: dict[str, tuple[Any, str]] = {
        "no task": ({"schedule": 60}, "not the name of a task"),
        "no schedule": ({"task": "plus"}, "not supported"),
        "no entry": (7, "TypeError"),
        "typo": ({**every, "option": {}}, "did you mean 'options'"),
        "positional": ({**every, "args": [1]}, "pass kwargs"),
        "input": ({**every, "kwargs": {"a": "many"}}, "a"),
        "headers": ({**every, "options": {"headers": {"x": 1}}}, "headers"),
        "countdown": ({**every, "options": {"countdown": 5}}, "countdown"),
        "priority": ({**every, "options": {"priority": 99}}, "priority"),
        "too often": ({**every, "schedule": 0.1}, "every"),
        "backwards": ({**every, "schedule": timedelta(seconds=-5)}, "every"),
        "nowfun": ({**every, "schedule": crontab(nowfun=lambda: START)}, "nowfun"),
        "last": ({**every, "schedule": crontab(), "last_run_at": START}, "last_run_at"),
        "own class": (Moody("own class", "plus", schedule=schedule(60)), "is_due"),
        "long name": ({"task": "f" * 3_000, "schedule": 60}, "task"),
        "unstorable name": ({"task": "foreign\0ping", "schedule": 60}, "NUL"),
        "lazy": (
            {"task": "foreign.ping", "schedule": 60, "args": [BeatLazyFunc(datetime.now, UTC)]},
            "not JSON",
        ),
    }
    entries = {name: entry for name, (entry, _) in wrong.items()}
    with scheduler(store_url, tmp_path, {**entries, "behind": every}) as (its, beat):
        beat.tick()
        assert [one.name for one in its.taskdb.schedules.list()] == ["behind"]
        told = {one.name: one.reason for one in its.taskdb.schedules.refused()}
        assert told.keys() == wrong.keys()
        for name, (_, word) in wrong.items():
            assert word in told[name], name
        assert {str(one.origin) for one in its.taskdb.schedules.refused()} == {"celery"}


def test_an_entry_that_moves_into_the_code_is_declared_there_at_once(
    store_url: str, tmp_path: Path
) -> None:
    entries = {"plus": {"task": "plus", "schedule": 60, "kwargs": {"a": 1}}}
    with scheduler(store_url, tmp_path, entries) as (its, beat):
        beat.tick()
        assert its.taskdb.schedules.get("plus").origin is Origin.CELERY
    types = Registry()
    task("plus", registry=types, schedule=Schedule(every=60, input={"a": 1}))(plus)
    with scheduler(store_url, tmp_path, {}, types=types) as (its, beat):
        beat.tick()
        assert its.taskdb.schedules.get("plus").origin is Origin.CODE
        assert its.taskdb.schedules.refused() == []


def test_what_an_entry_says_is_kept(store_url: str, tmp_path: Path) -> None:
    every = {"task": "plus", "kwargs": {"a": 1}}
    last = START - timedelta(seconds=20)
    options = {"queue": "q", "priority": 3, "expires": 30}
    entries: dict[str, Any] = {
        "saturday": {**every, "schedule": crontab(0, 9, "sat", "1-7")},
        "options": {**every, "schedule": 60, "options": options},
        "relative": {**every, "schedule": 7_200, "relative": True},
        "last": {**every, "schedule": 60, "last_run_at": last},
        "object": ScheduleEntry("object", "plus", schedule=schedule(90), kwargs={"a": 2}),
    }
    conf = {"timezone": "Europe/Berlin", "beat_cron_starting_deadline": 120}
    with scheduler(store_url, tmp_path, entries, **conf) as (its, beat):
        beat.tick()
        assert its.taskdb.schedules.refused() == []
        found = {one.name: one for one in its.taskdb.schedules.list()}
        first = found["saturday"]
        assert (first.cron, first.timezone) == ("0 9 1-7 * +sat", "Europe/Berlin")
        assert (str(first.misfire), first.misfire_grace) == ("skip", timedelta(seconds=120))
        kept = found["options"]
        assert (kept.queue, kept.priority, kept.deadline) == ("q", 3, timedelta(seconds=30))
        assert found["relative"].cron == "0 */2 * * *"
        assert found["last"].next_due_at == last + MINUTE
        assert found["object"].every == timedelta(seconds=90)
        its.fire(2 * MINUTE)
        (made, *_) = [one for one in its.tasks() if one.name == "options"]
        assert made.deadline_at == its.clock.at + timedelta(seconds=30)
