"""Promise 7 in the store: every verb has a required scope, or stands in a list with its reason."""

import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

import pytest

import taskdb.store
from taskdb.errors import InvalidInput
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep

PLATFORM: Mapping[str, frozenset[str]] = {
    # Verbs that act for every tenant: why, and which. `part.*` is every verb of a part.
    "a worker names a run by its task and its claim token, which no caller has": frozenset({
        "callbacks.expect", "callbacks.is_called_back", "callbacks.wait", "endings.complete_step",
        "endings.finish", "fan_outs.split", "outcomes.*", "runs.*",
    }),
    "a worker acts on the message that it was given, or on its own boot": frozenset({
        "endings.hand_back_worker", "take_backs.*", "workers.*",
    }),
    "what follows the end of a task is decided by its rows": frozenset({"joins.*", "units.*"}),
    "the publisher names rows that a scoped verb has returned": frozenset({"publications.*"}),
    "a bulk action has chosen the rows within its scope": frozenset({
        "interventions.cancel_some", "interventions.retry_alone",
    }),
    "a loop of a beat works on what is due, of every tenant": frozenset({
        "admission.*", "alarms.prune", "aside.*", "beats.*", "callbacks.expire", "conditions.*",
        "alarm_messages.*", "detection.*", "firings.fire_due", "firings.seconds_to_due",
        "firings.send_due", "free_space.*", "leftovers.*", "lost_messages.*", "notifications.*",
        "partitions.*", "prune_rounds.*",
    }),
    "counts for the metrics of a beat": frozenset({"counts.*", "statistics.*"}),
    "an adopted app reports what it has seen": frozenset({"adopted.*"}),
    "code declares: the operator's, and the client refuses a scoped caller": frozenset({
        "alarms.declare", "alarms.policies", "limits.declare", "schedules.refused",
        "schedules.sync",
    }),
    "the doctor is the operator's": frozenset({"doctor.*", "vacuum.*"}),
    "it concerns no tenant": frozenset({"payloads.*", "schedules.now"}),
}  # fmt: skip
INNER = {
    # Classes over a database that parts are made of.
    "ServerDrifts": "the doctor's look at the database server",
    "TaskTable": "the statements of every part",
}


def parts() -> dict[str, type]:
    """Every part of a store: those that it has, and those that it makes with other settings."""
    store = Store("sqlite://")
    found = {name: type(one) for name, one in {**vars(store), **vars(StoreUpkeep(store))}.items()}
    for name, method in inspect.getmembers(StoreUpkeep, inspect.isfunction):
        made = typing.get_type_hints(method).get("return")
        if inspect.isclass(made):
            found[name] = made
    return {
        name: kind
        for name, kind in found.items()
        if kind.__module__.startswith("taskdb.store.") and name[0] != "_" and name != "database"
    }


def verbs(kind: type) -> dict[str, Callable[..., object]]:
    return {
        name: member
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def unscoped() -> Iterator[str]:
    for part, kind in parts().items():
        for name, verb in verbs(kind).items():
            if "scope" not in inspect.signature(verb).parameters:
                yield f"{part}.{name}"


def classes_over_a_database() -> Iterator[type]:
    """Every class that can be made over a database alone; those in a transaction are inside."""
    for found in pkgutil.walk_packages(taskdb.store.__path__, "taskdb.store."):
        if ".migrations" in found.name:
            continue
        for name, kind in vars(import_module(found.name)).items():
            if not inspect.isclass(kind) or kind.__module__ != found.name or name.startswith("_"):
                continue
            given = {one.lstrip("_") for one in inspect.signature(kind.__init__).parameters}
            if "database" in given and not given & {"connection", "session"}:
                yield kind


def test_every_verb_of_the_store_has_a_scope_or_a_reason_to_act_for_everyone() -> None:
    named = [name for names in PLATFORM.values() for name in names]
    whole = {name.removesuffix("*") for name in named if name.endswith(".*")}
    found = list(unscoped())
    one_by_one = [name for name in found if f"{name.partition('.')[0]}." not in whole]
    assert sorted(one_by_one) == sorted(name for name in named if not name.endswith(".*"))
    assert whole <= {f"{name.partition('.')[0]}." for name in found}


def test_a_part_that_acts_for_everyone_has_no_verb_with_a_scope() -> None:
    whole = {name[:-2] for names in PLATFORM.values() for name in names if name.endswith(".*")}
    for part in whole:
        for name, verb in verbs(parts()[part]).items():
            assert "scope" not in inspect.signature(verb).parameters, f"{part}.{name}"


def test_every_class_over_a_database_is_a_part_of_the_store() -> None:
    known = {kind.__name__ for kind in parts().values()}
    assert {kind.__name__ for kind in classes_over_a_database()} - known == set(INNER)


def test_no_part_of_the_store_inherits_from_another() -> None:
    for kind in parts().values():
        assert kind.__mro__[1:] == (object,), kind


@pytest.mark.parametrize("part", parts())
def test_no_scope_has_a_default(part: str) -> None:
    for name, verb in verbs(parts()[part]).items():
        scope = inspect.signature(verb).parameters.get("scope")
        assert scope is None or scope.default is inspect.Parameter.empty, name


def test_a_scope_names_no_tenant_but_the_refused_one() -> None:
    mine = Scope(("mine", "ours"))
    mine.require("mine")
    EVERYONE.require(None)
    for tenant in ("theirs", "", None):
        with pytest.raises(InvalidInput, match="out of the scope") as refused:
            mine.require(tenant)
        assert "ours" not in str(refused.value)
