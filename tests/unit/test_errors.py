"""Errors: one tree, codes for programs, messages for people."""

import inspect
import pickle
from datetime import timedelta

import pytest

from taskdb import errors
from taskdb.errors import (
    Fault,
    IllegalMove,
    InvalidInput,
    PayloadMissing,
    PayloadTooLarge,
    TaskAlreadyRegistered,
    TaskDBError,
    TaskModuleError,
    TaskNotFound,
    UnknownTaskType,
    WaitTimeout,
    did_you_mean,
)

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, TaskDBError)
]
FULL = [
    InvalidInput("the submit request", [Fault("tags", "give a list"), Fault("", "and more")]),
    PayloadTooLarge("the input", 100, 10),
    UnknownTaskType("customers.improt", ["customers.import", "customers.export"]),
    TaskNotFound("some-id"),
    TaskAlreadyRegistered("a", "one.py", "two.py"),
    IllegalMove("retry", "QUEUED", ["FAILED"], "some-id"),
    WaitTimeout("some-id", "QUEUED", 1.5),
    TaskModuleError("a.tasks", "no such module"),
    PayloadMissing("2026-01-01/x.json", is_all_gone=True),
    errors.ResultNotKept("some-id"),
    errors.TaskIsPruned("retry", "some-id", "root-id", "FAILED"),
    errors.TaskIsAdopted("cancel", "some-id", "a.type", "STARTED", "celery-id"),
    errors.CallbackRefused(),
    errors.DatabaseCollision("another transaction conflicts"),
    errors.NotEncodable("a set is not JSON"),
    errors.DeliveryFailed("503", is_final=True, retry_after=timedelta(seconds=3)),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_an_error_crosses_a_process_with_its_data(error: TaskDBError) -> None:
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(twin) is type(error)
    assert (str(twin), vars(twin)) == (str(error), vars(error))


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_has_the_name_that_it_is_imported_by(kind: type[TaskDBError]) -> None:
    assert kind.__module__ == "taskdb.errors"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_stands_in_the_tree_of_its_module(kind: type[TaskDBError]) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__
    assert kind.__doc__


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in CLASSES]
    assert sorted(codes) == sorted(set(codes))


def test_errors_can_be_caught_by_their_everyday_names() -> None:
    assert issubclass(TaskNotFound, LookupError)
    assert issubclass(InvalidInput, ValueError)
    assert issubclass(WaitTimeout, TimeoutError)


def test_a_near_name_is_suggested_and_a_far_one_is_not() -> None:
    assert "customers.import" in str(FULL[2])
    assert did_you_mean("custmers.import", ["customers.import"]).endswith("'customers.import'?")
    assert did_you_mean("xyz", ["customers.import"]) == ""
