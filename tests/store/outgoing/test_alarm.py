"""Alarms as rows: counted once, told once a window, never nowhere."""

import json
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pytest
from sqlalchemy import text

from taskdb.errors import AlarmNotFound, InvalidInput
from taskdb.model.alarm.alarm import Alarm, AlarmSource, AlarmState, Severity
from taskdb.model.alarm.route import Route
from taskdb.model.entity import TaskError, TaskKind
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.engine.migrations.migrate import empty
from taskdb.store.outgoing.alarm.alarm import MOST_ROUTES
from taskdb.store.outgoing.delivery import LeasedMessage
from taskdb.store.outgoing.transaction import QUERIES
from taskdb.store.store import Store
from taskdb.store.task.statements import queries_of
from tests.cases import each
from tests.store.alarms import (
    TRACEBACK,
    alarms,
    fail,
    fold,
    messages,
    only,
    over,
    route,
)
from tests.store.deliveries import alarm_messages, refused, sent, take
from tests.store.tasks import at_once, create, draft, running, write


def test_failures_of_one_cause_are_one_alarm_and_one_message_a_window(store: Store) -> None:
    first = fail(store)
    assert fold(store).messages == 1
    assert messages(store) == [("ops", "opened", 1, 1)]
    runs = [fail(store, message=f"oops {number}") for number in range(12)]
    assert (fold(store).messages, fold(store).events) == (0, 0)

    one = only(store)
    assert (one.count, one.reported, one.state) == (13, 1, AlarmState.OPEN)
    assert (one.source, one.type, one.error_type) == (AlarmSource.FAILED, "sum", "ValueError")
    assert (one.place, one.severity, one.tenant) == ("shop/card.py in charge", Severity.ERROR, None)
    assert one.task_ids == tuple(run.id for run in runs[-10:])
    assert (one.message, one.sample["taskId"]) == ("oops 11", runs[-1].id)
    assert one.sample["pk"] == store.tasks.get(runs[-1].id, EVERYONE).pk
    assert one.first_seen_at == store.tasks.history(first.id, EVERYONE)[-1].at
    assert one.last_seen_at == store.tasks.history(runs[-1].id, EVERYONE)[-1].at

    over(store)
    assert fold(store).messages == 1
    assert messages(store)[1:] == [("ops", "again", 12, 13)]
    over(store)
    assert fold(store).messages == 0


def test_causes_differ_by_type_error_place_and_by_tenant_where_that_is_wanted(store: Store) -> None:
    declared = {"own": Alarm(group_by_tenant=True, severity="critical")}
    store.alarms.declare(declared)
    for tenant in ("a", "b"):
        fail(store, tenant=tenant)
        fail(store, tenant=tenant, kind="KeyError")
        fail(store, tenant=tenant, type="own")
    run = running(store)
    store.outcomes.fail(run.id, run.token, TaskError("ValueError", "elsewhere", "", 1))
    fold(store)

    told = {(one.type, one.error_type, one.place, one.tenant): one.count for one in alarms(store)}
    place = "shop/card.py in charge"
    assert told == {
        ("sum", "ValueError", place, None): 2,
        ("sum", "KeyError", place, None): 2,
        ("own", "ValueError", place, "a"): 1,
        ("own", "ValueError", place, "b"): 1,
        ("sum", "ValueError", "", None): 1,
    }
    assert {one.severity for one in alarms(store) if one.tenant} == {Severity.CRITICAL}


def test_what_is_no_failure_for_good_raises_nothing(store: Store) -> None:
    run = running(store)
    store.outcomes.error(run.id, run.token, TaskError("ValueError", "again", "", 1), timedelta(0))
    canceled = running(store)
    store.outcomes.cancel(canceled.id, canceled.token, TaskError("Cancel", "no", "", 1))
    failed = fail(store)
    fold(store)
    store.runs.remark(failed.id, {"reason": "only a remark on what is FAILED"})

    assert fold(store).events == 0
    assert only(store).count == 1


def test_a_halted_task_and_a_parent_that_failed_its_join_are_sources_of_their_own(
    store: Store,
) -> None:
    halted = running(store)
    store.outcomes.halt(halted.id, halted.token, TaskError("Halt", "look at this", "", 1))
    parent = create(store)
    with store.database.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO taskdb_event (task_id, from_status, to_status, detail)"
                " VALUES (:id, 'PROCESSING', 'FAILED', :detail)"
            ),
            {"id": parent, "detail": json.dumps({"error": "JoinFailed", "join": True})},
        )
    fold(store)

    assert {(one.source, one.error_type) for one in alarms(store)} == {
        (AlarmSource.HALTED, "Halt"),
        (AlarmSource.JOIN, "JoinFailed"),
    }


def test_a_type_says_what_raises_and_to_whom(store: Store) -> None:
    quiet, loud = Alarm.of(False), Alarm(on="halted", to=["pager", "desk"])  # noqa: FBT003 - as `@task` takes it
    store.alarms.declare({"quiet": quiet, "loud": loud})
    fail(store, type="quiet")
    fail(store, type="loud")
    run = running(store, type="loud")
    store.outcomes.halt(run.id, run.token, TaskError("Halt", "", "", 1))
    assert fold(store).events == 3

    assert only(store).channels == ("pager", "desk")
    assert messages(store) == [("desk", "opened", 1, 1), ("pager", "opened", 1, 1)]
    store.alarms.declare({"quiet": None, "loud": None})
    assert store.alarms.policies() == {}


def test_an_alarm_that_no_route_takes_is_seen_to_be_so_and_is_told_once_one_does(
    store: Store,
) -> None:
    fail(store, type="mail.send")
    routes = (route("ops", type="order.*"), route("ops", severity=Severity.CRITICAL))
    assert fold(store, routes=routes).unrouted == (only(store).id,)

    unrouted = store.alarms.page(EVERYONE, unrouted=True)
    assert [(one.is_routed, one.channels, one.reported) for one in unrouted] == [(False, (), 0)]
    store.alarms.add_route(route("desk", type="mail.*", source=AlarmSource.FAILED), EVERYONE, "ann")
    over(store)
    assert fold(store, routes=routes).messages == 1
    assert messages(store) == [("desk", "opened", 1, 1)]
    assert store.alarms.page(EVERYONE, unrouted=True) == []


def test_a_process_without_channels_counts_and_leaves_the_telling_to_others(store: Store) -> None:
    fail(store)
    assert fold(store, channels=()).unrouted == (only(store).id,)
    assert fold(store, channels=()).unrouted == ()
    assert (only(store).count, only(store).is_routed) == (1, False)

    assert fold(store).messages == 1
    assert only(store).is_routed


def test_an_acknowledged_alarm_is_silent_until_it_was_resolved_and_came_back(store: Store) -> None:
    fail(store)
    fold(store)
    desk = store.alarms
    one = desk.get(desk.acknowledge(only(store).id, Scope(), "ann", "on it"), EVERYONE)
    assert (one.state, one.acted_by, one.note) == (AlarmState.ACKNOWLEDGED, "ann", "on it")
    fail(store)
    over(store)
    assert fold(store).messages == 0
    assert only(store).count == 2

    assert desk.resolve(one.fingerprint, Scope(), "ann", "fixed") == one.id
    assert only(store).resolved_at is not None
    fail(store)
    assert fold(store).messages == 1
    back = only(store)
    assert (back.state, back.is_regression, back.count, back.resolved_at) == (
        AlarmState.OPEN, True, 3, None,
    )  # fmt: skip
    assert messages(store)[-1] == ("ops", "regression", 1, 3)
    fail(store)
    over(store)
    fold(store)
    assert messages(store)[-1] == ("ops", "again", 1, 4)


def test_a_resolved_alarm_comes_back_at_once_though_its_window_was_open(store: Store) -> None:
    fail(store)
    fold(store)
    store.alarms.resolve(only(store).id, Scope(), None, None)
    fail(store)

    assert fold(store).messages == 1


def test_a_snooze_ends_by_time_and_what_came_meanwhile_is_told_then(store: Store) -> None:
    fail(store)
    fold(store)
    desk = store.alarms
    desk.snooze(only(store).id, Scope(), timedelta(hours=8), "ann")
    fail(store)
    over(store)
    assert fold(store).messages == 0
    assert only(store).state is AlarmState.SNOOZED

    write(store, "UPDATE taskdb_alarm SET snoozed_until = :at", at=datetime(2026, 1, 1, tzinfo=UTC))
    assert fold(store).messages == 1
    assert (only(store).state, only(store).snoozed_until) == (AlarmState.OPEN, None)
    assert messages(store)[-1] == ("ops", "again", 1, 2)


def test_many_passes_at_once_count_each_failure_once(store: Store) -> None:
    for _ in range(40):
        fail(store)
    at_once(lambda _: [fold(store, limit=7) for _ in range(4)], 6)
    while fold(store).is_full:
        pass

    assert (only(store).count, messages(store)) == (
        40,
        [("ops", "opened", messages(store)[0][2], messages(store)[0][3])],
    )


def test_a_pass_that_dies_before_its_commit_has_changed_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(store)
    for place in ("write_observed", "announce", "_Place.move"):
        with monkeypatch.context() as broken:
            broken.setattr(f"taskdb.store.outgoing.alarm.detection.{place}", _die)
            with pytest.raises(_DiesError):
                fold(store)
        assert alarms(store) == []
        assert messages(store) == []
    assert fold(store).messages == 1
    assert only(store).count == 1


class _DiesError(BaseException):
    """The end of the process: no error of a row."""


def _die(*_: object, **_named: object) -> None:
    raise _DiesError


def test_a_failure_counts_once_though_an_older_transaction_is_still_open(
    postgresql_store: Store,
) -> None:
    """Two transactions end in the other order than they began; a third one stays open."""
    store = postgresql_store
    begun, may_end = Event(), Event()
    late = running(store)
    stored = json.dumps({"error": "ValueError", "message": "late"})

    def old() -> None:
        with store.database.transaction() as connection:
            connection.execute(
                text(
                    "INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, detail)"
                    " VALUES (:id, 'acme', 'STARTED', 'FAILED', :detail)"
                ),
                {"id": late.id, "detail": stored},
            )
            begun.set()
            assert may_end.wait(20)

    thread = Thread(target=old)
    thread.start()
    assert begun.wait(20)
    fail(store)
    assert fold(store).messages == 1, "it does not wait for the open transaction"
    assert fold(store).events == 0
    fail(store)
    assert (fold(store).events, fold(store).events) == (1, 0)
    may_end.set()
    thread.join()

    assert (fold(store).events, fold(store).events) == (1, 0)
    assert sorted((one.place, one.count) for one in alarms(store)) == [
        ("", 1),
        ("shop/card.py in charge", 2),
    ]
    with store.database.transaction() as connection:
        ahead = connection.execute(
            text("SELECT ahead FROM taskdb_alarm_cursor WHERE name = 'events'")
        )
        assert ahead.scalar() == []


def test_a_pass_behind_an_open_transaction_has_no_more_to_do_than_it_can(
    postgresql_store: Store,
) -> None:
    store = postgresql_store
    with store.database.transaction() as stranger:
        stranger.execute(text("SELECT pg_current_xact_id()"))
        for _ in range(7):
            fail(store)
        passes = [fold(store, limit=3) for _ in range(5)]
        # Failures beyond the first page are counted too, and no pass asks for another in vain.
        assert [(one.events, one.is_full) for one in passes] == [
            (3, True),
            (3, True),
            (1, False),
            (0, False),
            (0, False),
        ]
        assert only(store).count == 7
    fail(store)
    passes = [fold(store, limit=3) for _ in range(2)]
    assert [(one.events, one.is_full) for one in passes] == [(1, False), (0, False)]
    assert only(store).count == 8
    (cursor,) = write(store, "SELECT CAST(ahead AS TEXT) AS ahead FROM taskdb_alarm_cursor"
                             " WHERE name = 'events'")  # fmt: skip
    assert cursor["ahead"] == "[]"


def test_what_is_counted_behind_an_open_transaction_is_bounded(
    postgresql_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskdb.store.outgoing.alarm.detection.AHEAD", 4)
    store = postgresql_store
    with store.database.transaction() as stranger:
        stranger.execute(text("SELECT pg_current_xact_id()"))
        for _ in range(6):
            fail(store)
        passes = [fold(store, limit=3) for _ in range(3)]
        assert [(one.events, one.is_full) for one in passes] == [
            (3, True),
            (1, False),
            (0, False),
        ]
    assert [fold(store, limit=3).events for _ in range(2)] == [2, 0]
    assert only(store).count == 6


def test_nothing_secret_is_written_to_an_alarm(store: Store) -> None:
    given = {"user": "ann", "password": "hunter2-x", "card": "4111 1111 1111 1111"}
    said = "no hunter2-x for ann at postgresql://ann:s3cr3t@db, api_key='k-123456'"
    run = running(store, input=given)
    shown = f"{TRACEBACK}ValueError: {said}\n"
    store.outcomes.fail(run.id, run.token, TaskError("ValueError", said, shown, 1))
    fold(store, with_input=True)

    with store.database.transaction() as connection:
        rows = [
            str(tuple(row))
            for table in ("taskdb_alarm", "taskdb_delivery")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]
    for secret in ("hunter2", "4111 1111", "s3cr3t", "k-123456"):
        assert not [row for row in rows if secret in row]
    assert only(store).sample["input"]["user"] == "ann"
    assert "for ann at postgresql://ann:[redacted]@db" in only(store).message


def test_a_task_that_is_gone_or_was_tried_again_is_told_from_its_history(store: Store) -> None:
    pruned, retried = (
        fail(store, message="of the pruned"),
        fail(store, kind="KeyError", message="x"),
    )
    write(store, "DELETE FROM taskdb_task WHERE id = :id", id=pruned.id)
    store.interventions.retry(retried.id, Scope())
    fold(store)

    told = {one.error_type: (one.type, one.message) for one in alarms(store)}
    assert told == {"ValueError": ("", "of the pruned"), "KeyError": ("sum", "x")}


def test_a_tenant_sees_its_own_alarms_only_and_the_operator_those_of_all(store: Store) -> None:
    for tenant in ("a", "b"):
        fail(store, tenant=tenant)
    fold(store, group_by_tenant=True)
    fail(store, tenant="a", kind="KeyError")
    fold(store)
    desk, scope = store.alarms, Scope(("a",))

    assert [one.tenant for one in desk.page(scope)] == ["a"]
    assert len(desk.page(EVERYONE)) == 3
    other = next(one for one in alarms(store) if one.tenant == "b")
    for act in (
        lambda: desk.get(other.id, scope),
        lambda: desk.acknowledge(other.id, scope, None, None),
        lambda: desk.resolve(other.fingerprint, scope, None, None),
        lambda: desk.snooze(other.id, scope, timedelta(hours=1), None),
    ):
        with pytest.raises(AlarmNotFound, match="taskdb alarm list"):
            act()
    assert [one.alarm_id for one in desk.undelivered(scope)] == [desk.page(scope)[0].id]
    assert desk.deliveries(other.id, scope) == []
    assert desk.last_errors([other.id], scope) == {}
    assert desk.last_errors([other.id], EVERYONE) == {other.id: ""}


def test_a_route_is_seen_and_removed_by_its_owner_and_the_operator(store: Store) -> None:
    desk, scope = store.alarms, Scope(("a",))
    for one in (route("ops", tenant="a"), route("ops"), route("ops", tenant="b", owner="b")):
        route_id = desk.add_route(one, EVERYONE, None)
        assert desk.routes(scope) == []
        assert not desk.remove_route(route_id, scope)
        assert [found.owner for found in desk.routes(EVERYONE)] == [one.owner]
        assert desk.remove_route(route_id, EVERYONE)
    own = desk.add_route(route("ops", tenant="a", owner="a"), EVERYONE, None)
    assert [found.id for found in desk.routes(scope)] == [own]
    assert desk.remove_route(own, scope)


def test_a_route_of_a_tenant_adds_to_what_the_operator_is_told_and_changes_nothing_for_others(
    store: Store,
) -> None:
    desk = store.alarms
    desk.add_route(route("slack", tenant="a", owner="a"), EVERYONE, None)
    given = {"group_by_tenant": True, "tenant_channels": {"a": ("slack",)}}
    for tenant in ("a", "b"):
        fail(store, tenant=tenant)
    assert fold(store, **given).messages == 3
    assert {one.tenant: one.channels for one in alarms(store)} == {
        "a": ("ops", "slack"),
        "b": ("ops",),
    }
    # An alarm of all tenants together is the operator's.
    fail(store, tenant="a", kind="KeyError")
    fold(store, **{**given, "group_by_tenant": False})
    assert next(one for one in alarms(store) if one.tenant is None).channels == ("ops",)


def test_a_tenant_has_no_more_routes_than_a_pass_can_read(store: Store) -> None:
    desk, one = store.alarms, route("slack", tenant="a", owner="a")
    for _ in range(MOST_ROUTES):
        desk.add_route(one, Scope(("a",)), None)
    with pytest.raises(InvalidInput, match="remove one first"):
        desk.add_route(one, Scope(("a",)), None)
    assert len(desk.routes(EVERYONE)) == MOST_ROUTES
    desk.add_route(route("slack", tenant="b", owner="b"), Scope(("b",)), None)
    desk.add_route(route("slack", tenant="a"), EVERYONE, None)


def test_a_route_of_a_tenant_adds_to_the_channels_of_a_type(store: Store) -> None:
    desk = store.alarms
    desk.declare({"loud": Alarm(to="pager")})
    desk.add_route(route("slack", tenant="a", owner="a"), EVERYONE, None)
    fail(store, type="loud", tenant="a")
    fold(store, group_by_tenant=True, tenant_channels={"a": ("slack",)})
    assert only(store).channels == ("pager", "slack")


@each(
    "own",
    [
        route("slack", tenant="b", owner="a"),
        route("slack", owner="b"),
        route("desk", tenant="a", owner="a"),
        route("slack", tenant="a", owner="a", severity=Severity.CRITICAL),
        route("slack", tenant="a", owner="a", type="other"),
    ],
    alone=True,
)
def test_a_route_of_a_tenant_takes_its_own_alarms_to_its_own_channels(
    store: Store, own: Route
) -> None:
    """Also one that was written while the settings gave the tenant another channel."""
    store.alarms.add_route(own, EVERYONE, None)
    fail(store, tenant="a")
    fold(store, group_by_tenant=True, tenant_channels={"a": ("slack",), "b": ("desk", "slack")})
    assert only(store).channels == ("ops",)


def test_what_only_a_tenant_is_told_of_stays_unrouted_and_the_operator_is_told_of_all_of_it(
    store: Store,
) -> None:
    desk = store.alarms
    desk.add_route(route("slack", tenant="a", owner="a"), EVERYONE, None)
    given = {
        "group_by_tenant": True,
        "tenant_channels": {"a": ("slack",)},
        "routes": (route("ops", type="other"),),
    }
    fail(store, tenant="a")
    assert fold(store, **given).unrouted == (only(store).id,)
    over(store)
    fold(store, **given)
    assert messages(store) == [("slack", "opened", 1, 1)], "once, though nothing takes it"
    assert (only(store).is_routed, only(store).reported) == (False, 0)

    fail(store, tenant="a")
    over(store)
    fold(store, **given)
    assert messages(store) == [("slack", "opened", 1, 1), ("slack", "again", 1, 2)]
    assert [one.id for one in desk.page(EVERYONE, unrouted=True)] == [only(store).id]

    desk.add_route(route("ops", tenant="a"), EVERYONE, None)
    over(store)
    assert fold(store, **given).unrouted == ()
    assert messages(store)[2:] == [("ops", "opened", 2, 2)]
    fail(store, tenant="a")
    over(store)
    fold(store, **given)
    assert messages(store) == [
        ("slack", "opened", 1, 1),
        ("slack", "again", 2, 3),
        ("ops", "opened", 2, 2),
        ("ops", "again", 1, 3),
    ]


def test_a_regression_that_only_a_tenant_is_told_of_is_told_as_such_once(store: Store) -> None:
    desk = store.alarms
    desk.add_route(route("slack", tenant="a", owner="a"), EVERYONE, None)
    given = {
        "group_by_tenant": True,
        "tenant_channels": {"a": ("slack",)},
        "routes": (route("ops", type="other"),),
    }
    for number in range(3):
        fail(store, tenant="a")
        over(store)
        fold(store, **given)
        if not number:
            desk.resolve(only(store).id, EVERYONE, None, None)
    assert [kind for _, kind, _, _ in messages(store)] == ["opened", "regression", "again"]


def test_a_tenant_sees_the_messages_to_its_own_channels(store: Store) -> None:
    desk, scope = store.alarms, Scope(("a",))
    fail(store, tenant="a")
    fold(store, group_by_tenant=True)
    alarm_id = only(store).id
    for channels, number in ((None, 1), (["ops"], 1), (["slack"], 0), ([], 0)):
        assert len(desk.deliveries(alarm_id, scope, channels=channels)) == number
        assert len(desk.undelivered(scope, channels=channels)) == number
        assert len(desk.last_errors([alarm_id], scope, channels=channels)) == number
        assert len(desk.page(scope, undelivered=True, channels=channels)) == number


def test_messages_of_an_alarm_go_in_order_and_each_is_taken_by_one(store: Store) -> None:
    fail(store)
    fold(store, channels=("ops", "desk"))
    fail(store)
    over(store)
    fold(store, channels=("ops", "desk"))

    assert {one.target for one in alarm_messages(store).due()} == {"desk", "ops"}
    taken = [one for one in at_once(lambda _: take(store), 5) if one]
    assert [one.attempts for one in taken] == [0]
    assert content(taken[0])["total"] == 1
    assert take(store) is None, "the second waits for the first"
    assert {one.target for one in alarm_messages(store).due()} == {"desk"}
    assert sent(store, taken[0])
    assert not sent(store, taken[0])
    second = take(store)
    assert content(second)["count"] == 1
    refused(store, second, "away\x00 \ud800", timedelta(hours=2))
    assert take(store) is None
    waiting = store.alarms.undelivered(EVERYONE)
    assert sorted((one.channel, one.attempts) for one in waiting) == [
        ("desk", 0),
        ("desk", 0),
        ("ops", 1),
    ]
    assert store.alarms.last_errors([only(store).id], EVERYONE)[only(store).id].startswith("away")


def content(one: LeasedMessage) -> dict[str, int]:
    found: dict[str, int] = one.message.stored["envelope"]["content"]
    return found


def test_a_channel_that_is_away_gets_one_summary_and_not_one_for_each_window(store: Store) -> None:
    for _ in range(5):
        fail(store)
        over(store)
        fold(store)
    assert messages(store) == [("ops", "opened", 1, 1), ("ops", "again", 4, 5)]
    sent(store, take(store))
    assert content(take(store))["count"] == 4
    fail(store)
    over(store)
    fold(store)
    assert messages(store)[-1] == ("ops", "again", 1, 6), "what is on its way stays as it is"


def test_what_was_resolved_or_sent_long_ago_goes_and_the_rest_stays(store: Store) -> None:
    for kind in ("ValueError", "KeyError"):
        fail(store, kind=kind)
    fold(store)
    desk = store.alarms
    resolved, live = alarms(store)
    desk.resolve(resolved.id, Scope(), None, None)
    assert desk.prune(timedelta(days=1)) == 0
    write(store, "UPDATE taskdb_alarm SET resolved_at = :at WHERE id = :id", id=resolved.id,
          at=datetime(2026, 1, 1, tzinfo=UTC))  # fmt: skip
    assert desk.prune(timedelta(days=1)) == 2
    assert [one.id for one in alarms(store)] == [live.id]
    write(store, "UPDATE taskdb_delivery SET sent_at = :at", at=datetime(2026, 1, 1, tzinfo=UTC))
    assert desk.prune(timedelta(days=1)) == 1


def test_what_reads_the_history_for_failures_looks_at_nothing_else(
    postgresql_store: Store,
) -> None:
    store, failed = postgresql_store, fail(postgresql_store)
    with store.database.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO taskdb_event (task_id, from_status, to_status)"
            f" SELECT '{failed.id}', 'STARTED', 'COMPLETED' FROM generate_series(1, 20000)"
        )
    with store.database._engine("moving").connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE taskdb_event")
        given = {"xid": 0, "event": 0, "limit": 100, "ahead": "[]"}
        queries = queries_of(store.database.dialect, QUERIES)
        for sql in (queries.new_failures, queries.has_work):
            plan = connection.execute(text(f"EXPLAIN {sql}"), given).scalars().all()
            # Days to come are empty, and read faster than their index.
            today = f"taskdb_event_{datetime.now(UTC):%Y%m%d}"
            assert any(f"using {today}" in line for line in plan), plan
            assert not [line for line in plan if f"Seq Scan on {today}" in line], plan
    assert fold(store).events == 1


def test_a_pass_with_nothing_to_do_takes_no_lock(store: Store) -> None:
    fail(store)
    fold(store)
    with store.database.transaction() as connection:
        if store.database.dialect.name == "postgresql":
            connection.execute(text("SELECT * FROM taskdb_alarm_cursor FOR UPDATE"))
        assert not fold(store).is_busy
        assert not fold(store).is_busy


def test_failures_of_before_the_migration_wake_nobody(store: Store) -> None:
    # The cursor of a new database stands at its end: what was there is behind it.
    with store.database.transaction() as connection:
        row = connection.execute(
            text("SELECT xid, event_id FROM taskdb_alarm_cursor WHERE name = 'events'")
        ).one()
    assert row.event_id == (0 if store.database.dialect.name == "sqlite" else 2**63 - 1)
    assert fold(store).events == 0
    store.submissions.create([draft(kind=TaskKind.TASK)], EVERYONE)
    assert fold(store).events == 0


def test_a_database_that_was_emptied_raises_alarms_as_before(store: Store) -> None:
    fail(store)
    fold(store)
    with store.database.transaction() as connection:
        empty(connection)
    assert alarms(store) == []
    fail(store, message="after")
    fold(store)
    assert (only(store).message, only(store).count) == ("after", 1)
