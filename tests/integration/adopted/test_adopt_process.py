"""`track` within one process: whom it watches, what it keeps, and that nobody notices."""

import gc
import json
import logging
import threading
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, current_app, shared_task, signals
from celery.exceptions import Retry
from tests.servers import Blackhole
from tests.waiting import wait_until

from taskdb import InvalidInput, TaskDB
from taskdb.errors import AlreadyTracked
from taskdb.model.adopted import AdoptedReport, ReportKind
from taskdb.model.entity import TaskEntity
from taskdb.model.status import TaskStatus as S
from taskdb.settings.settings import Settings
from taskdb_worker import track, untrack
from taskdb_worker.adopted.buffer import ReportBuffer

SIGNALS = [one for one in vars(signals).values() if hasattr(one, "receivers")]


class Site:
    """Apps on a broker in memory, and a store to look at."""

    def __init__(self, url: str) -> None:
        self.taskdb = TaskDB(Settings.load({"TASKDB_DATABASE_URL": url}))
        self.tracked: list[Any] = []

    def app(self, name: str = "before", **settings: Any) -> Celery:
        app = Celery(name, broker="memory://", backend="cache+memory://", set_as_current=False)
        app.conf.update(settings)
        return app

    def track(self, app: Celery, **options: Any) -> Any:
        self.tracked.append(app)
        return track(app, taskdb=self.taskdb, **options)

    def rows(self) -> list[TaskEntity]:
        for app in self.tracked:
            tracking = track_of(app)
            assert tracking is None or tracking.flush(10)
        return list(self.taskdb.list_tasks(limit=1_000, order="oldest"))

    def only_row(self) -> TaskEntity:
        (row,) = self.rows()
        return row

    def close(self) -> None:
        for app in self.tracked:
            untrack(app)
            app.close()
        self.taskdb.close()


def track_of(app: Any) -> Any:
    from taskdb_worker import adopt  # noqa: PLC0415 - what only a test looks at

    return adopt._trackings.get(app)


@pytest.fixture
def site(sqlite_url: str) -> Iterator[Site]:
    site = Site(sqlite_url)
    yield site
    site.close()


def eager(app: Celery, body: Callable[..., Any], name: str = "shop.pack", **options: Any) -> Any:
    app.conf.task_always_eager = True
    # Celery writes a signature of this name, which a lambda's is not fit for.
    body.__name__ = "body"
    return app.task(name=name, shared=False, **options)(body)


# --- whom it watches ------------------------------------------------------------------------------


def test_only_publishes_of_the_tracked_app_are_seen(site: Site) -> None:
    one, other = site.app("one"), site.app("other")

    @shared_task(name="shop.shared")
    def shared() -> None: ...

    site.track(one)
    for app in (one, other):
        app.finalize()
        app.tasks["shop.shared"].delay()
        app.send_task("shop.anything", (1,))
    assert sorted(row.type for row in site.rows()) == ["shop.anything", "shop.shared"]


def test_names_and_patterns_choose_the_tasks(site: Site) -> None:
    app = site.app()
    site.track(app, only=["shop.*", "mail.send"], exclude=["shop.ping"])
    for name in ("shop.pack", "shop.ping", "mail.send", "mail.fetch", "celery.chord_unlock"):
        app.send_task(name)
    assert [row.type for row in site.rows()] == ["shop.pack", "mail.send"]


def test_celerys_own_plumbing_is_left_out_unless_it_is_named(site: Site) -> None:
    app, named = site.app(), site.app("named")
    site.track(app)
    site.track(named, only=["celery.chord_unlock"])
    for one in (app, named):
        one.send_task("celery.chord_unlock")
    assert len(site.rows()) == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"only": "shop.pack"}, r"only=\['shop.pack'\]"),
        ({"only": []}, "names no task"),
        ({"exclude": [1]}, "not the name of a task"),
        ({"exclude": 1}, "not a list"),
        ({"arguments_limit": -1}, "arguments_limit"),
        ({"result_limit": 10**9}, "result_limit"),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_watched(
    site: Site, options: dict[str, Any], word: str
) -> None:
    app = site.app()
    with pytest.raises(InvalidInput, match=word):
        track(app, taskdb=site.taskdb, **options)
    assert not untrack(app)


def test_what_is_no_app_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not a Celery app"):
        track("shop.celery")  # type: ignore[arg-type]


def test_the_same_call_again_changes_nothing_and_another_one_is_refused(site: Site) -> None:
    app = site.app()
    first = site.track(app, exclude=["a"])
    assert site.track(app, exclude=["a"]) is first
    with pytest.raises(AlreadyTracked, match="untrack it"):
        site.track(app)
    app.send_task("shop.pack")
    assert len(site.rows()) == 1


def test_a_proxy_of_an_app_is_the_app(site: Site) -> None:
    app = site.app()
    app.set_current()
    site.track(current_app)
    app.send_task("shop.pack")
    assert site.only_row().type == "shop.pack"
    assert untrack(app)


def test_tracking_reads_no_settings_that_the_app_has_not_made_yet(site: Site) -> None:
    app = site.app()
    site.track(app)
    assert not app.configured
    app.conf.task_default_queue = "late"
    app.send_task("shop.pack")
    assert site.only_row().queue == "late"


# --- what it keeps --------------------------------------------------------------------------------


def test_arguments_are_kept_without_secrets_and_cut(site: Site) -> None:
    app = site.app()
    site.track(app, arguments_limit=600)
    given = {"password": "hunter2", "note": "x" * 5_000, "nested": [{"api_key": "k-123456"}]}
    app.send_task("shop.pack", (1, "two"), given)
    found = site.only_row().input
    assert found["args"] == [1, "two"]
    assert found["kwargs"]["password"] == "[redacted]"
    assert "hunter2" not in str(found)
    assert "k-123456" not in str(found)
    assert len(str(found)) < 1_200


class Model:
    """Whose text would ask a database."""

    def __repr__(self) -> str:
        raise AssertionError("nobody may ask")

    __str__ = __repr__


def test_what_is_no_json_is_told_by_its_class_and_not_asked(site: Site) -> None:
    app = site.app()
    task = eager(app, lambda *_: Model(), serializer="pickle")
    site.track(app)
    task.delay(
        Model(), b"bytes", Decimal("1.5"), {1, 2}, float("nan"), datetime(2026, 1, 1, tzinfo=UTC)
    )
    row = site.only_row()
    model, data, number, many, nan, moment = row.input["args"]
    assert "Model" in model
    assert data == "<5 bytes>"
    assert (number, sorted(many), nan) == ("1.5", [1, 2], "nan")
    assert moment.startswith("2026-01-01")
    assert "Model" in row.result


def test_arguments_are_those_of_the_beginning(site: Site) -> None:
    app = site.app()
    task = eager(app, lambda many: many.clear())
    site.track(app)
    task.delay([1, 2, 3])
    assert site.only_row().input["args"] == [[1, 2, 3]]


def test_nothing_is_kept_where_the_limit_is_nothing(site: Site) -> None:
    app = site.app()
    task = eager(app, lambda x: x)
    site.track(app, arguments_limit=0, result_limit=0)
    task.delay("private")
    row = site.only_row()
    assert (row.input, row.result, row.status) == (None, None, S.COMPLETED)


def test_a_huge_argument_costs_no_more_than_its_beginning(site: Site) -> None:
    app = site.app()

    def body(many: list[int]) -> int:
        return len(many)

    task = eager(app, body)
    tracking = site.track(app)
    many = list(range(1_000_000))
    assert task.delay(many).get() == 1_000_000
    assert len(str(site.only_row().input)) < 5_000

    def least(work: Callable[[], Any]) -> float:
        """The time that it takes where nothing else is in its way."""
        return min(timeit.repeat(work, number=1, repeat=5))

    snapshot = tracking._witness._snapshot
    taken = least(lambda: snapshot.arguments((many,), {}))
    assert taken < least(lambda: json.dumps(many)) / 4


def test_the_first_protocol_is_understood_too(site: Site) -> None:
    app = site.app(task_protocol=1)
    site.track(app)
    app.send_task("shop.pack", (1,), {"a": 2}, countdown=60)
    row = site.only_row()
    assert row.input == {"args": [1], "kwargs": {"a": 2}}
    assert row.status is S.SCHEDULED
    assert row.run_at is not None


def test_a_tenant_is_that_of_the_tracking(site: Site) -> None:
    app = site.app()
    site.track(app, tenant="acme")
    app.send_task("shop.pack")
    assert site.only_row().tenant == "acme"
    assert site.taskdb.for_tenant("other").list_tasks() == ()


# --- eager runs -----------------------------------------------------------------------------------


def test_an_eager_retry_is_a_run_within_a_run(site: Site) -> None:
    app = site.app()

    def body(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    task = eager(app, body, bind=True, max_retries=3)
    site.track(app)
    assert task.delay().get() == 2
    row = site.only_row()
    assert (row.status, row.attempt, row.result) == (S.COMPLETED, 3, 2)
    assert row.attributes["celery_is_eager"] is True


@pytest.mark.parametrize("propagates", [False, True])
def test_an_eager_failure_is_seen_also_where_it_propagates(
    site: Site,
    propagates: bool,  # noqa: FBT001 - pytest hands it over
) -> None:
    app = site.app(task_eager_propagates=propagates)

    def body() -> None:
        raise ValueError("no paper")

    task = eager(app, body)
    site.track(app)
    if propagates:
        with pytest.raises(ValueError, match="no paper"):
            task.delay()
    else:
        task.delay()
    row = site.only_row()
    assert row.status is S.FAILED
    assert row.error is not None
    assert (row.error.type, row.error.message) == ("ValueError", "no paper")


# --- that nobody notices --------------------------------------------------------------------------


def state_of(app: Celery) -> Any:
    receivers = {id(one): list(one.receivers or ()) for one in SIGNALS}
    threads = {thread.name for thread in threading.enumerate()}
    return dict(vars(app)), receivers, threads, type(app).send_task


def test_untrack_leaves_no_trace(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", sqlite_url)
    app = Celery("before", broker="memory://", backend="cache+memory://", set_as_current=False)
    task = eager(app, lambda: 1)
    task.delay()
    app.conf.task_always_eager = False
    app.send_task("warms.what.is.cached")
    before = state_of(app)
    tracking = track(app)
    kept = app.send_task
    task.apply()
    app.send_task("shop.other")
    assert tracking.flush(10)
    assert untrack(app)
    assert state_of(app) == before
    assert not untrack(app)
    # Somebody may have kept what was taken off.
    kept("shop.late")
    with TaskDB(Settings.load({"TASKDB_DATABASE_URL": sqlite_url})) as taskdb:
        # Both may be of the same millisecond.
        found = {row.type for row in taskdb.list_tasks()}
    assert found == {"shop.pack", "shop.other"}
    app.close()
    del tracking, kept
    gc.collect()


def test_an_app_of_ours_is_not_adopted(site: Site, tmp_path: Path) -> None:
    from taskdb.types.declaration import task  # noqa: PLC0415 - only here
    from taskdb.types.registry import Registry  # noqa: PLC0415 - only here
    from taskdb_worker import create_app  # noqa: PLC0415 - only here

    registry = Registry()
    task("shop.owned", registry=registry)(lambda: None)
    settings = Settings.load(
        {
            "TASKDB_DATABASE_URL": site.taskdb.settings.store_url,
            "TASKDB_DATA_DIR": str(tmp_path),
            "TASKDB_BROKER_URL": "memory://",
        }
    )
    owner = TaskDB(settings, registry=registry)
    app = create_app(taskdb=owner, as_current=False)
    site.track(app)
    # Celery's own verb: that of an app of ours refuses a task type.
    Celery.send_task(app, "shop.owned")
    app.send_task("shop.foreign")
    assert [row.type for row in site.rows()] == ["shop.foreign"]
    owner.close()


def test_a_broken_receiver_is_counted_and_the_task_runs(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = site.app()
    task = eager(app, lambda: "fine")
    tracking = site.track(app)
    monkeypatch.setattr(tracking._witness._snapshot, "arguments", None)
    with caplog.at_level(logging.WARNING):
        assert task.delay().get() == "fine"
        app.conf.task_always_eager = False
        assert app.send_task("shop.other").id
    assert "adopted_report.failed" in caplog.text
    assert "Signal handler" not in caplog.text


def test_a_database_that_never_answers_delays_nobody(blackhole: Blackhole) -> None:
    url = f"postgresql://nobody@127.0.0.1:{blackhole.port}/nothing"
    app = Celery("before", broker="memory://", backend="cache+memory://", set_as_current=False)
    task = eager(app, lambda: 1)
    with TaskDB(Settings.load({"TASKDB_DATABASE_URL": url})) as taskdb:
        track(app, taskdb=taskdb)
        began = time.monotonic()
        for _ in range(200):
            assert task.delay().get() == 1
        # A single one that waited for the database would take five seconds.
        assert time.monotonic() - began < 4
        untrack(app)
        assert time.monotonic() - began < 12
    app.close()


# --- the notebook ---------------------------------------------------------------------------------


def report(number: int) -> AdoptedReport:
    at = datetime.now(UTC)
    return AdoptedReport(id=str(number), kind=ReportKind.BEGUN, status=S.STARTED, at=at, attempt=1)


@contextmanager
def notebook(write: Any, **options: Any) -> Iterator[ReportBuffer]:
    found = ReportBuffer(write, lambda: None, **options)
    yield found
    found.close(5)


def test_what_waits_is_written_when_the_database_is_back_in_its_order() -> None:
    from taskdb.errors import DatabaseUnreachable  # noqa: PLC0415 - only here

    written: list[str] = []
    is_away = threading.Event()
    is_away.set()

    def write(many: Any) -> None:
        if is_away.is_set():
            raise DatabaseUnreachable("away")
        written.extend(one.id for one in many)

    with notebook(write) as book:
        for number in range(1_200):
            book.note(report(number))
        wait_until(lambda: book._pause > 0)
        began = time.monotonic()
        assert not book.flush(5)
        assert time.monotonic() - began < 1
        is_away.clear()
        wait_until(lambda: len(written) == 1_200)
    assert written == [str(number) for number in range(1_200)]
    assert book.dropped == 0


def test_past_the_bound_the_oldest_are_dropped_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    written: list[str] = []
    going, goes_on = threading.Event(), threading.Event()

    def write(many: Any) -> None:
        going.set()
        goes_on.wait(10)
        written.extend(one.id for one in many)

    with notebook(write, limit=10) as book:
        book.note(report(0))
        going.wait(5)
        with caplog.at_level(logging.WARNING):
            for number in range(1, 31):
                book.note(report(number))
        goes_on.set()
        assert book.flush(5)
    assert written == ["0", *(str(number) for number in range(21, 31))]
    assert book.dropped == 20
    assert "adopted_report.dropped" in caplog.text


def test_one_that_cannot_be_written_does_not_keep_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    written: list[str] = []

    def write(many: Any) -> None:
        if any(one.id == "3" for one in many):
            raise ValueError("not that one")
        written.extend(one.id for one in many)

    with notebook(write) as book, caplog.at_level(logging.WARNING):
        for number in range(6):
            book.note(report(number))
        assert book.flush(5)
    assert written == ["0", "1", "2", "4", "5"]
    assert book.dropped == 1
    assert "adopted_report.refused" in caplog.text


def test_a_retry_that_is_caught_by_the_body_is_no_retry(site: Site) -> None:
    app = site.app()

    def body(self: Any) -> str:
        try:
            self.retry(countdown=0, max_retries=0)
        except (Retry, Exception):  # noqa: BLE001 - on purpose
            return "caught"
        return "never"

    task = eager(app, body, bind=True)
    site.track(app)
    assert task.delay().get() == "caught"
    assert site.only_row().status is S.COMPLETED
