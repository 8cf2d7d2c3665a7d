"""Sequences: what one step returns is what the next gets, and no outcome is ever lost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taskdb.errors import IllegalMove, SequenceAlreadyCompleted
from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskRole
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.outcome import NO_REPORT
from taskdb.model.sequence import SequenceSpec
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.payload.payload import FolderPayloadStore, Payload, Payloads
from taskdb.store.store import Store
from tests.store.tasks import DONE, OOPS, claim
from tests.store.trees import (
    TOLD,
    end,
    end_all,
    handler,
    newest_step,
    part_ids,
    sequence,
    statuses,
    step,
    sub_tasks,
)

S = TaskStatus
FANNED = FanOutSpec(part_type="part")


def test_what_one_returns_is_what_the_next_gets(store: Store) -> None:
    root = sequence(store, step("a"), step("b"), step("c"))
    assert newest_step(store, root).input == {"n": 1}
    end(store, newest_step(store, root).id, [1])
    assert newest_step(store, root).input == [1]
    end(store, newest_step(store, root).id, None)
    assert newest_step(store, root).input is None
    end(store, newest_step(store, root).id, "last")
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(root, EVERYONE).result) == (
        S.COMPLETED,
        "last",
    )
    assert [one.name for one in sub_tasks(store, root)] == ["a", "b", "c"]


def test_a_step_and_the_next_one_are_in_one_transaction(store: Store) -> None:
    root = sequence(store, step(), step())
    first = newest_step(store, root)
    assert claim(store, first.id)
    said = store.endings.complete_step(first.id, "token-1", DONE, NO_REPORT, root)
    again = store.endings.complete_step(first.id, "token-1", DONE, NO_REPORT, root)
    late = store.endings.complete_step(first.id, "zombie", DONE, NO_REPORT, root)
    assert (said, again, late) == (S.COMPLETED, S.COMPLETED, None)
    assert statuses(store, root) == [S.COMPLETED, S.CREATED]


def test_the_same_type_may_stand_in_it_twice_and_a_step_may_be_a_sequence(store: Store) -> None:
    inner = SequenceSpec(name="inner", steps=(step(), step()), handlers={})
    root = sequence(store, step(sequence=inner), step())
    nested = newest_step(store, root)
    assert nested.kind == "SEQUENCE"
    end(store, newest_step(store, nested.id).id, 1)
    end(store, newest_step(store, nested.id).id, 2)
    # The end of the inner one and the next step of the outer are one transaction.
    assert newest_step(store, root).input == 2
    end(store, newest_step(store, root).id, 3)
    assert store.tasks.get(root, EVERYONE).result == 3


def test_a_step_may_be_a_fan_out_over_the_list_before_it(store: Store) -> None:
    root = sequence(store, step(), step(fan_out=FANNED), step())
    end(store, newest_step(store, root).id, [10, 20])
    fanned = newest_step(store, root)
    assert [one.input for one in sub_tasks(store, fanned.id)] == [10, 20]
    end_all(store, part_ids(store, fanned.id))
    assert newest_step(store, root).input["succeeded"] == 2


def test_a_fan_out_over_an_empty_list_is_passed_at_once(store: Store) -> None:
    root = sequence(store, step(), step(fan_out=FANNED), step(fan_out=FANNED))
    end(store, newest_step(store, root).id, [])
    # The counts of the first are no list.
    assert store.tasks.get(root, EVERYONE).status is S.FAILED


def test_what_is_no_list_fails_with_a_clear_word_and_again_when_retried(store: Store) -> None:
    root = sequence(store, step(), step(fan_out=FANNED))
    end(store, newest_step(store, root).id, {"a": 1})
    for _ in range(2):
        found = store.tasks.get(root, EVERYONE)
        assert found.status is S.FAILED
        assert found.error is not None and found.error.type == "NotAList"
        assert "a fan-out needs a list, and the step before returned dict" in found.error.message
        store.interventions.retry(root, EVERYONE)
    assert statuses(store, root)[0] is S.COMPLETED


# --- handlers -------------------------------------------------------------------------------------


def test_on_start_runs_first_and_its_word_is_what_the_first_step_gets(store: Store) -> None:
    for said, given in ((5, 5), (None, {"n": 1})):
        root = sequence(store, step(), on_start=TOLD)
        assert sub_tasks(store, root, TaskRole.STEP) == []
        started = handler(store, root, "on_start")
        assert started.input == {"n": 1}
        end(store, started.id, said)
        assert newest_step(store, root).input == given


@pytest.mark.parametrize("well", [True, False])
def test_on_success_is_told_the_result_and_changes_nothing(store: Store, well: bool) -> None:  # noqa: FBT001 - a case
    root = sequence(store, step(), on_success=TOLD)
    end(store, newest_step(store, root).id, 4)
    told = handler(store, root, "on_success")
    assert (store.tasks.get(root, EVERYONE).status, told.input) == (S.FINISHED, 4)
    end(store, told.id, "unheard", well=well)
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(root, EVERYONE).result) == (
        S.COMPLETED,
        4,
    )


def test_on_error_is_told_what_happened_and_may_replace_the_result(store: Store) -> None:
    root = sequence(store, step("a"), step("b"), on_error=TOLD)
    end(store, newest_step(store, root).id, well=False)
    told = handler(store, root, "on_error")
    assert told.input == {"error": OOPS.as_json(), "step": "a", "payload": {"n": 1}}
    end(store, told.id, "instead")
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(root, EVERYONE).result) == (
        S.COMPLETED,
        "instead",
    )
    assert store.tasks.get(root, EVERYONE).error is None


@pytest.mark.parametrize("well", [True, False])
def test_on_error_that_replaces_nothing_keeps_the_error_of_the_step(
    store: Store,
    well: bool,  # noqa: FBT001 - a case
) -> None:
    root = sequence(store, step("a"), on_error=TOLD)
    end(store, newest_step(store, root).id, well=False)
    told = handler(store, root, "on_error").id
    for _ in range(2):
        end(store, told, None, well=well)
        found = store.tasks.get(root, EVERYONE)
        assert found.status is S.FAILED
        assert found.error is not None and found.error.message == "step 'a' failed: oops"
        if not well:
            # Also when it is told again.
            store.interventions.retry(told, EVERYONE)
            assert store.tasks.get(root, EVERYONE).waits_for == "on_error"
            well = True
        else:
            return


def test_on_start_that_fails_is_a_step_that_fails(store: Store) -> None:
    root = sequence(store, step(), on_start=TOLD, on_error=TOLD)
    end(store, handler(store, root, "on_start").id, well=False)
    assert handler(store, root, "on_error").input["step"] == "on_start"
    end(store, handler(store, root, "on_error").id, well=False)
    store.interventions.retry(root, EVERYONE)
    end(store, handler(store, root, "on_start").id)
    end(store, newest_step(store, root).id, 1)
    assert store.tasks.get(root, EVERYONE).status is S.COMPLETED


# --- again ----------------------------------------------------------------------------------------


def test_a_retry_goes_on_at_the_failed_step(store: Store) -> None:
    root = sequence(store, step("a"), step("b"))
    first = newest_step(store, root).id
    end(store, first, 1)
    second = newest_step(store, root).id
    end(store, second, well=False)
    assert store.tasks.get(root, EVERYONE).status is S.FAILED
    assert [one.id for one in store.interventions.retry(root, EVERYONE)] == [second]
    end(store, second, 2)
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(first, EVERYONE).attempt) == (
        S.COMPLETED,
        1,
    )
    with pytest.raises(SequenceAlreadyCompleted):
        store.interventions.retry(root, EVERYONE)


def test_force_starts_anew_behind_what_was(store: Store) -> None:
    root = sequence(store, step("a"), step("b"), on_start=TOLD)
    end(store, handler(store, root, "on_start").id, 1)
    end(store, newest_step(store, root).id, 2)
    end(store, newest_step(store, root).id, 3)
    store.interventions.retry(root, EVERYONE, force=True)
    end(store, handler(store, root, "on_start").id, 10)
    assert newest_step(store, root).input == 10
    assert newest_step(store, root).position == 2
    end(store, newest_step(store, root).id, 20)
    end(store, newest_step(store, root).id, 30)
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(root, EVERYONE).result) == (
        S.COMPLETED,
        30,
    )


def test_force_after_a_failed_start_starts_again(store: Store) -> None:
    root = sequence(store, step(), on_start=TOLD)
    end(store, handler(store, root, "on_start").id, well=False)
    store.interventions.retry(root, EVERYONE, force=True)
    assert store.tasks.get(root, EVERYONE).status is S.PROCESSING
    end(store, handler(store, root, "on_start").id)
    assert newest_step(store, root).input == {"n": 1}


def test_only_the_newest_step_is_retried_by_hand(store: Store) -> None:
    root = sequence(store, step("a"), step("b"), on_error=TOLD)
    first = newest_step(store, root).id
    end(store, first, 1)
    for force in (False, True):
        with pytest.raises(IllegalMove):
            store.interventions.retry(first, EVERYONE, force=force)
    second = newest_step(store, root).id
    end(store, second, well=False)
    # What is told of the failure would end the sequence while the step runs again.
    with pytest.raises(IllegalMove, match="waiting for on_error"):
        store.interventions.retry(second, EVERYONE)
    end(store, handler(store, root, "on_error").id)
    store.interventions.retry(second, EVERYONE)
    end(store, second, 2)
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(root, EVERYONE).result) == (
        S.COMPLETED,
        2,
    )


def test_a_part_of_a_step_reopens_step_and_sequence(store: Store) -> None:
    root = sequence(store, step(), step(fan_out=FANNED))
    end(store, newest_step(store, root).id, [1, 2])
    fanned = newest_step(store, root).id
    bad, good = part_ids(store, fanned)
    end(store, good)
    end(store, bad, well=False)
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(fanned, EVERYONE).status) == (
        S.FAILED,
        S.FAILED,
    )
    store.interventions.retry(bad, EVERYONE)
    end(store, bad)
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(fanned, EVERYONE).status) == (
        S.COMPLETED,
        S.COMPLETED,
    )


# --- stopping -------------------------------------------------------------------------------------


def test_a_cancel_ends_it_after_the_running_step(store: Store) -> None:
    root = sequence(store, step(), step())
    first = newest_step(store, root).id
    assert claim(store, first)
    store.interventions.cancel(root, EVERYONE)
    assert store.runs.is_cancel_wanted(first, "token-1")
    assert store.tasks.get(root, EVERYONE).status is S.PROCESSING
    store.endings.complete_step(first, "token-1", DONE, NO_REPORT, root)
    assert store.tasks.get(root, EVERYONE).status is S.CANCELED
    assert statuses(store, root) == [S.COMPLETED]
    store.interventions.retry(root, EVERYONE)
    assert statuses(store, root) == [S.COMPLETED, S.CREATED]


def test_time_is_up_at_any_depth(store_url: str) -> None:
    clock = FixedClock(datetime(2030, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        inner = SequenceSpec(name="inner", steps=(step(),), handlers={})
        root = sequence(store, step(sequence=inner), timeout=60.0, on_error=TOLD)
        nested = newest_step(store, root).id
        clock.advance(timedelta(minutes=1))
        assert store.joins.stop_overdue(10) == [root]
        assert (
            store.tasks.get(nested, EVERYONE).status,
            store.tasks.get(root, EVERYONE).status,
        ) == (
            S.CANCELED,
            S.FAILED,
        )
        error = store.tasks.get(root, EVERYONE).error
        assert error is not None and error.type == "TimedOut"


def test_a_lost_join_is_made_up_for(store: Store) -> None:
    root = sequence(store, step(), step())
    first = newest_step(store, root).id
    assert claim(store, first)
    store.outcomes.complete(first, "token-1", DONE)
    assert store.joins.neglected(10) == [root]
    store.joins.join(root)
    assert statuses(store, root) == [S.COMPLETED, S.CREATED]
    assert store.joins.neglected(10) == []


# --- large payloads -------------------------------------------------------------------------------


@pytest.fixture
def folder_store(store_url: str, tmp_path: Path) -> Iterator[Store]:
    """A store whose payloads of more than 100 bytes are files."""
    payloads = Payloads(FolderPayloadStore(tmp_path / "payloads"), 100, 10_000)
    with Store(store_url, payloads=payloads).closing() as opened:
        yield opened


def test_a_result_that_is_gone_fails_the_next_step_and_not_the_last(folder_store: Store) -> None:
    store = folder_store
    root = sequence(store, step(), step(fan_out=FANNED), on_error=TOLD)
    first = newest_step(store, root).id
    assert claim(store, first)
    gone = Payload(None, None, "2030-01-01/gone.json")
    assert store.endings.complete_step(first, "token-1", gone, NO_REPORT, root) is S.COMPLETED
    assert statuses(store, root, TaskRole.STEP) == [S.COMPLETED, S.FAILED]
    told = handler(store, root, "on_error")
    said = store.payloads.unpack(told.inline_input, told.input_ref)
    assert said["error"]["type"] == "PayloadMissing"


def test_a_retry_makes_the_parts_that_could_not_be_made(
    folder_store: Store, tmp_path: Path
) -> None:
    store = folder_store
    root = sequence(store, step(), step(fan_out=FANNED))
    items = store.payloads.pack([{"n": "x" * 60}, {"n": "y" * 200}], "items", "the result")
    assert items.reference is not None
    (file,) = (tmp_path / "payloads").rglob("items*")
    away = file.rename(tmp_path / "away")
    first = newest_step(store, root).id
    assert claim(store, first)
    assert store.endings.complete_step(first, "token-1", items, NO_REPORT, root) is S.COMPLETED
    assert store.tasks.get(root, EVERYONE).status is S.FAILED
    assert sub_tasks(store, newest_step(store, root).id) == []

    away.rename(file)
    store.interventions.retry(root, EVERYONE)
    fanned = newest_step(store, root)
    assert (fanned.status, fanned.error) == (S.PROCESSING, None)
    assert [
        len(store.payloads.unpack(one.inline_input, one.input_ref)["n"])
        for one in sub_tasks(store, fanned.id)
    ] == [60, 200]
    end_all(store, part_ids(store, fanned.id))
    assert store.tasks.get(root, EVERYONE).status is S.COMPLETED


def test_parts_of_which_one_cannot_be_made_are_none(folder_store: Store) -> None:
    store = folder_store
    root = sequence(store, step(), step(fan_out=FANNED))
    too_large = [{"n": 1}] * 1_500 + [{"n": "x" * 20_000}]
    end(store, newest_step(store, root).id, too_large)
    found = store.tasks.get(root, EVERYONE)
    assert found.error is not None and found.error.type == "PayloadTooLarge"
    assert sub_tasks(store, newest_step(store, root).id) == []


def test_on_error_is_told_without_a_payload_that_is_gone(folder_store: Store) -> None:
    store = folder_store
    root = sequence(store, step(), on_error=TOLD)
    store.database.query(
        "UPDATE taskdb_task SET input = NULL, input_ref = 'gone.json' WHERE id = :id RETURNING 1",
        {"id": root},
    )
    end(store, newest_step(store, root).id, well=False)
    told = handler(store, root, "on_error")
    assert store.payloads.unpack(told.inline_input, told.input_ref)["payload"] is None
    end(store, told.id, 1)
    assert store.tasks.get(root, EVERYONE).status is S.COMPLETED
