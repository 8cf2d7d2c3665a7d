"""A run: one claim, one accepted outcome, and what becomes of those that did not end."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskdb.model.clock import FixedClock
from taskdb.model.entity import Progress, TaskError
from taskdb.model.outcome import Report
from taskdb.model.status import RUNNING, TERMINAL, WAITING, TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.migrations.migrate import empty
from taskdb.store.engine.postgresql import before_image
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from taskdb.store.task.worker import WorkerRecord
from tests.cases import each
from tests.store.tasks import (
    DONE,
    HOUR,
    OOPS,
    SOON,
    Run,
    claim,
    create,
    in_status,
    make_due,
    make_late,
    moves,
    queued,
    row,
    running,
    stray,
    write,
)

S = TaskStatus
NOBODY = "01936e4b-7c00-7000-8000-0123456789ab"
Verb = Callable[[Store, str, str], Any]


pytestmark = pytest.mark.parametrize(
    "module_store_url", ["sqlite", "postgresql", "older postgresql"], indirect=True, scope="module"
)


@pytest.fixture
def store_url(
    request: pytest.FixtureRequest, module_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    """And PostgreSQL as it is before 18, whose updates do not tell what a row was before."""
    if "older" in request.node.callspec.params["module_store_url"]:
        monkeypatch.setattr(before_image, "_FIRST", sys.maxsize)
    return module_store_url


@pytest.fixture
def alone(store: Store) -> None:
    """No rows of the tests before: for verbs that take any task."""
    with store.database.transaction() as connection:
        empty(connection)


OUTCOMES: dict[str, tuple[Verb, TaskStatus]] = {
    "complete": (lambda s, i, t: s.outcomes.complete(i, t, DONE), S.COMPLETED),
    "error": (lambda s, i, t: s.outcomes.error(i, t, OOPS, HOUR), S.ERRORED),
    "fail": (lambda s, i, t: s.outcomes.fail(i, t, OOPS), S.FAILED),
    "halt": (lambda s, i, t: s.outcomes.halt(i, t, OOPS), S.HALTED),
    "cancel_own": (lambda s, i, t: s.outcomes.cancel(i, t, OOPS), S.CANCELED),
    "snooze": (lambda s, i, t: s.outcomes.snooze(i, t, HOUR), S.SCHEDULED),
    "hand_back": (lambda s, i, t: s.outcomes.hand_back(i, t, "shutdown"), S.CREATED),
    "crash": (lambda s, i, t: s.outcomes.crash(i, t, OOPS, delay=HOUR, max_crashes=3), S.ERRORED),
}
UNCLAIMED: dict[str, tuple[Verb, TaskStatus, frozenset[TaskStatus]]] = {
    "hand_back_unclaimed": (
        lambda s, i, _: s.take_backs.hand_back_unclaimed(i, "lost", SOON),
        S.CREATED,
        frozenset({S.QUEUED}),
    ),
    "expire": (lambda s, i, _: s.take_backs.expire(i, OOPS), S.FAILED, WAITING - {S.ERRORED}),
    "revoke": (lambda s, i, t: s.take_backs.revoke(i, t, OOPS), S.CANCELED, frozenset()),
}  # fmt: skip
outcomes = each("verb", OUTCOMES)
WAITS = "UPDATE taskdb_task SET waits_for = 'parts', status = 'PROCESSING' WHERE id = :id"


def end(store: Store, verb: str, run: Run, token: str | None = None) -> Any:
    return OUTCOMES[verb][0](store, run.id, run.token if token is None else token)


# --- claim ----------------------------------------------------------------------------------------


@each("status", TaskStatus)
@each("due", [False, True])
def test_a_waiting_task_that_is_due_is_claimed_and_no_other(
    store: Store, status: TaskStatus, *, due: bool
) -> None:
    run = in_status(store, status)
    if due:
        make_due(store, run.id)
    before = row(store, run.id)
    answer = store.runs.claim(run.id, token="new", worker="w-2", max_attempts=7)
    late = status in {S.SCHEDULED, S.ERRORED} and not due
    assert answer.granted == (status in WAITING and not late)
    if answer.granted:
        task = store.tasks.get(run.id, EVERYONE)
        assert answer.status is task.status is S.STARTED
        assert answer.attempt == task.attempt == before["attempt"] + 1
        assert (task.worker, task.max_attempts) == ("w-2", 7)
        assert task.started_at is not None
        assert (answer.tenant, answer.type, answer.input) == ("acme", "sum", {"a": 1, "b": 2})
        assert moves(store, run.id)[-1] == (status, "STARTED")
    else:
        assert answer.status is status
        assert row(store, run.id) == before


def test_a_claim_may_be_repeated_by_the_same_delivery(store: Store) -> None:
    run = running(store)
    again = store.runs.claim(run.id, token=run.token, worker="w-1", max_attempts=3)
    assert (again.granted, again.attempt) == (True, 1)
    store.runs.progress(run.id, run.token, Report(current=1))
    assert store.runs.claim(run.id, token=run.token, worker="w-1", max_attempts=3).granted
    assert moves(store, run.id).count(("CREATED", "STARTED")) == 1
    store.outcomes.complete(run.id, run.token, DONE)
    assert not store.runs.claim(run.id, token=run.token, worker="w-1", max_attempts=3).granted


def test_a_duplicate_message_is_told_how_it_ended(store: Store) -> None:
    done, failed = in_status(store, S.COMPLETED), in_status(store, S.FAILED)
    answer = store.runs.claim(done.id, token="new", worker="w", max_attempts=3)
    assert (answer.granted, answer.status, answer.result) == (False, S.COMPLETED, {"sum": 3})
    answer = store.runs.claim(failed.id, token="new", worker="w", max_attempts=3)
    assert (answer.granted, answer.status, answer.error) == (False, S.FAILED, OOPS)


@each("task_id", [NOBODY, "not-an-id", "", "'; DROP TABLE taskdb_task; --"])
def test_no_task_is_claimed_where_there_is_none(store: Store, task_id: str) -> None:
    answer = store.runs.claim(task_id, token="t", worker="w", max_attempts=3)
    assert (answer.granted, answer.status) == (False, None)


@each("verb", [*OUTCOMES, *UNCLAIMED])
@each("task_id", [NOBODY, "not-an-id"])
def test_nothing_ends_where_there_is_none(store: Store, verb: str, task_id: str) -> None:
    act = (OUTCOMES.get(verb) or UNCLAIMED[verb])[0]
    assert not act(store, task_id, "t")
    assert not store.runs.progress(task_id, "t", Report(current=1))
    assert not store.runs.remark(task_id, {})
    assert stray(store, task_id, delay=SOON, limit=2) is None
    assert store.runs.is_cancel_wanted(task_id, "t")
    assert store.tasks.history(task_id, EVERYONE) == []


# --- outcomes -------------------------------------------------------------------------------------


@outcomes
@each("source", sorted(RUNNING))
def test_an_outcome_moves_the_run_once_and_says_so_again(
    store: Store, verb: str, source: TaskStatus
) -> None:
    run = in_status(store, source)
    target = OUTCOMES[verb][1]
    assert end(store, verb, run) is target
    after, history = row(store, run.id), moves(store, run.id)
    assert after["status"] == target
    assert history[-1] == (source, target)
    assert end(store, verb, run) is target  # as after an answer that was lost
    assert (row(store, run.id), moves(store, run.id)) == (after, history)


@outcomes
@each("source", sorted(RUNNING))
def test_a_wrong_token_changes_nothing(store: Store, verb: str, source: TaskStatus) -> None:
    run = in_status(store, source)
    before = row(store, run.id), moves(store, run.id)
    assert end(store, verb, run, "another") is None
    assert end(store, verb, run, "") is None
    assert (row(store, run.id), moves(store, run.id)) == before


@outcomes
@each("source", sorted(set(TaskStatus) - RUNNING))
def test_what_does_not_run_takes_no_outcome(store: Store, verb: str, source: TaskStatus) -> None:
    run = in_status(store, source)
    before = row(store, run.id), moves(store, run.id)
    said = end(store, verb, run)
    # Its own earlier write of the same outcome is the only other thing to be told.
    assert said is None or said is source
    assert (row(store, run.id), moves(store, run.id)) == before


@outcomes
@each("second", OUTCOMES)
def test_of_two_outcomes_of_one_run_the_first_counts(store: Store, verb: str, second: str) -> None:
    run = running(store)
    end(store, verb, run)
    before = row(store, run.id), moves(store, run.id)
    said = end(store, second, run)
    assert said in {None, OUTCOMES[verb][1]}
    if verb == "complete":
        assert said is (OUTCOMES[verb][1] if second == "complete" else None)
    assert (row(store, run.id), moves(store, run.id)) == before


@outcomes
def test_a_zombie_writes_nothing_once_another_has_the_task(store: Store, verb: str) -> None:
    run = running(store)
    store.endings.hand_back_worker("w-1", "shutdown")
    assert end(store, verb, run) is None
    assert claim(store, run.id, "token-2")
    before = row(store, run.id)
    assert end(store, verb, run) is None
    assert not store.runs.progress(run.id, run.token, Report(current=9))
    assert store.runs.is_cancel_wanted(run.id, run.token)
    assert row(store, run.id) == before


@outcomes
def test_a_wanted_cancel_decides_how_a_run_ends(store: Store, verb: str) -> None:
    run = running(store)
    store.interventions.cancel(run.id, EVERYONE)
    target = S.COMPLETED if verb == "complete" else S.CANCELED
    assert end(store, verb, run) is target
    task = store.tasks.get(run.id, EVERYONE)
    assert task.status is target
    assert task.ended_at is not None
    assert moves(store, run.id)[-1] == ("STARTED", target)


@outcomes
def test_what_is_over_has_an_end_and_what_is_not_has_none(store: Store, verb: str) -> None:
    run = running(store)
    end(store, verb, run)
    task = store.tasks.get(run.id, EVERYONE)
    assert (task.ended_at is not None) == (task.status in TERMINAL)


def test_a_completed_task_has_its_result_and_no_error(store: Store) -> None:
    run = running(store)
    store.outcomes.error(run.id, run.token, OOPS, SOON)
    make_due(store, run.id)
    assert store.tasks.get(run.id, EVERYONE).error == OOPS
    claim(store, run.id, "token-2")
    report = Report(attributes={"rows": 3}, current=3, total=3, message="all")
    store.outcomes.complete(run.id, "token-2", DONE, report)
    task = store.tasks.get(run.id, EVERYONE)
    assert (task.result, task.error, task.attempt) == ({"sum": 3}, None, 2)
    assert (task.attributes, task.progress) == ({"rows": 3}, Progress(3, 3, "all"))


def test_a_large_result_is_named(store: Store) -> None:
    run = running(store)
    store.outcomes.complete(run.id, run.token, Payload(None, None, "2026-01-01/result.json"))
    assert store.tasks.get(run.id, EVERYONE).result_ref == "2026-01-01/result.json"


@each("verb", ["error", "fail", "halt", "cancel_own", "crash"])
def test_an_error_of_any_text_is_kept(store: Store, verb: str) -> None:
    error = TaskError("Odd\x00Error", "nul \x00 and half \ud83d" * 5_000, "tr\x00ace", 1)
    run = running(store)
    verbs: dict[str, Callable[[], Any]] = {
        "error": lambda: store.outcomes.error(run.id, run.token, error, SOON),
        "fail": lambda: store.outcomes.fail(run.id, run.token, error),
        "halt": lambda: store.outcomes.halt(run.id, run.token, error),
        "cancel_own": lambda: store.outcomes.cancel(run.id, run.token, error),
        "crash": lambda: store.outcomes.crash(run.id, run.token, error, delay=SOON, max_crashes=3),
    }
    assert verbs[verb]() is not None
    kept = store.tasks.get(run.id, EVERYONE).error
    assert kept is not None
    assert kept.message.startswith("nul \N{REPLACEMENT CHARACTER} and half ")
    assert len(kept.message) < 40_000
    detail = store.tasks.history(run.id, EVERYONE)[-1].detail
    assert detail["error"] == "Odd\N{REPLACEMENT CHARACTER}Error"
    assert len(detail["message"]) <= 500


def test_reasons_and_progress_of_any_text_are_kept(store: Store) -> None:
    run = running(store)
    assert store.runs.progress(run.id, run.token, Report(current=1, message="nul \x00 half \ud83d"))
    assert store.outcomes.hand_back(run.id, run.token, "nul \x00 half \ud83d") is S.CREATED


# --- progress -------------------------------------------------------------------------------------


def test_progress_moves_once_and_then_only_reports(store: Store) -> None:
    run = running(store)
    assert store.runs.progress(run.id, run.token, Report(current=1, total=10, message="one"))
    assert store.runs.progress(run.id, run.token, Report(current=2))
    assert store.runs.progress(run.id, run.token, Report(attributes={"a": 1}))
    task = store.tasks.get(run.id, EVERYONE)
    assert task.status is S.PROCESSING
    assert task.progress == Progress(2, 10, "one")
    assert task.attributes == {"a": 1}
    assert moves(store, run.id)[-1] == ("STARTED", "PROCESSING")
    assert len(moves(store, run.id)) == 3


def test_a_new_run_begins_without_progress(store: Store) -> None:
    run = in_status(store, S.PROCESSING)
    store.outcomes.hand_back(run.id, run.token, "shutdown")
    assert claim(store, run.id, "token-2")
    assert store.tasks.get(run.id, EVERYONE).progress is None


@each("status", sorted(set(TaskStatus) - RUNNING))
def test_what_does_not_run_makes_no_progress(store: Store, status: TaskStatus) -> None:
    run = in_status(store, status)
    before = row(store, run.id)
    assert not store.runs.progress(run.id, run.token, Report(current=1))
    assert row(store, run.id) == before


# --- the arithmetic of attempts -------------------------------------------------------------------


def counts(store: Store, run: Run) -> tuple[int, int, int]:
    task = store.tasks.get(run.id, EVERYONE)
    return task.attempt, task.spared, task.crashes


def test_runs_are_counted_and_some_are_spared(store: Store) -> None:
    run = running(store)
    assert counts(store, run) == (1, 0, 0)
    store.outcomes.hand_back(run.id, run.token, "shutdown")
    assert counts(store, run) == (1, 1, 0)
    claim(store, run.id, "t2")
    store.outcomes.snooze(run.id, "t2", SOON)
    assert counts(store, run) == (2, 2, 0)
    make_due(store, run.id)
    claim(store, run.id, "t3")
    store.endings.hand_back_worker("w-1", "shutdown")
    assert counts(store, run) == (3, 3, 0)
    claim(store, run.id, "t4")
    store.outcomes.error(run.id, "t4", OOPS, SOON)
    assert counts(store, run) == (4, 3, 0)
    make_due(store, run.id)
    claim(store, run.id, "t5")
    store.outcomes.crash(run.id, "t5", OOPS, delay=SOON, max_crashes=3)
    assert counts(store, run) == (5, 3, 1)
    make_due(store, run.id)
    claim(store, run.id, "t6")
    store.outcomes.fail(run.id, "t6", OOPS)
    store.interventions.retry(run.id, EVERYONE)
    assert counts(store, run) == (6, 6, 0)
    assert store.tasks.get(run.id, EVERYONE).attempts_used == 0


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("how", ["crash", "rescue", "crash_chunk"])
def test_a_crash_spends_nothing_of_the_retry_budget(store: Store, how: str) -> None:
    run = running(store)
    if how == "crash":
        store.outcomes.crash(run.id, run.token, OOPS, delay=SOON, max_crashes=3)
    elif how == "rescue":
        assert rescue(store) == {run.id: S.ERRORED}
    else:
        write(store, "UPDATE taskdb_task SET chunk = id WHERE id = :id", id=run.id)
        assert store.outcomes.crash_chunk(run.id, run.token, OOPS) == 1
    assert store.tasks.get(run.id, EVERYONE).attempts_used == 0
    make_due(store, run.id)
    answer = store.runs.claim(run.id, token="t2", worker="w-1", max_attempts=2)
    assert (answer.attempt, answer.attempts_used) == (2, 1)
    store.outcomes.error(run.id, "t2", OOPS, SOON)
    assert store.tasks.get(run.id, EVERYONE).attempts_used == 1


def test_a_task_that_kills_its_process_too_often_is_halted(store: Store) -> None:
    run = Run(create(store))
    ends = []
    for number in range(3):
        make_due(store, run.id)
        token = f"t{number}"
        assert claim(store, run.id, token)
        ends.append(store.outcomes.crash(run.id, token, OOPS, delay=SOON, max_crashes=3))
    assert ends == [S.ERRORED, S.ERRORED, S.HALTED]
    assert not claim(store, run.id, "t9")
    error = store.tasks.get(run.id, EVERYONE).error
    assert error is not None and error.attempt == 3


def test_a_type_that_nobody_knows_fails_in_the_end(store: Store) -> None:
    run = queued(store)
    ends = []
    for _ in range(4):
        store.publications.mark_queued(store.publications.find([run.id]))
        ends.append(stray(store, run.id, delay=HOUR, limit=3))
    assert ends == [S.CREATED, S.CREATED, S.FAILED, None]
    task = store.tasks.get(run.id, EVERYONE)
    assert task.error is not None and task.ended_at is not None
    assert moves(store, run.id)[-3:] == [
        ("QUEUED", "CREATED"), ("CREATED", "QUEUED"), ("QUEUED", "FAILED"),
    ]  # fmt: skip


@each("status", [S.SCHEDULED, S.ERRORED])
def test_a_message_that_comes_too_early_does_not_shorten_the_wait(
    store: Store, status: TaskStatus
) -> None:
    run = in_status(store, status)
    before = row(store, run.id)
    assert stray(store, run.id, delay=SOON, limit=3) is None
    assert row(store, run.id) == before


# --- what only others know ------------------------------------------------------------------------


@each("verb", UNCLAIMED)
@each("status", TaskStatus)
def test_a_message_that_nobody_claimed_ends_what_waits(
    store: Store, verb: str, status: TaskStatus
) -> None:
    act, target, sources = UNCLAIMED[verb]
    run = in_status(store, status)
    if verb == "expire":
        make_late(store, run.id)
    before = row(store, run.id), moves(store, run.id)
    assert act(store, run.id, "another") == (status in sources)
    if status in sources:
        assert moves(store, run.id) == [*before[1], (status, target)]
        assert (store.tasks.get(run.id, EVERYONE).ended_at is not None) == (target in TERMINAL)
    else:
        assert (row(store, run.id), moves(store, run.id)) == before


def test_a_revocation_ends_a_run_only_if_the_row_asks_for_a_cancel(store: Store) -> None:
    run = running(store)
    assert not store.take_backs.revoke(run.id, run.token, OOPS)
    assert store.tasks.get(run.id, EVERYONE).status is S.STARTED
    store.interventions.cancel(run.id, EVERYONE)
    assert not store.take_backs.revoke(run.id, "another", OOPS)
    assert store.take_backs.revoke(run.id, run.token, OOPS)
    assert store.tasks.get(run.id, EVERYONE).status is S.CANCELED


# --- what a message may not do --------------------------------------------------------------------


def test_a_message_of_another_type_claims_no_task(store: Store) -> None:
    run = queued(store)
    given: dict[str, Any] = {"token": "t", "worker": "w", "max_attempts": 3}
    before = row(store, run.id)
    for type_name in ("admin.exec", "", "sum ", "SUM"):
        answer = store.runs.claim(run.id, type=type_name, **given)
        assert (answer.granted, answer.status, answer.input) == (False, None, None)
    assert row(store, run.id) == before
    assert store.runs.claim(run.id, type="sum", **given).granted
    # Nor does it get the result.
    store.outcomes.complete(run.id, "t", DONE)
    answer = store.runs.claim(run.id, type="admin.exec", **given)
    assert (answer.status, answer.result) == (None, None)


def test_a_message_that_was_signed_for_an_earlier_attempt_claims_no_later_one(
    store: Store,
) -> None:
    run = queued(store)
    given: dict[str, Any] = {"worker": "w", "max_attempts": 3, "type": "sum"}
    assert store.runs.claim(run.id, token="t", attempt=0, **given).granted
    # An answer that was lost is asked for again.
    assert store.runs.claim(run.id, token="t", attempt=0, **given).granted
    store.outcomes.error(run.id, "t", OOPS, SOON)
    assert not store.runs.claim(run.id, token="u", attempt=0, **given).granted
    assert store.publications.find([run.id])[0].attempt == 1
    assert store.runs.claim(run.id, token="u", attempt=1, **given).granted


def test_a_message_of_another_type_or_queue_strands_no_task(store: Store) -> None:
    run = queued(store)
    before = row(store, run.id)
    for _ in range(12):
        assert stray(store, run.id, delay=SOON, limit=3, type="nobody.knows") is None
        assert stray(store, run.id, delay=SOON, limit=3, queues=("other",)) is None
    assert row(store, run.id) == before


def test_of_one_publication_one_message_of_an_unknown_type_counts(store: Store) -> None:
    run = queued(store)
    ends = [stray(store, run.id, delay=HOUR, limit=3) for _ in range(12)]
    assert ends == [S.CREATED] + [None] * 11


def test_messages_fail_no_task_whose_type_a_live_worker_of_its_queue_knows(store: Store) -> None:
    run = queued(store)
    workers = store.workers
    record = WorkerRecord("w-1", "w", "host", 1, ("taskdb",), ("other", "sum"))
    workers.announce(record)
    for _ in range(12):
        assert stray(store, run.id, delay=SOON, limit=3) is S.CREATED
    workers.stopped("w-1")
    assert stray(store, run.id, delay=SOON, limit=3) is S.FAILED


@pytest.mark.usefixtures("alone")
def test_a_worker_hands_back_what_it_holds_and_nothing_else(store: Store) -> None:
    mine = [running(store), in_status(store, S.PROCESSING), running(store)]
    waiting = running(store)
    write(store, WAITS, id=waiting.id)
    done = in_status(store, S.COMPLETED)
    wanted = running(store)
    store.interventions.cancel(wanted.id, EVERYONE)
    other = Run(create(store))
    claim(store, other.id, other.token, worker="w-2")
    before = {run.id: row(store, run.id) for run in (waiting, done, other)}
    assert store.endings.hand_back_worker("w-1", "shutdown") == 4
    for run in mine:
        task = store.tasks.get(run.id, EVERYONE)
        assert (task.status, task.worker, task.attempts_used) == (S.CREATED, None, 0)
        assert store.tasks.history(run.id, EVERYONE)[-1].detail == {"reason": "shutdown"}
        assert store.tasks.history(run.id, EVERYONE)[-1].worker == "w-1"
    assert store.tasks.get(wanted.id, EVERYONE).status is S.CANCELED
    assert {task_id: row(store, task_id) for task_id in before} == before
    assert store.endings.hand_back_worker("w-1", "shutdown") == 0


def worker(store: Store, name: str) -> None:
    store.workers.announce(WorkerRecord(name, name, "host", 1))


def rescue(store: Store) -> dict[str, TaskStatus]:
    return store.take_backs.rescue(OOPS, lease=timedelta(seconds=20), limit=100, max_crashes=3)


@pytest.mark.usefixtures("alone")
def test_tasks_are_rescued_from_workers_that_are_gone_and_from_no_other(store_url: str) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        runs = {}
        for name in ("dead", "stopped", "alive", "unseen", "unknown", "waiting"):
            if name != "unknown":
                worker(store, name)
            runs[name] = Run(create(store))
            assert claim(store, runs[name].id, worker=name)
        clock.advance(timedelta(seconds=15))
        for name in ("stopped", "alive", "unseen"):
            worker(store, name)
        store.workers.stopped("stopped")
        write(store, "UPDATE taskdb_worker SET seen_at = NULL WHERE id = 'unseen'")
        write(store, WAITS, id=runs["waiting"].id)
        clock.advance(timedelta(seconds=6))
        gone = {runs[name].id for name in ("dead", "stopped", "unseen", "unknown")}
        assert rescue(store) == dict.fromkeys(gone, S.ERRORED)
        assert rescue(store) == {}
        assert store.tasks.get(runs["alive"].id, EVERYONE).status is S.STARTED
        assert store.tasks.get(runs["waiting"].id, EVERYONE).status is S.PROCESSING
        assert store.tasks.history(runs["dead"].id, EVERYONE)[-1].worker == "dead"
        assert counts(store, runs["dead"]) == (1, 0, 1)


@pytest.mark.usefixtures("alone")
def test_a_rescue_ends_poison_and_what_was_canceled(store: Store) -> None:
    poison, wanted = running(store), running(store)
    write(store, "UPDATE taskdb_task SET crashes = 2 WHERE id = :id", id=poison.id)
    store.interventions.cancel(wanted.id, EVERYONE)
    assert rescue(store) == {poison.id: S.HALTED, wanted.id: S.CANCELED}


@pytest.mark.usefixtures("alone")
def test_a_rescued_run_is_a_zombie(store: Store) -> None:
    run = running(store)
    rescue(store)
    assert store.outcomes.complete(run.id, run.token, DONE) is None
    assert store.outcomes.error(run.id, run.token, OOPS, SOON) is None


@pytest.mark.usefixtures("alone")
def test_a_rescue_keeps_to_its_limit(store: Store) -> None:
    for _ in range(5):
        running(store)
    taken = [
        len(store.take_backs.rescue(OOPS, lease=HOUR, limit=2, max_crashes=3)) for _ in range(4)
    ]
    assert taken == [2, 2, 1, 0]


def test_a_remark_is_history_without_a_move(store: Store) -> None:
    run = running(store)
    before = row(store, run.id)
    assert store.runs.remark(run.id, {"reason": "a message was rejected"})
    event = store.tasks.history(run.id, EVERYONE)[-1]
    assert (event.from_status, event.to_status) == (S.STARTED, S.STARTED)
    assert event.detail == {"reason": "a message was rejected"}
    assert row(store, run.id) == before


def test_every_event_says_who_when_and_which_attempt(store_url: str) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        run = queued(store)
        clock.advance(HOUR)
        claim(store, run.id)
        clock.advance(HOUR)
        store.outcomes.fail(run.id, run.token, OOPS)
        events = store.tasks.history(run.id, EVERYONE)
        assert [event.at - events[0].at for event in events] == [SOON, SOON, HOUR, 2 * HOUR]
        assert [event.attempt for event in events] == [0, 0, 1, 1]
        assert [event.worker for event in events] == [None, None, "w-1", "w-1"]
        assert {event.tenant for event in events} == {"acme"}
        assert [event.id for event in events] == sorted(event.id for event in events)
        assert events[-1].detail == {"error": "ValueError", "message": "oops"}


def test_the_history_tells_from_which_status_a_row_was_taken_and_ended(store: Store) -> None:
    """Also where the row is not read before it is updated."""
    for status, reported in ((S.QUEUED, 0), (S.CREATED, 1), (S.QUEUED, 1), (S.CREATED, 0)) * 10:
        run = in_status(store, status)
        found = store.runs.claim(run.id, token=run.token, worker="w-1", max_attempts=3)
        assert (found.granted, found.status, found.attempt) == (True, S.STARTED, 1)
        assert (found.tenant, found.type, found.input) == ("acme", "sum", {"a": 1, "b": 2})
        for current in range(reported):
            store.runs.progress(run.id, run.token, Report(current=current))
        assert store.outcomes.complete(run.id, run.token, DONE) is S.COMPLETED
        before = S.PROCESSING if reported else S.STARTED
        claimed, *_, completed = moves(store, run.id)[-(2 + reported) :]
        assert claimed == (status, S.STARTED)
        assert completed == (before, S.COMPLETED)
        (event,) = [
            one for one in store.tasks.history(run.id, EVERYONE) if one.to_status is S.COMPLETED
        ]
        assert (event.attempt, event.worker, event.tenant) == (1, "w-1", "acme")


def test_a_second_claim_and_a_second_end_find_what_the_first_left(store: Store) -> None:
    run = queued(store)
    assert claim(store, run.id, run.token)
    again = store.runs.claim(run.id, token=run.token, worker="w-1", max_attempts=3)
    assert (again.granted, again.attempt) == (True, 1)
    other = store.runs.claim(run.id, token="another", worker="w-2", max_attempts=3)
    assert (other.granted, other.status) == (False, S.STARTED)
    assert store.outcomes.complete(run.id, "another", DONE) is None
    assert store.outcomes.complete(run.id, run.token, DONE) is S.COMPLETED
    assert store.outcomes.complete(run.id, run.token, DONE) is S.COMPLETED
    late = store.runs.claim(run.id, token="late", worker="w-2", max_attempts=3)
    assert (late.granted, late.status, late.result) == (False, S.COMPLETED, {"sum": 3})
    assert row(store, run.id)["worker"] == "w-1"
