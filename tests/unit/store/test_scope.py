"""Promise 7 in the store: every verb has a required scope, or stands in a list with its reason."""

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

import pytest

import taskdb.store
from taskdb.errors import InvalidInput
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.outgoing.alarm.alarm import Alarms
from taskdb.store.store import Store
from taskdb.store.task.part import StorePart

PLATFORM: Mapping[str, frozenset[str]] = {
    # Verbs of Store that act for every tenant: why, and which.
    "a worker names a run by its task and its claim token, which no caller has": frozenset({
        "await_callback", "cancel_own", "cancel_wanted", "cancel_wanted_among", "claim",
        "claim_chunk", "complete", "complete_many", "complete_step", "crash", "crash_chunk",
        "error", "expect_callback", "fail", "fan_out_own", "finish", "halt", "hand_back",
        "hand_back_chunk", "progress", "revoke", "snooze",
    }),
    "a worker acts on the message that it was given, or on its own boot": frozenset({
        "expire", "hand_back_unclaimed", "hand_back_worker", "hold", "is_called_back", "remark",
        "stray",
    }),
    "what follows the end of a task is decided by its rows": frozenset({
        "anew", "decide", "follow", "join", "parent_of_chunk", "part_ended", "settle",
        "spawn_again", "status_after", "stop_under",
    }),
    "the publisher names rows that a scoped verb has returned": frozenset({
        "family_page", "mark_queued", "publications", "refuse", "release",
    }),
    "a loop of a beat takes what is due, of every tenant": frozenset({
        "create_partitions", "expire_callbacks", "expire_due", "fail_events", "fire_due",
        "lease_due", "lease_subscriptions", "lose", "neglected", "neglected_page",
        "notifications", "pass_events", "release_gated", "rescue", "seconds_to_due",
        "send_due", "someone_waits", "stop_overdue", "sweep_slots",
    }),
    "an adopted app reports what it has seen": frozenset({"adopt_past", "see"}),
    "code declares: the operator's, and the client refuses a scoped caller": frozenset({
        "declare_limits", "refused_schedules", "sync_schedules",
    }),
    "the doctor is the operator's": frozenset({"drifts", "payload_references"}),
    "it concerns no tenant": frozenset({
        "close", "closing", "move_one", "moves_one", "now",
    }),
}  # fmt: skip
ALARM_PLATFORM = {
    "declare": "code declares: the operator's",
    "policies": "what code declares is the same for every tenant",
    "prune": "a loop of a beat",
}
LOOPS = {
    # Classes that work on a database for every tenant, as a whole.
    "Aside": "what a loop sets aside",
    "Beats": "boots of beats, which are of no tenant",
    "Census": "counts for the metrics of a beat",
    "Delivering": "a beat delivers alarms",
    "Folding": "a beat raises alarms",
    "FreeSpace": "a beat gives the space of files back",
    "Partitioning": "a beat makes partitions",
    "Pruning": "a beat prunes",
    "ServerDrifts": "the doctor looks at the database server",
    "Suspects": "a beat looks for lost messages",
    "Sweeping": "a beat sweeps",
    "Tally": "counts of events for the metrics of a beat",
    "Vacuum": "the doctor looks at dead rows of the tables",
    "Watching": "a beat watches backlogs",
    "Workers": "boots of workers, which are of no tenant",
}


def verbs(kind: type) -> dict[str, Callable[..., object]]:
    return {
        name: member
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def store_classes() -> Iterator[type]:
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


def unscoped(kind: type) -> set[str]:
    return {
        name
        for name, verb in verbs(kind).items()
        if "scope" not in inspect.signature(verb).parameters
    }


def test_every_verb_of_the_store_has_a_scope_or_a_reason_to_act_for_everyone() -> None:
    named = [name for names in PLATFORM.values() for name in names]
    assert sorted(named) == sorted(unscoped(Store))


def test_every_verb_of_alarms_has_a_scope_or_a_reason_to_act_for_everyone() -> None:
    assert set(ALARM_PLATFORM) == unscoped(Alarms)


def test_every_other_class_over_a_database_works_for_everyone_for_a_reason() -> None:
    assert {kind.__name__ for kind in store_classes()} == {*LOOPS, "Alarms"}


@pytest.mark.parametrize("kind", [*StorePart.__subclasses__(), Store, Alarms])
def test_no_scope_has_a_default(kind: type) -> None:
    for name, verb in verbs(kind).items():
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
