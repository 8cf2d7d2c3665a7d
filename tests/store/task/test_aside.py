"""One bad row stops nothing: each loop of a beat sets it aside, and goes on with the others."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from taskdb.errors import DatabaseError, DatabaseRefused
from taskdb.model.outcome import NO_REPORT
from taskdb.model.status import TaskStatus as S
from taskdb.settings.settings import Settings
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.aside import is_of_a_row
from taskdb.store.outgoing.alarm.condition import Limits
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.tree.callback import digest_of
from taskdb.store.upkeep import StoreUpkeep
from taskdb_beat.loops.callback import Callbacks
from taskdb_beat.loops.expire import Expire
from taskdb_beat.loops.reconcile import Reconcile
from taskdb_beat.loops.relay import Relay
from taskdb_beat.loops.rescue import Rescue
from tests.cases import each
from tests.store.alarms import rules
from tests.store.poison import POISON, allow, aside, let_be_due, refuse, set_aside
from tests.store.tasks import LEASE, create, queued, row, running, write
from tests.store.trees import fan_out, part_ids

SETTINGS = Settings.load({})


class Broker:
    """Takes every message."""

    def __init__(self, store: Store) -> None:
        self.sent: list[str] = []
        self._store = store

    def publish(self, items: Any) -> set[str]:
        self.sent += [item.id for item in items]
        return self._store.publications.mark_queued(items)


@dataclass(frozen=True)
class Case:
    """A loop: makes a row of this name that it has to move, and whether it has done so."""

    loop: str
    make: Callable[[Store, str], str]
    work: Callable[[Store], object]
    is_done: Callable[[Store, str], bool]


def _due(store: Store, name: str) -> str:
    task_id = create(store, name=name)
    ago(store, task_id, "relay_at")
    return task_id


def _late(store: Store, name: str) -> str:
    task_id = create(store, name=name)
    ago(store, task_id, "deadline_at")
    return task_id


def _of_a_dead_worker(store: Store, name: str) -> str:
    return running(store, name=name).id


def _not_called_back(store: Store, name: str) -> str:
    run = running(store, name=name)
    token = digest_of(run.id)
    assert store.callbacks.expect(run.id, run.token, token, timedelta(hours=1))
    store.callbacks.wait(run.id, run.token, NO_REPORT, [])
    ago(store, run.id, "callback_until")
    return run.id


def _ended_below(store: Store, name: str) -> str:
    parent = fan_out(store, 1)
    write(store, "UPDATE taskdb_task SET status = 'COMPLETED' WHERE parent_id = :id", id=parent)
    write(store, "UPDATE taskdb_task SET name = :name WHERE id = :id", id=parent, name=name)
    return parent


def _out_of_time(store: Store, name: str) -> str:
    parent = fan_out(store, 1, timeout=60.0)
    write(store, "UPDATE taskdb_task SET name = :name WHERE id = :id", id=parent, name=name)
    ago(store, parent, "deadline_at")
    return parent


def ago(store: Store, task_id: str, column: str) -> None:
    past = store.database.dialect.later("-100.0")
    write(store, f"UPDATE taskdb_task SET {column} = {past} WHERE id = :id", id=task_id)


def leads_to(status: S) -> Callable[[Store, str], bool]:
    return lambda store, task_id: store.tasks.get(task_id, EVERYONE).status is status


CASES = [
    Case("relay", _due, lambda s: Relay(SETTINGS, s, Broker(s)).run_once(), leads_to(S.QUEUED)),
    Case("expire", _late, lambda s: Expire(s).run_once(), leads_to(S.FAILED)),
    Case(
        "rescue", _of_a_dead_worker, lambda s: Rescue(SETTINGS, s).run_once(), leads_to(S.ERRORED)
    ),
    Case("callbacks", _not_called_back, lambda s: Callbacks(s).run_once(), leads_to(S.FAILED)),
    Case("reconcile", _ended_below, lambda s: Reconcile(s).run_once(), leads_to(S.COMPLETED)),
    Case("reconcile", _out_of_time, lambda s: Reconcile(s).run_once(), leads_to(S.FAILED)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__.strip("_"))
def test_a_loop_goes_on_with_the_others_and_tries_the_bad_row_again_later(
    store: Store, case: Case
) -> None:
    good = [case.make(store, "good") for _ in range(3)]
    bad = case.make(store, POISON)
    good += [case.make(store, "good") for _ in range(4)]
    refuse(store)
    case.work(store)
    assert all(case.is_done(store, one) for one in good)
    assert not case.is_done(store, bad)
    assert aside(store) == {(case.loop, bad)}
    (found,) = set_aside(store)
    assert "this task is refused" in found.reason and found.tries == 1
    (listed,) = [one for one in store.doctor.drifts(lease=LEASE) if one.name == "set_aside"]
    assert listed.count == 1 and bad in listed.examples[0]
    # It is left out until its time has come, and then for longer.
    case.work(store)
    assert set_aside(store) == [found]
    let_be_due(store)
    case.work(store)
    (again,) = set_aside(store)
    assert again.tries == 2
    allow(store)
    case.work(store)
    assert not case.is_done(store, bad)
    let_be_due(store)
    case.work(store)
    assert case.is_done(store, bad)
    assert set_aside(store) == []
    assert "set_aside" not in {one.name for one in store.doctor.drifts(lease=LEASE)}


@pytest.mark.parametrize(
    "state", ["42501", "42P01", "42703", "3F000", "XX000", "40001", "53100", "55P03", "57014"]
)
def test_a_trigger_that_raises_any_sqlstate_for_one_row_stops_no_loop(
    postgresql_store: Store, state: str
) -> None:
    store = postgresql_store
    bad, good = _late(store, POISON), _late(store, "good")
    refuse(store, state=state)
    Expire(store).run_once()
    assert store.tasks.get(good, EVERYONE).status is S.FAILED
    assert aside(store) == {("expire", bad)}
    # Alone it stops none either.
    let_be_due(store)
    Expire(store).run_once()
    (found,) = set_aside(store)
    assert found.tries == 2 and "this task is refused" in found.reason


def test_a_trigger_that_names_a_table_that_is_gone_stops_no_loop(store: Store) -> None:
    bad, good = _late(store, POISON), _late(store, "good")
    write(store, "CREATE TABLE audit_of_mine (task_id TEXT)")
    note = "INSERT INTO audit_of_mine VALUES ('x')"
    if store.database.dialect.name == "postgresql":
        function = f"LANGUAGE plpgsql AS $$ BEGIN {note}; RETURN NEW; END $$"
        write(store, f"CREATE FUNCTION noted() RETURNS trigger {function}")
        when = "FOR EACH ROW WHEN (OLD.name = 'poison') EXECUTE FUNCTION noted()"
        write(store, f"CREATE TRIGGER notes BEFORE UPDATE ON taskdb_task {when}")
    else:
        when = f"WHEN OLD.name = 'poison' BEGIN {note}; END"
        write(store, f"CREATE TRIGGER notes BEFORE UPDATE ON taskdb_task {when}")
    write(store, "DROP TABLE audit_of_mine")
    if store.database.dialect.name == "sqlite":
        # SQLite prepares the trigger with each update of any row, so all are refused by it.
        Expire(store).run_once()
        assert aside(store) == {("expire", bad), ("expire", good)}
        return
    Expire(store).run_once()
    assert store.tasks.get(good, EVERYONE).status is S.FAILED
    assert aside(store) == {("expire", bad)}


def test_words_of_a_trigger_are_no_missing_table(store: Store) -> None:
    bad, good = _late(store, POISON), _late(store, "good")
    refuse(store, words="no such table: taskdb_task")
    Expire(store).run_once()
    assert store.tasks.get(good, EVERYONE).status is S.FAILED
    assert aside(store) == {("expire", bad)}


def test_a_right_that_is_missing_blames_no_row(postgresql_store: Store) -> None:
    store = postgresql_store
    _late(store, "good")
    write(store, "CREATE ROLE plain_role LOGIN")
    write(
        store, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain_role"
    )
    write(store, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO plain_role")
    write(store, "REVOKE UPDATE ON taskdb_task FROM plain_role")
    try:
        plain = Store(store.database.url.replace("postgres@", "plain_role@"))
        with plain.closing(), pytest.raises(DatabaseRefused, match="taskdb grants"):
            Expire(plain).run_once()
    finally:
        write(store, "DROP OWNED BY plain_role")
        write(store, "DROP ROLE plain_role")
    assert set_aside(store) == []


def test_another_process_tries_the_bad_row_again_and_forgets_it(store: Store) -> None:
    bad = _late(store, POISON)
    refuse(store)
    Expire(store).run_once()
    allow(store)
    let_be_due(store)
    with Store(store.database.url).closing() as other:
        Expire(other).run_once()
    assert store.tasks.get(bad, EVERYONE).status is S.FAILED
    assert set_aside(store) == []


def test_the_pauses_between_tries_double_up_to_an_hour(store: Store) -> None:
    pauses = []
    for _ in range(12):
        store.aside.note("expire", "x", ValueError("no"))
        (found,) = set_aside(store)
        pauses.append(round((found.next_try_at - store.schedules.now()).total_seconds()))
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1280, 3600, 3600, 3600, 3600]


def test_many_bad_rows_do_not_keep_the_others_from_the_next_batch(store: Store) -> None:
    bad = [_due(store, POISON) for _ in range(5)]
    good = [_due(store, "good") for _ in range(3)]
    for one in bad:
        write(store, "UPDATE taskdb_task SET relay_at = :at WHERE id = :id", id=one,
              at="2020-01-01T00:00:00.000Z")  # fmt: skip
    refuse(store)
    assert store.publications.lease_due(4, LEASE) == []
    assert {one.id for one in store.publications.lease_due(4, LEASE)} == set(good)
    assert {key for _, key in aside(store)} == set(bad)


def test_a_message_that_cannot_be_marked_is_not_sent_again_with_all_others(store: Store) -> None:
    good, bad = _due(store, "good"), _due(store, POISON)
    refuse(store, "OLD.name = 'poison' AND NEW.status = 'QUEUED'")
    broker = Broker(store)
    relay = Relay(SETTINGS, store, broker)
    relay.run_once()
    relay.run_once()
    assert sorted(broker.sent) == sorted([good, bad])
    assert store.tasks.get(good, EVERYONE).status is S.QUEUED
    assert aside(store) == {("relay", bad)}


def test_an_item_that_cannot_be_claimed_keeps_no_other_of_its_chunk(store: Store) -> None:
    chunk = fan_out(store, 4, chunk_size=4)
    items = part_ids(store, chunk)
    write(store, "UPDATE taskdb_task SET name = 'poison' WHERE id = :id", id=items[1])
    refuse(store)
    message = str(row(store, items[0])["chunk"])
    claims = store.runs.claim_chunk(message, token="t", worker="w-1", max_attempts=3, count=4)
    assert [one.id for one in claims] == [items[0], *items[2:]]
    assert aside(store) == {("worker", items[1])}


def test_a_worker_hands_back_all_but_the_row_that_is_refused(store: Store) -> None:
    runs = [running(store, name=name).id for name in ("a", POISON, "b", "c")]
    refuse(store)
    assert store.endings.hand_back_worker("w-1", "shutdown") == 3
    assert [store.tasks.get(one, EVERYONE).status for one in runs] == [
        S.CREATED,
        S.STARTED,
        S.CREATED,
        S.CREATED,
    ]
    # The rescue has it from here on.
    Rescue(SETTINGS, store).run_once()
    assert ("rescue", runs[1]) in aside(store)


def test_messages_that_are_lost_are_handed_back_but_for_a_row_that_is_refused(
    store: Store,
) -> None:
    ids = [queued(store, name=name).id for name in ("a", POISON, "b")]
    refuse(store)
    suspects = store.lost_messages
    rows = suspects.queued(None, 10)
    assert suspects.hand_back(rows, "lost", store.schedules.now()) == {ids[0], ids[2]}
    assert aside(store) == {("requeue", ids[1])}
    assert suspects.queued(None, 10) == []


def test_a_sub_task_that_cannot_be_stopped_keeps_no_other_from_it(store: Store) -> None:
    parent = fan_out(store, 5)
    parts = part_ids(store, parent)
    write(store, "UPDATE taskdb_task SET name = 'poison' WHERE id = :id", id=parts[2])
    refuse(store)
    store.interventions.cancel(parent, EVERYONE)
    assert [store.tasks.get(one, EVERYONE).status for one in parts] == [
        S.CANCELED, S.CANCELED, S.CREATED, S.CANCELED, S.CANCELED,
    ]  # fmt: skip
    assert aside(store) == {("reconcile", parts[2])}
    allow(store)
    let_be_due(store)
    Reconcile(store).run_once()
    assert store.tasks.get(parent, EVERYONE).status is S.CANCELED
    assert set_aside(store) == []


def test_a_parent_that_cannot_act_keeps_no_other_from_it(store: Store) -> None:
    bad, *good = [fan_out(store, 1) for _ in range(3)]
    json_of = store.database.dialect.json("spec")
    for spec in ('{"fan_out": {"nothing": 1}}', '{"fan_out": 5}', "[]", "{}"):
        write(store, f"UPDATE taskdb_task SET spec = {json_of} WHERE id = :id", id=bad, spec=spec)
        parts = [part_ids(store, one)[0] for one in (bad, *good)]
        for part in parts:
            if not store.tasks.get(part, EVERYONE).status.is_terminal:
                ago(store, part, "deadline_at")
        let_be_due(store)
        Expire(store).run_once()
        Reconcile(store).run_once()
        assert aside(store) == {("reconcile", bad)}
    assert {store.tasks.get(one, EVERYONE).status for one in good} == {S.FAILED}


def test_bulk_verbs_of_a_person_go_on_with_the_others(store: Store) -> None:
    ids = [create(store, name=name) for name in ("a", POISON, "b")]
    refuse(store)
    assert store.bulk.cancel(Filter(status=(S.CREATED,)), EVERYONE) == 2
    assert [store.tasks.get(one, EVERYONE).status for one in ids] == [
        S.CANCELED,
        S.CREATED,
        S.CANCELED,
    ]
    counted = [number for number, _ in store.bulk.retry(Filter(status=(S.CANCELED,)), EVERYONE)]
    assert sum(counted) == 2
    with pytest.raises(Exception, match="this task is refused") as refused:
        store.interventions.cancel(ids[1], EVERYONE)
    assert not isinstance(refused.value, DatabaseError)


def test_a_database_that_is_away_sets_nothing_aside(store: Store) -> None:
    class Away(DatabaseError):
        pass

    def fail(_some: object) -> list[str]:
        raise Away("no answer")

    for work in (
        lambda: store.aside.batch("expire", ["a", "b"], fail),
        lambda: store.aside.each("expire", ["a", "b"], fail),
    ):
        with pytest.raises(Away):
            work()
    assert set_aside(store) == []
    assert not is_of_a_row(Away("no answer")) and is_of_a_row(KeyError("spec"))


def test_text_that_is_no_json_stops_no_other_row(sqlite_url: str) -> None:
    with Store(sqlite_url).closing() as store:
        bad, good = fan_out(store, 1), fan_out(store, 1)
        for one in (bad, good):
            write(
                store, "UPDATE taskdb_task SET status = 'COMPLETED' WHERE parent_id = :id", id=one
            )
        write(store, "UPDATE taskdb_task SET spec = '{\"fan' WHERE id = :id", id=bad)
        Reconcile(store).run_once()
        assert store.tasks.get(good, EVERYONE).status is S.COMPLETED
        assert aside(store) == {("reconcile", bad)}


def test_a_batch_in_which_nothing_fails_costs_one_statement(store: Store) -> None:
    _late(store, "good")
    sent: list[str] = []
    query = store.database.query

    def counted(sql: str, *given: Any, **options: Any) -> Any:
        sent.append(sql)
        return query(sql, *given, **options)

    store.database.query = counted  # type: ignore[method-assign]
    store.aside.over("expire", 0.0)
    for _ in range(3):
        Expire(store).run_once()
    # A process that set nothing aside looks once in a while whether another one did.
    assert len(sent) == 1


def test_a_held_task_that_cannot_go_keeps_no_other_from_it(store: Store) -> None:
    ids = [
        create(store, name=name, mutex_key=f"k{number}")
        for number, name in enumerate(("a", POISON, "b", "c"))
    ]
    refuse(store)
    released = store.admission.release(10, LEASE)
    assert sorted(one.id for one in released.publications) == sorted([ids[0], *ids[2:]])
    assert aside(store) == {("release", ids[1])}
    assert store.admission.release(10, LEASE).publications == []
    taken = write(store, "SELECT key FROM taskdb_slot ORDER BY key")
    assert [one["key"] for one in taken] == [f"mutex:acme/k{number}" for number in (0, 2, 3)]
    allow(store)
    let_be_due(store)
    assert [one.id for one in store.admission.release(10, LEASE).publications] == [ids[1]]


def test_the_first_of_a_line_that_cannot_go_lets_the_next_one_pass(store: Store) -> None:
    first = create(store, name="a", mutex_key="k")
    assert [one.id for one in store.admission.release(10, LEASE).publications] == [first]
    bad = create(store, name=POISON, mutex_key="k")
    good = create(store, name="b", mutex_key="k")
    assert store.admission.release(10, LEASE).publications == []
    store.interventions.cancel(first, EVERYONE)
    refuse(store)
    released = [store.admission.release(10, LEASE).publications for _ in range(2)]
    assert [[one.id for one in some] for some in released] == [[], [good]]
    assert aside(store) == {("release", bad)}


def test_a_release_that_changes_nothing_asks_for_no_other_pass(store: Store) -> None:
    write(store, "INSERT INTO taskdb_limit (target, name, max_running) VALUES ('type', 'sum', 1)")
    for number in range(4):
        create(store, mutex_key=f"k{number}")
    passes = [store.admission.release(2, LEASE).is_full for _ in range(6)]
    assert passes[-1] is False


@each("lists", ["5", '"text"', "{}"], alone=True)
def test_a_worker_whose_lists_cannot_be_read_stops_no_loop(store: Store, lists: str) -> None:
    _worker(store, "bad", lists)
    _stops_no_loop(store)


def test_a_worker_whose_lists_are_no_json_stops_no_loop(sqlite_url: str) -> None:
    with Store(sqlite_url).closing() as store:
        _worker(store, "bad", "[")
        _stops_no_loop(store)


def _worker(store: Store, name: str, lists: str) -> None:
    d = store.database.dialect
    names = ("queues", "types", "claims", "claims_before", "messages")
    write(
        store,
        f"INSERT INTO taskdb_worker (id, name, host, pid, seen_at, {', '.join(names)})"
        f" VALUES (:name, :name, 'h', 1, {d.later('60.0')}"
        f"{''.join([', ' + d.json('lists')] * len(names))})",
        name=name,
        lists=lists,
    )


def _stops_no_loop(store: Store) -> None:
    """A look at all workers, by each who looks at them."""
    run = running(store)
    write(store, "UPDATE taskdb_task SET worker = 'bad' WHERE id = :id", id=run.id)
    write(
        store, f"UPDATE taskdb_worker SET listed_before_at = {store.database.dialect.later('60.0')}"
    )
    Rescue(SETTINGS, store).run_once()
    assert store.tasks.get(run.id, EVERYONE).status is S.ERRORED
    assert store.lost_messages.live_workers(LEASE).queues == frozenset()
    assert StoreUpkeep(store).counts.workers(LEASE).live == 1
    assert [one.queues for one in store.workers.seen_since(60.0)] == [()]
    limits = Limits(LEASE, timedelta(seconds=1), {})
    create(store)
    write(store, "UPDATE taskdb_task SET relay_at = '2020-01-01T00:00:00.000Z'")
    assert StoreUpkeep(store).conditions(rules(), limits).watch().holding > 0
