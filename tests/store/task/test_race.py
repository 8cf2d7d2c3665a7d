"""Races, with real threads and connections: one wins, and the history says so."""

from itertools import pairwise

from taskdb.model.status import TERMINAL, TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.store.tasks import (
    DONE,
    HOUR,
    OOPS,
    SOON,
    at_once,
    claim,
    create,
    make_due,
    moves,
    publication,
    running,
    stray,
)

S = TaskStatus
ROUNDS = 8


def test_of_eight_claims_one_is_granted(store: Store) -> None:
    for _ in range(ROUNDS):
        task_id = create(store)
        granted = at_once(lambda number, i=task_id: claim(store, i, f"t{number}"), 8)  # type: ignore[misc]
        assert granted.count(True) == 1
        assert store.tasks.get(task_id, EVERYONE).attempt == 1
        assert moves(store, task_id) == [(None, "CREATED"), ("CREATED", "STARTED")]


def test_of_two_outcomes_of_one_run_one_is_accepted(store: Store) -> None:
    for _ in range(ROUNDS):
        run = running(store)
        verbs = (
            lambda r=run: store.outcomes.complete(r.id, r.token, DONE),
            lambda r=run: store.outcomes.fail(r.id, r.token, OOPS),
            lambda r=run: store.outcomes.error(r.id, r.token, OOPS, HOUR),
            lambda r=run: store.outcomes.crash(r.id, r.token, OOPS, delay=HOUR, max_crashes=9),
        )
        at_once(lambda number, v=verbs: v[number](), len(verbs))  # type: ignore[misc]
        history = moves(store, run.id)
        assert len(history) == 3
        assert history[-1] == ("STARTED", store.tasks.get(run.id, EVERYONE).status)


def test_a_cancel_and_a_completion_leave_one_of_the_two(store: Store) -> None:
    ends = set()
    for _ in range(ROUNDS):
        run = running(store)

        def act(number: int, task_id: str = run.id, token: str = run.token) -> object:
            if number:
                return store.outcomes.fail(task_id, token, OOPS)
            try:
                store.interventions.cancel(task_id, EVERYONE)
            except Exception as error:  # noqa: BLE001 - compared below
                return error
            return None

        refused, said = at_once(act, 2)
        status = store.tasks.get(run.id, EVERYONE).status
        assert said is status
        assert status is (S.FAILED if refused else S.CANCELED)
        ends.add(status)
        assert_chained(store, run.id)
    assert ends <= {S.FAILED, S.CANCELED}


def test_a_mark_and_a_claim_at_once_leave_the_task_started(store: Store) -> None:
    for _ in range(ROUNDS):
        task_id = create(store)
        item = publication(store, task_id)
        at_once(
            lambda number, i=task_id, p=item: (
                claim(store, i) if number else store.publications.mark_queued([p])
            ),  # type: ignore[misc]
            2,
        )
        assert store.tasks.get(task_id, EVERYONE).status is S.STARTED
        assert_chained(store, task_id)


def test_two_rescues_take_a_task_once(store: Store) -> None:
    ids = {running(store).id for _ in range(30)}
    taken = at_once(lambda _: store.take_backs.rescue(OOPS, lease=SOON, limit=50, max_crashes=3), 4)
    assert sorted(task_id for one in taken for task_id in one) == sorted(ids)
    assert {store.tasks.get(task_id, EVERYONE).crashes for task_id in ids} == {1}


def test_everything_at_once_keeps_every_history_whole(store: Store) -> None:
    ids = [create(store) for _ in range(6)]

    def act(number: int) -> None:
        for turn in range(12):
            task_id = ids[(number + turn) % len(ids)]
            token = f"{number}-{turn}"
            if number % 4 == 0:
                store.publications.mark_queued(store.publications.find([task_id]))
                store.runs.remark(task_id, {"turn": turn})
            elif number % 4 == 1 and claim(store, task_id, token):
                store.outcomes.error(task_id, token, OOPS, SOON)
            elif number % 4 == 2 and claim(store, task_id, token):
                store.outcomes.hand_back(task_id, token, "race")
            else:
                stray(store, task_id, delay=SOON, limit=1_000)
                make_due(store, task_id)

    at_once(act, 8)
    for task_id in ids:
        assert_chained(store, task_id)


def assert_chained(store: Store, task_id: str) -> None:
    """Each event begins where the one before it ended, and the last is where the row is."""
    events = store.tasks.history(task_id, EVERYONE)
    assert events[0].from_status is None
    for before, after in pairwise(events):
        assert after.from_status is before.to_status
        assert after.attempt >= before.attempt
        assert before.to_status not in TERMINAL or after.to_status in {S.CREATED, before.to_status}
    assert store.tasks.get(task_id, EVERYONE).status is events[-1].to_status
