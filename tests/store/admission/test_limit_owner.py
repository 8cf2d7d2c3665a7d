"""The rules of a tenant's own and those of the operator: both hold, and neither lifts the other."""

from datetime import timedelta

import pytest

from taskdb.celery.broker_state import BrokerState
from taskdb.client.explanation import explain
from taskdb.errors import InvalidInput
from taskdb.model.limit import Limit
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.store import Store
from tests.cases import each
from tests.store.admission_steps import begin, held_by, released, released_at_last, slots
from tests.store.tasks import DONE, HOUR, at_once, claim, create, publication, queued, row, write

TENANT = ("tenant", "acme")
OTHER = ("tenant", "other")
ACME = Scope(("acme",))
BOTH = Scope(("acme", "beta"))


def test_a_tenant_does_not_lift_the_pause_of_the_operator(store: Store) -> None:
    store.limits.pause(TENANT, EVERYONE, "unpaid", by="ann")
    task_id = create(store)
    assert not store.limits.lift_pause(TENANT, ACME)
    with pytest.raises(InvalidInput, match=r"owner.*out of the scope"):
        store.limits.lift_pause(TENANT, ACME, owner="operator")
    released(store)
    assert held_by(store, task_id) == "paused:tenant:acme"
    (entity,) = store.limits.all(EVERYONE)
    assert (entity.is_paused, entity.owner, entity.reason, entity.set_by) == (
        True,
        "operator",
        "unpaid",
        "ann",
    )


def test_a_tenant_does_not_change_the_limit_of_the_operator(store: Store) -> None:
    store.limits.set(TENANT, Limit(max_running=1), EVERYONE)
    store.limits.set(TENANT, Limit(max_running=100), ACME)
    assert store.limits.clear(TENANT, ACME)
    assert not store.limits.clear(TENANT, ACME)
    store.limits.set(TENANT, Limit(max_running=100), ACME)
    ids = [create(store) for _ in range(3)]
    assert released_at_last(store) == ids[:1]
    assert [held_by(store, one) for one in ids[1:]] == ["running:tenant:acme"] * 2


def test_the_stricter_of_both_limits_holds(store: Store) -> None:
    store.limits.set(TENANT, Limit(max_running=3), EVERYONE)
    store.limits.set(TENANT, Limit(max_running=2), BOTH)
    ids = [create(store) for _ in range(5)]
    assert released_at_last(store) == ids[:2]
    assert {held_by(store, one) for one in ids[2:]} == {"running:own:acme"}
    store.limits.clear(TENANT, ACME)
    assert released_at_last(store) == ids[2:3]


def test_each_pause_holds_until_its_owner_lifts_it(store: Store) -> None:
    store.limits.pause(TENANT, EVERYONE)
    store.limits.pause(TENANT, ACME)
    task_id = create(store)
    assert store.limits.lift_pause(TENANT, EVERYONE)
    assert released_at_last(store) == []
    assert held_by(store, task_id) == "paused:own:acme"
    assert store.limits.lift_pause(TENANT, ACME)
    assert released_at_last(store) == [task_id]


def test_the_pause_of_a_tenant_stops_what_a_worker_would_claim(store: Store) -> None:
    task_id = queued(store).id
    store.limits.pause(TENANT, ACME)
    assert not claim(store, task_id)
    store.runs.hold(task_id)
    assert store.tasks.get(task_id, EVERYONE).status is TaskStatus.CREATED
    assert row(store, task_id)["attempt"] == 0
    released(store)
    assert held_by(store, task_id) == "paused:own:acme"
    assert store.limits.lift_pause(TENANT, EVERYONE, owner="tenant")
    assert released_at_last(store) == [task_id]


def test_the_operator_sees_and_lifts_what_a_tenant_has_set(store: Store) -> None:
    store.limits.pause(TENANT, ACME, "moving", by="bob")
    store.limits.set(TENANT, Limit(max_running=4), ACME, by="bob")
    (entity,) = store.limits.all(EVERYONE)
    assert (entity.target, entity.name, entity.owner) == ("tenant", "acme", "tenant")
    assert (entity.reason, entity.set_by, entity.limit) == ("moving", "bob", Limit(max_running=4))
    assert not store.limits.lift_pause(TENANT, EVERYONE)
    assert store.limits.lift_pause(TENANT, EVERYONE, owner="tenant")
    assert store.limits.clear(TENANT, EVERYONE, owner="tenant")
    assert store.limits.all(EVERYONE) == store.limits.all(ACME) == []


def test_a_tenant_sees_that_the_operator_holds_it_and_not_why(store: Store) -> None:
    store.limits.pause(TENANT, EVERYONE, "unpaid", by="ann")
    store.limits.pause(OTHER, EVERYONE, "unpaid", by="ann")
    store.limits.pause(OTHER, Scope(("other",)), "moving")
    store.limits.pause(("queue", "taskdb"), EVERYONE, "the other side is down")
    store.limits.pause(TENANT, ACME, "our own", by="bob")
    seen = [(one.owner, one.is_paused, one.reason, one.set_by) for one in store.limits.all(ACME)]
    assert sorted(seen, key=str) == [
        ("operator", True, None, None),
        ("tenant", True, "our own", "bob"),
    ]
    assert {one.name for one in store.limits.all(ACME)} == {"acme"}


@each("place", [OTHER, ("queue", "taskdb"), ("type", "sum"), ("type", "acme")], alone=True)
def test_a_tenant_sets_rules_for_itself_only(store: Store, place: tuple[str, str]) -> None:
    for act in (
        lambda: store.limits.pause(place, ACME),
        lambda: store.limits.lift_pause(place, ACME, owner="tenant"),
        lambda: store.limits.set(place, Limit(max_running=1), ACME),
        lambda: store.limits.clear(place, ACME),
    ):
        with pytest.raises(InvalidInput, match="out of the scope"):
            act()
    assert store.limits.all(EVERYONE) == []


def test_only_a_tenant_has_rules_of_its_own(store: Store) -> None:
    with pytest.raises(InvalidInput, match="owner"):
        store.limits.lift_pause(("queue", "a"), EVERYONE, owner="tenant")


def test_a_rule_of_a_tenant_holds_nothing_of_another_one(store: Store) -> None:
    store.limits.pause(TENANT, ACME)
    (created,) = [create(store, tenant="other")]
    assert held_by(store, created) is None


def test_a_tenant_that_waits_for_its_own_limit_keeps_no_place_of_others(store: Store) -> None:
    store.limits.set(("queue", "taskdb"), Limit(max_running=1), EVERYONE)
    store.limits.set(TENANT, Limit(max_running=1), ACME)
    first = create(store, queue="elsewhere")
    assert released_at_last(store) == [first]
    begin(store, first)
    waits = create(store)
    assert released_at_last(store) == []
    assert held_by(store, waits) == "running:own:acme"
    other = create(store, tenant="other")
    assert released_at_last(store) == [other]
    begin(store, other, "token-2")
    store.outcomes.complete(other, "token-2", DONE)
    store.outcomes.complete(first, "token-1", DONE)
    assert released_at_last(store) == [waits]
    assert slots(store) == [("running:own:acme", 1), ("running:queue:taskdb", 1)]


def test_a_window_of_a_tenant_keeps_no_place_of_others(store: Store) -> None:
    store.limits.set(("queue", "taskdb"), Limit(max_running=1), EVERYONE)
    long = timedelta(days=300)
    store.limits.set(TENANT, Limit(max_starts=1, per=long), ACME)
    first = create(store, queue="elsewhere")
    assert released_at_last(store) == [first]
    begin(store, first)
    store.outcomes.complete(first, "token-1", DONE)
    create(store)
    assert released_at_last(store) == []
    other = create(store, tenant="other")
    assert released_at_last(store) == [other]


def test_a_run_that_ends_releases_the_next_of_the_own_limit(store: Store) -> None:
    store.limits.set(TENANT, Limit(max_running=1), ACME)
    ids = [create(store) for _ in range(2)]
    assert released_at_last(store) == ids[:1]
    store.publications.mark_queued([publication(store, ids[0])])
    claimed = claim(store, ids[0])
    assert claimed
    store.outcomes.complete(ids[0], "token-1", DONE)
    assert released(store, keys=["running:own:acme"]) == ids[1:]


def test_concurrent_changes_of_both_owners_lose_no_rule(store: Store) -> None:
    acts = (
        lambda: store.limits.pause(TENANT, EVERYONE, "unpaid"),
        lambda: store.limits.lift_pause(TENANT, ACME),
        lambda: store.limits.set(TENANT, Limit(max_running=2), ACME),
        lambda: store.limits.clear(TENANT, EVERYONE),
    )
    for _ in range(5):
        at_once(lambda number: acts[number](), len(acts))
        found = {one.owner: one for one in store.limits.all(EVERYONE)}
        assert found["operator"].is_paused
        assert found["tenant"].limit == Limit(max_running=2)
        store.limits.lift_pause(TENANT, EVERYONE)
        store.limits.clear(TENANT, ACME)
        assert store.limits.all(EVERYONE) == []


def test_the_statements_of_the_release_before_find_their_rows(store: Store) -> None:
    """An older process sets, lifts and drops the operator's rule beside the tenant's."""
    store.limits.pause(TENANT, ACME, "our own")
    write(
        store,
        "INSERT INTO taskdb_limit (target, name, is_paused, reason, set_by, set_at)"
        " VALUES ('tenant', 'acme', true, 'unpaid', 'ann', CURRENT_TIMESTAMP)"
        " ON CONFLICT (target, name) DO UPDATE SET is_paused = true, reason = excluded.reason",
    )
    assert {one.owner for one in store.limits.all(EVERYONE)} == {"operator", "tenant"}
    write(store, "DELETE FROM taskdb_limit WHERE target = 'tenant' AND name = 'acme'")
    (entity,) = store.limits.all(EVERYONE)
    assert (entity.owner, entity.reason) == ("tenant", "our own")


def test_a_task_that_its_own_tenant_has_paused_says_so_to_the_tenant(store: Store) -> None:
    task_id = create(store)
    store.limits.pause(("tenant", "acme"), ACME, "stock-taking", "ada")
    write(store, "UPDATE taskdb_task SET held_by = 'paused:own:acme' WHERE id = :id", id=task_id)
    standing = store.situations.get(task_id, ACME, lease=HOUR)
    told = explain(standing, lambda _: BrokerState(), lease=HOUR)
    assert "tenant 'acme' (its own rule) was paused by ada" in told.sentence
    assert "(stock-taking)" in told.sentence
    assert told.advice == "taskdb resume --own --tenant acme"
