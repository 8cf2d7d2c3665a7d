"""Tasks that a limit, a mutex or a pause holds, their release and their slots."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskRole
from taskdb.model.fan_out import FanOutSpec, HandlerSpec
from taskdb.model.key import mutex_key_of
from taskdb.model.limit import Limit, LimitEntity
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.cases import each
from tests.store.admission_steps import (
    MINUTE,
    begin,
    held_by,
    released,
    released_at_last,
    slots,
    with_mutex,
)
from tests.store.tasks import (
    DONE,
    HOUR,
    LEASE,
    OOPS,
    SOON,
    at_once,
    claim,
    create,
    draft,
    make_due,
    queued,
    row,
    write,
)
from tests.store.trees import sequence, step, sub_tasks

TYPE = ("type", "sum")
QUEUE = ("queue", "taskdb")
TENANT = ("tenant", "acme")


def test_a_task_that_no_rule_concerns_is_not_held(store: Store) -> None:
    store.limits.set(("type", "other"), Limit(max_running=1), EVERYONE)
    (created,) = store.submissions.create([draft()], EVERYONE)
    assert created.held_by is None
    assert not row(store, created.id)["needs_admission"]
    assert not store.admission.has_held()


@each("place", [TYPE, QUEUE, TENANT], alone=True)
def test_a_rule_holds_what_is_created_for_its_place(store: Store, place: tuple[str, str]) -> None:
    store.limits.set(place, Limit(max_running=1), EVERYONE)
    (created,) = store.submissions.create(
        [draft(chunk="01936e4b-7c00-7000-8000-0123456789ab")], EVERYONE
    )
    assert created.held_by == "admission"
    assert row(store, created.id)["chunk"] is None
    assert store.publications.find([created.id]) == []
    assert store.publications.lease_due(10, LEASE) == []
    assert store.admission.has_held()


def test_a_mutex_lets_one_go_after_another_in_order_of_arrival(store: Store) -> None:
    ids = with_mutex(store, *["k"] * 4)
    other = create(store, mutex_key="another")
    assert released(store) == [ids[0], other]
    assert [held_by(store, one) for one in ids] == [None, *["mutex:acme/k"] * 3]
    for gone, following in zip(ids, [*ids[1:], None], strict=True):
        begin(store, gone)
        assert released_at_last(store) == []
        store.outcomes.complete(gone, "token-1", DONE)
        assert released(store) == ([following] if following else [])
    assert slots(store) == [("mutex:acme/another", 1)]


def test_tenants_share_no_mutex_whatever_their_names(store: Store) -> None:
    create(store, tenant="a/b", mutex_key="c")
    create(store, tenant="a", mutex_key="b/c")
    create(store, tenant="a%2Fb", mutex_key="c")
    assert len(released(store)) == 3


def test_one_that_arrives_later_stands_behind_those_who_wait(store: Store) -> None:
    first, second = with_mutex(store, "k", "k")
    assert released(store) == [first]
    third = create(store, mutex_key="k")
    begin(store, first)
    store.outcomes.complete(first, "token-1", DONE)
    assert released_at_last(store) == [second]
    assert held_by(store, third) == "mutex:acme/k"


def test_a_limit_lets_so_many_run_and_no_more(store: Store) -> None:
    store.limits.set(TYPE, Limit(max_running=3), EVERYONE)
    ids = [create(store) for _ in range(5)]
    assert released_at_last(store) == ids[:3]
    assert held_by(store, ids[3]) == "running:type:sum"
    begin(store, ids[1])
    store.outcomes.fail(ids[1], "token-1", OOPS)
    assert released_at_last(store) == [ids[3]]
    store.limits.set(TYPE, Limit(max_running=1), EVERYONE)
    begin(store, ids[0])
    store.outcomes.complete(ids[0], "token-1", DONE)
    assert released_at_last(store) == []
    store.limits.clear(TYPE, EVERYONE)
    assert released_at_last(store) == [ids[4]]
    assert store.limits.all(EVERYONE) == []


def test_a_task_takes_all_of_its_slots_or_none(store: Store) -> None:
    store.limits.set(TYPE, Limit(max_running=2), EVERYONE)
    store.limits.set(TENANT, Limit(max_running=1), EVERYONE)
    first, second = create(store), create(store)
    assert released_at_last(store) == [first]
    assert slots(store) == [("running:tenant:acme", 1), ("running:type:sum", 1)]
    assert held_by(store, second) == "running:tenant:acme"
    other = create(store, tenant="other")
    assert released_at_last(store) == [other]
    begin(store, first)
    store.outcomes.complete(first, "token-1", DONE)
    assert released_at_last(store) == [second]


def test_who_waits_in_two_lines_for_each_other_goes_in_the_end(store: Store) -> None:
    store.limits.set(("queue", "a"), Limit(max_running=1), EVERYONE)
    store.limits.set(("queue", "b"), Limit(max_running=1), EVERYONE)
    one, two = create(store, queue="a", mutex_key="k"), create(store, queue="b", mutex_key="l")
    three = create(store, queue="a", mutex_key="l")
    four = create(store, queue="b", mutex_key="k")
    assert released_at_last(store) == [one, two]
    for done in (one, two):
        begin(store, done)
        store.outcomes.complete(done, "token-1", DONE)
    assert released_at_last(store) == [three, four]


def test_so_many_start_in_a_window_and_no_more(store_url: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    clock = FixedClock(start)
    with Store(store_url, clock=clock).closing() as store:
        store.limits.set(TYPE, Limit(max_starts=2, per=MINUTE), EVERYONE)
        ids = [create(store) for _ in range(4)]
        assert released_at_last(store) == ids[:2]
        clock.advance(timedelta(seconds=90))
        # The window is that of starts; those before it have not begun.
        assert released_at_last(store) == []
        begin(store, ids[0])
        store.outcomes.complete(ids[0], "token-1", DONE)
        clock.advance(timedelta(seconds=59))
        assert released_at_last(store) == []
        begin(store, ids[1])
        clock.advance(timedelta(seconds=1))
        assert released_at_last(store) == [ids[2]]
        clock.advance(timedelta(seconds=59))
        # It runs longer than the window, which is over all the same.
        assert released_at_last(store) == [ids[3]]
        assert len(slots(store)) == 2


@each("place", [TYPE, QUEUE, TENANT], alone=True)
def test_a_pause_holds_what_waits_and_what_is_queued_already(
    store: Store, place: tuple[str, str]
) -> None:
    before = queued(store).id
    running = queued(store).id
    assert claim(store, running)
    store.limits.pause(place, EVERYONE, "the other side is down", by="ann")
    after = create(store)
    refused = store.runs.claim(before, token="t", worker="w", max_attempts=3)
    assert (refused.granted, refused.status) == (False, TaskStatus.QUEUED)
    assert store.runs.hold(before) == 1
    found = store.tasks.get(before, EVERYONE)
    assert (found.status, found.attempt, found.spared) == (TaskStatus.CREATED, 0, 0)
    assert released_at_last(store) == []
    expected = f"paused:{place[0]}:{place[1]}"
    assert {held_by(store, before), held_by(store, after)} == {expected}
    assert store.outcomes.complete(running, "token-1", DONE) is TaskStatus.COMPLETED
    assert store.limits.lift_pause(place, EVERYONE)
    assert not store.limits.lift_pause(place, EVERYONE)
    assert released_at_last(store) == [before, after]
    begin(store, before)


def test_a_released_task_is_held_by_a_pause_that_comes_before_its_claim(store: Store) -> None:
    (task_id,) = with_mutex(store, "k")
    assert released(store) == [task_id]
    store.limits.pause(QUEUE, EVERYONE)
    assert not claim(store, task_id)
    assert store.runs.hold(task_id) == 1
    assert slots(store) == []
    store.limits.lift_pause(QUEUE, EVERYONE)
    assert released_at_last(store) == [task_id]
    begin(store, task_id)


def test_what_no_rule_stops_is_not_held(store: Store) -> None:
    task_id = queued(store).id
    assert store.runs.hold(task_id) == 0
    assert store.runs.hold("no id") == 0
    assert claim(store, task_id)


def test_a_limit_that_comes_after_the_message_stops_the_claim(store: Store) -> None:
    ids = [queued(store).id for _ in range(2)]
    store.limits.set(TYPE, Limit(max_running=1), EVERYONE)
    assert not any(claim(store, one) for one in ids)
    assert [store.runs.hold(one) for one in ids] == [1, 1]
    assert released_at_last(store) == [ids[0]]


def test_items_of_a_chunk_are_held_by_a_pause(store: Store) -> None:
    chunk = "01936e4b-7c00-7000-8000-0123456789ab"
    ids = [create(store, chunk=chunk, position=n) for n in range(2)]
    store.publications.mark_queued(store.publications.find(ids))
    store.limits.pause(TYPE, EVERYONE)
    assert store.runs.claim_chunk(chunk, token="t", worker="w", max_attempts=3, count=2) == []
    assert store.runs.hold(chunk, chunk=True) == 2
    store.limits.lift_pause(TYPE, EVERYONE)
    assert released_at_last(store) == ids


@each(
    "end",
    [
        lambda s, i: s.outcomes.error(i, "token-1", OOPS, SOON),
        lambda s, i: s.outcomes.snooze(i, "token-1", SOON),
        lambda s, i: s.outcomes.hand_back(i, "token-1", "shutdown"),
        lambda s, _: s.endings.hand_back_worker("w-1", "shutdown"),
        lambda s, i: s.outcomes.crash(i, "token-1", OOPS, delay=SOON, max_crashes=3),
        lambda s, _: s.take_backs.rescue(OOPS, lease=HOUR, limit=10, max_crashes=3),
    ],
    ids=["error", "snooze", "hand back", "shutdown", "crash", "rescue"],
    alone=True,
)
def test_a_run_that_is_to_be_repeated_gives_its_slot_back_and_stands_first_again(
    store: Store, end: Callable[[Store, str], object]
) -> None:
    first, second, third = with_mutex(store, "k", "k", "k")
    assert released_at_last(store) == [first]
    begin(store, first)
    end(store, first)
    assert held_by(store, first) == "admission"
    assert slots(store) == []
    make_due(store, first)
    assert not claim(store, first, "late")
    # The line is looked at before those who come.
    assert released(store) == [second]
    begin(store, second)
    store.outcomes.complete(second, "token-1", DONE)
    assert released_at_last(store) == [first]
    assert held_by(store, third) == "mutex:acme/k"


def test_a_repeated_run_is_not_released_before_it_is_due(store: Store) -> None:
    (task_id,) = with_mutex(store, "k")
    released(store)
    begin(store, task_id)
    store.outcomes.error(task_id, "token-1", OOPS, HOUR)
    assert not store.admission.has_held()
    assert released_at_last(store) == []
    make_due(store, task_id)
    assert released(store) == [task_id]


def test_one_that_is_due_later_is_held_from_then_on(store: Store) -> None:
    later = create(store, mutex_key="k", delay=HOUR)
    assert store.tasks.get(later, EVERYONE).status is TaskStatus.SCHEDULED
    now = create(store, mutex_key="k")
    assert released_at_last(store) == [now]
    make_due(store, later)
    assert released_at_last(store) == []
    assert held_by(store, later) == "mutex:acme/k"


def test_a_retry_by_hand_and_a_cancel_of_held_tasks(store: Store) -> None:
    first, second, third = with_mutex(store, "k", "k", "k")
    assert released_at_last(store) == [first]
    store.interventions.cancel(second, EVERYONE)
    assert held_by(store, second) is None
    store.interventions.cancel(first, EVERYONE)
    assert released_at_last(store) == [third]
    assert store.interventions.retry(first, EVERYONE) == []
    assert held_by(store, first) == "admission"
    assert released_at_last(store) == []
    begin(store, third)
    store.outcomes.halt(third, "token-1", OOPS)
    assert held_by(store, third) is None
    assert released_at_last(store) == [first]


def test_a_resubmit_takes_the_mutex_of_the_new_input(store: Store) -> None:
    task_id = create(store, unique_key="u")
    assert claim(store, task_id)
    store.outcomes.fail(task_id, "token-1", OOPS)
    (again,) = store.submissions.create([draft(unique_key="u", mutex_key="k")], EVERYONE)
    assert (again.id, again.held_by) == (task_id, "admission")
    assert released(store) == [task_id]
    assert slots(store) == [("mutex:acme/k", 1)]


def test_a_crash_between_release_and_message_leaves_it_to_the_relay(store: Store) -> None:
    first, second = with_mutex(store, "k", "k")
    assert [one.id for one in store.admission.release(10, timedelta(0)).publications] == [first]
    assert released_at_last(store) == []
    assert [one.id for one in store.publications.lease_due(10, LEASE)] == [first]
    assert slots(store) == [("mutex:acme/k", 1)]
    assert held_by(store, second) == "mutex:acme/k"


def test_two_releases_let_nobody_go_twice(store: Store) -> None:
    ids = with_mutex(store, *[f"k{n % 5}" for n in range(50)])
    gone = at_once(lambda _: released_at_last(store), 4)
    assert sorted(one for several in gone for one in several) == sorted(ids[:5])
    assert len(slots(store)) == 5


def test_a_window_of_a_fan_out_and_a_limit_hold_one_after_the_other(store: Store) -> None:
    store.limits.set(("type", "part"), Limit(max_running=1), EVERYONE)
    parent = draft()
    spec = FanOutSpec(part_type="part", max_concurrency=2)
    parts = [draft(type="part") for _ in range(3)]
    store.submissions.create_fan_out(parent, parts, spec, EVERYONE)
    assert [held_by(store, one.id) for one in parts] == ["admission", "admission", "window"]
    assert held_by(store, parent.id) is None
    assert store.publications.page_of_parts(parent.id, "", 10) == []
    order = []
    for _ in parts:
        (gone,) = released_at_last(store)
        begin(store, gone)
        store.outcomes.complete(gone, "token-1", DONE)
        store.joins.join(parent.id)
        order.append(gone)
    assert order == [one.id for one in parts]
    assert store.tasks.get(parent.id, EVERYONE).status is TaskStatus.COMPLETED


def test_a_task_that_waits_for_its_parts_has_no_slot(store: Store) -> None:
    (task_id,) = with_mutex(store, "k")
    released(store)
    begin(store, task_id)
    spec = FanOutSpec(part_type="part")
    assert store.fan_outs.split(task_id, "token-1", lambda: [draft(type="part")], spec)
    assert slots(store) == []
    assert held_by(store, task_id) is None


def test_only_the_lines_that_are_asked_for_are_looked_at(store: Store) -> None:
    one, two, three, four = with_mutex(store, "k", "l", "k", "l")
    assert released(store) == [one, two]
    for gone in (one, two):
        begin(store, gone)
        store.outcomes.complete(gone, "token-1", DONE)
    late = create(store, mutex_key="m")
    assert released(store, keys=["mutex:acme/l", "running:type:sum"]) == [four]
    assert released(store) == [three, late]


def test_a_pass_is_bounded_and_the_next_one_goes_on(store: Store) -> None:
    store.limits.set(TYPE, Limit(max_running=100), EVERYONE)
    ids = [create(store) for _ in range(5)]
    first = store.admission.release(3, LEASE)
    assert [one.id for one in first.publications] == ids[:3]
    assert first.is_full
    second = store.admission.release(3, LEASE)
    assert ([one.id for one in second.publications], second.is_full) == (ids[3:], False)


def test_a_pass_says_how_much_of_a_rule_was_free(store: Store) -> None:
    """Who looks too often, or too seldom, learns it from that."""
    store.limits.set(TYPE, Limit(max_running=8), EVERYONE)
    for _ in range(3):
        create(store)
    assert store.admission.release(10, LEASE).share == 3 / 8
    assert store.admission.release(10, LEASE).share == 0
    with_mutex(store, "k", "k")
    assert store.admission.release(10, LEASE).share == 1


def test_a_sweep_frees_what_nobody_has(store: Store) -> None:
    first, second = with_mutex(store, "k", "l")
    released(store)
    begin(store, first)
    write(
        store,
        "INSERT INTO taskdb_slot (key, n, task_id) VALUES ('old', 1, :id), ('old', 2, NULL)",
        id="01936e4b-7c00-7000-8000-0123456789ab",
    )
    assert store.admission.sweep_slots(10) == 2
    assert store.admission.sweep_slots(10) == 0
    assert slots(store) == [("mutex:acme/k", 1), ("mutex:acme/l", 1)]
    write(store, "DELETE FROM taskdb_task WHERE id = :id", id=second)
    assert store.admission.sweep_slots(10) == 1


# --- rules --------------------------------------------------------------------------------------


def test_a_rule_says_who_set_it_and_why(store: Store) -> None:
    store.limits.pause(QUEUE, EVERYONE, "the other side is down", by="ann")
    store.limits.set(QUEUE, Limit(max_running=3, max_starts=5, per=MINUTE), EVERYONE, by="bob")
    (entity,) = store.limits.all(EVERYONE)
    assert entity == LimitEntity(
        "queue",
        "taskdb",
        is_paused=True,
        limit=Limit(3, 5, MINUTE),
        origin="person",
        reason="the other side is down",
        set_by="bob",
        set_at=entity.set_at,
    )
    store.limits.lift_pause(QUEUE, EVERYONE)
    assert not store.limits.all(EVERYONE)[0].is_paused
    assert store.limits.clear(QUEUE, EVERYONE)
    assert not store.limits.clear(QUEUE, EVERYONE)
    assert store.limits.all(EVERYONE) == []


def test_what_a_person_has_set_wins_over_code(store: Store) -> None:
    declared: dict[str, Limit | None] = {"a": Limit(max_running=1), "b": Limit(max_running=2)}
    store.limits.set(("type", "a"), Limit(max_running=9), EVERYONE)
    store.limits.pause(("type", "b"), EVERYONE)
    store.limits.declare(declared)
    assert _limits(store) == {"a": (9, "person"), "b": (2, "code")}
    store.limits.declare({"a": None, "b": None})
    assert _limits(store) == {"a": (9, "person"), "b": (None, "person")}
    store.limits.clear(("type", "a"), EVERYONE)
    store.limits.declare(declared)
    assert _limits(store) == {"a": (1, "code"), "b": (2, "code")}
    store.limits.declare({"a": Limit(max_running=4)})
    assert _limits(store) == {"a": (4, "code"), "b": (2, "code")}


def _limits(store: Store) -> dict[str, tuple[int | None, str]]:
    return {
        entity.name: (entity.limit.max_running if entity.limit else None, entity.origin)
        for entity in store.limits.all(EVERYONE)
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"max_running": 0},
        {"max_running": True},
        {"max_starts": 3},
        {"per": MINUTE},
        {"max_starts": 3, "per": timedelta(0)},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"pass|give|together|longer|says"):
        Limit(**wrong)  # type: ignore[arg-type]


def test_steps_and_handlers_have_the_mutex_of_their_type(store: Store) -> None:
    told = HandlerSpec("told", "taskdb", 5, mutex=("n",))
    parent_id = sequence(store, step(mutex=("sum",)), on_start=told)
    (handler,) = sub_tasks(store, parent_id)
    assert handler.held_by == "admission"
    assert released_at_last(store) == [handler.id]
    begin(store, handler.id)
    store.outcomes.complete(handler.id, "token-1", DONE)
    store.joins.join(parent_id)
    first = sub_tasks(store, parent_id, TaskRole.STEP)[0]
    assert row(store, first.id)["mutex_key"] == mutex_key_of("step", ("sum",), {"sum": 3})
    assert released_at_last(store) == [first.id]
