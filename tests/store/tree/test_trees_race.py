"""Races in trees, with real threads and connections: the rows decide, once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from taskdb.errors import IllegalMove
from taskdb.model.entity import TaskRole
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.outcome import NO_REPORT
from taskdb.model.status import TERMINAL, TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from tests.store.task.test_race import assert_chained
from tests.store.tasks import DONE, OOPS, at_once, claim
from tests.store.trees import TOLD, fan_out, newest_step, part_ids, sequence, step

S = TaskStatus

ROUNDS = 12


def end_part(store: Store, parent_id: str, part_id: str, *, well: bool = True) -> None:
    """As a worker does: the outcome, the count, the body of the chord."""
    if well:
        store.outcomes.complete(part_id, part_id, DONE)
    else:
        store.outcomes.fail(part_id, part_id, OOPS)
    if not store.joins.part_ended(parent_id, badly=not well).open:
        store.joins.join(parent_id)


def running_parts(store: Store, count: int, **spec: Any) -> tuple[str, list[str]]:
    parent = fan_out(store, count, **spec)
    ids = part_ids(store, parent)
    assert all(claim(store, part, token=part) for part in ids)
    return parent, ids


def everything(store: Store, root: str) -> list[Any]:
    found = [store.tasks.get(root, EVERYONE)]
    for one in found:
        found += store.tasks.page(Filter(parent_id=one.id), EVERYONE, limit=1_000)
    return found


def assert_kept(store: Store, root: str) -> None:
    """Promise 4, and whole histories."""
    found = everything(store, root)
    for one in found:
        below = [row for row in found if row.parent_id == one.id]
        if one.status in TERMINAL:
            assert all(row.status in TERMINAL for row in below), (one, below)
        assert_chained(store, one.id)


def test_the_last_two_parts_at_once_end_their_parent(store: Store) -> None:
    for number in range(50):
        parent, parts = running_parts(store, 2)
        at_once(
            lambda n, p=parent, ids=parts, bad=number % 3: end_part(
                store, p, ids[n], well=n != bad
            ),
            2,
        )  # type: ignore[misc]
        expected = S.COMPLETED if number % 3 == 2 else S.FAILED
        assert store.tasks.get(parent, EVERYONE).status is expected
        assert_chained(store, parent)


def test_two_joins_at_once_make_the_handler_once(store: Store) -> None:
    for _ in range(ROUNDS):
        parent, (part,) = running_parts(store, 1, on_join=TOLD)
        store.outcomes.complete(part, part, DONE)
        at_once(lambda _, p=parent: store.joins.join(p), 4)  # type: ignore[misc]
        handlers = store.tasks.page(
            Filter(parent_id=parent, role=TaskRole.HANDLER), EVERYONE, limit=9
        )
        assert len(handlers) == 1
        assert store.tasks.get(parent, EVERYONE).status is S.FINISHED


def test_two_joins_at_once_make_the_next_step_once(store: Store) -> None:
    for _ in range(ROUNDS):
        root = sequence(store, step(), step())
        first = newest_step(store, root)
        assert claim(store, first.id, token="t")
        # As if the process died between the outcome and the join.
        store.outcomes.complete(first.id, "t", DONE)
        at_once(
            lambda n, r=root, i=first.id: (  # type: ignore[misc]
                store.joins.join(r)
                if n
                else store.endings.complete_step(i, "t", DONE, NO_REPORT, r)
            ),
            4,
        )
        steps = store.tasks.page(Filter(parent_id=root), EVERYONE, limit=9)
        assert sorted(one.position or 0 for one in steps) == [0, 1]


def test_an_end_and_a_retry_of_a_part_at_once_agree(store: Store) -> None:
    for _ in range(ROUNDS):
        parent, (first, last) = running_parts(store, 2)
        end_part(store, parent, first, well=False)

        def act(n: int, p: str = parent, done: str = last, again: str = first) -> object:
            if not n:
                return end_part(store, p, done)
            return store.interventions.retry(again, EVERYONE)

        at_once(act, 2)
        assert_kept(store, parent)
        assert store.tasks.get(parent, EVERYONE).status is S.PROCESSING
        assert claim(store, first, token="again")
        store.outcomes.complete(first, "again", DONE)
        store.joins.join(parent)
        assert store.tasks.get(parent, EVERYONE).status is S.COMPLETED


def test_a_retry_of_a_good_part_and_its_parents_end_at_once_agree(store: Store) -> None:
    for _ in range(ROUNDS):
        parent, (first, last) = running_parts(store, 2)
        end_part(store, parent, first)

        def act(n: int, p: str = parent, done: str = last, again: str = first) -> bool:
            if not n:
                end_part(store, p, done)
                return False
            try:
                store.interventions.retry(again, EVERYONE)
            except IllegalMove:
                return False
            return True

        _, is_again = at_once(act, 2)
        assert_kept(store, parent)
        assert store.tasks.get(parent, EVERYONE).status is (
            S.PROCESSING if is_again else S.COMPLETED
        )


def test_a_cancel_and_the_end_of_the_last_step_at_once_leave_one_of_the_two(store: Store) -> None:
    for _ in range(ROUNDS):
        root = sequence(store, step())
        last = newest_step(store, root)
        assert claim(store, last.id, token="t")

        def act(n: int, r: str = root, i: str = last.id) -> None:
            if n:
                store.endings.complete_step(i, "t", DONE, NO_REPORT, r)
                return
            with suppress(IllegalMove):
                store.interventions.cancel(r, EVERYONE)

        at_once(act, 2)
        assert store.tasks.get(root, EVERYONE).status in {S.COMPLETED, S.CANCELED}
        assert store.tasks.get(last.id, EVERYONE).status is S.COMPLETED
        assert_kept(store, root)


def test_cancel_retry_and_joins_at_once_never_wait_for_each_other(store: Store) -> None:
    inner = FanOutSpec(part_type="part", max_concurrency=3)
    for _ in range(ROUNDS // 2):
        root = sequence(store, step(), step(fan_out=inner), step())
        first = newest_step(store, root)
        claim(store, first.id, token="t")
        store.endings.complete_step(first.id, "t", LISTED, NO_REPORT, root)
        middle = newest_step(store, root).id
        leaves = part_ids(store, middle)
        for leaf in leaves[:2]:
            claim(store, leaf, token=leaf)
            store.outcomes.fail(leaf, leaf, OOPS)
        ways: list[Callable[[], object]] = [
            lambda r=root: store.interventions.cancel(r, EVERYONE),  # type: ignore[misc]
            lambda i=leaves[0]: store.interventions.retry(i, EVERYONE),  # type: ignore[misc]
            lambda m=middle: store.joins.join(m),  # type: ignore[misc]
            lambda r=root: store.joins.join(r),  # type: ignore[misc]
            lambda ids=leaves: store.interventions.cancel_some(ids, None),  # type: ignore[misc]
            lambda i=leaves[1]: store.interventions.retry(i, EVERYONE),  # type: ignore[misc]
            lambda r=root: store.interventions.retry(r, EVERYONE),  # type: ignore[misc]
            lambda m=middle: store.joins.part_ended(m, badly=True),  # type: ignore[misc]
        ]

        def act(n: int, acts: list[Callable[[], object]] = ways) -> None:
            # Refused is fine; a deadlock would be an error of the database.
            with suppress(IllegalMove):
                acts[n]()

        at_once(act, len(ways))
        assert_kept(store, root)
        finish_all(store, root)
        assert store.tasks.get(root, EVERYONE).status in TERMINAL
        assert_kept(store, root)


def finish_all(store: Store, root: str) -> None:
    """Run what is open and let the loop do its part, until all is over."""
    for turn in range(30):
        for parent_id in store.joins.neglected(100):
            store.joins.join(parent_id)
        found = everything(store, root)
        if found[0].status in TERMINAL:
            return
        for one in found:
            token = f"{one.id}-{turn}"
            if one.waits_for is None and claim(store, one.id, token=token):
                store.outcomes.complete(one.id, token, LISTED)


LISTED = type(DONE)([1, 2, 3, 4, 5], "[1,2,3,4,5]")
