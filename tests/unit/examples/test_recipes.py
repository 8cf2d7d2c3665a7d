"""The code of the guides, run: examples/recipes, on a database in memory."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from copy import copy
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from taskdb.testing import Rehearsal, drain, run_task, submitted
from taskdb.types.registry import default_registry

RECIPES = Path(__file__).parents[3] / "examples" / "recipes"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the recipes; its task types are taken back."""
    before = {name: copy(value) for name, value in vars(default_registry).items()}
    default_registry.clear()

    def imported(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    yield imported
    vars(default_registry).update(before)


@pytest.mark.parametrize(
    ("bank", "status", "attempts_used"),
    [
        ("paid", "COMPLETED", 1),
        ("closed", "SCHEDULED", 0),
        ("no connection", "ERRORED", 1),
        ("no such card", "FAILED", 1),
        ("order withdrawn", "CANCELED", 1),
        ("suspicious", "HALTED", 1),
        ("declined", "FAILED", 1),
    ],
)
def test_a_run_ends_as_the_guide_says(
    recipe: Any, rehearsal: Rehearsal, bank: str, status: str, attempts_used: int
) -> None:
    recipe("outcomes")

    ended = run_task("payment.charge", {"bank": bank})

    assert (ended.status, ended.attempts_used) == (status, attempts_used)


def test_an_error_is_retried_until_the_third_attempt(recipe: Any, rehearsal: Rehearsal) -> None:
    recipe("outcomes")

    task = run_task("payment.charge", {"bank": "no connection"})
    drain(retries=True)

    assert (task.refresh().status, task.refresh().attempt) == ("FAILED", 3)


def test_a_plain_celery_task_and_its_task_type_do_the_same(
    recipe: Any, rehearsal: Rehearsal
) -> None:
    plain = recipe("before_celery").send_receipt.apply((7,)).get()
    recipe("after_celery").place_order(7)
    rehearsal.clock.tick(timedelta(minutes=1))

    assert [task.result for task in drain().tasks] == [plain]
    assert submitted("receipt.send")[0].queue == "mail"


def test_steps_and_a_lock_run_in_order(recipe: Any, rehearsal: Rehearsal) -> None:
    recipe("after_queue").publish("2031-05")
    drain()

    sequence, *_ = submitted("report.publish")
    assert (sequence.status, sequence.result) == ("COMPLETED", "mailed reports/2031-05.pdf")
    rehearsal.clock.tick(timedelta(hours=1))
    drain()
    assert {task.status for task in submitted("report.render")} == {"COMPLETED"}
