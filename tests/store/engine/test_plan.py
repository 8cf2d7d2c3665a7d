"""The plans of the hot statements on PostgreSQL: none of them reads the whole table."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from uuid_utils import uuid7

from taskdb.model.adopted import AdoptedReport, ReportKind
from taskdb.model.entity import TaskKind
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.outcome import Report
from taskdb.model.retention import Retention
from taskdb.model.status import TaskStatus
from taskdb.model.subscription import EventFilter, TransportKind
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.doctor.lost_message import QueuedRow
from taskdb.store.engine.session import DriverSession
from taskdb.store.outgoing.delivery import LeasedSubscription
from taskdb.store.retention.prune import PruneRounds
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.task.list import EventCursor
from taskdb.store.task.task_id import LEAST_ID
from taskdb.store.tree.unit import Unit
from taskdb.store.upkeep import StoreUpkeep
from tests.store.deliveries import lease, notifications
from tests.store.tasks import DONE, HOUR, LEASE, OOPS, create, draft, publication, queued

Statement = tuple[str, dict[str, Any]]
ROWS = 20_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARENT = "01936e4b-7c00-7000-8000-0123456789ab"
ADOPTED = "01936e4b-7c00-7000-8000-0000000000ad"
TREES = [f"01936e4b-7c00-7000-8000-0123456789{number:02}" for number in range(20)]


@pytest.fixture(scope="module")
def large_store(postgresql_server: Any) -> Iterator[Store]:
    """A store with many tasks, most of them over."""
    name = "plans"
    url = postgresql_server.create_database(name, "template_taskdb")
    with Store(url).closing() as store:
        drafts = [draft(tenant=f"tenant-{number % 50}") for number in range(ROWS)]
        store.submissions.create(drafts, EVERYONE)
        store.submissions.create([draft(id=PARENT)], EVERYONE)
        store.submissions.create([draft(id=ADOPTED)], EVERYONE)
        store.submissions.create(
            [draft(parent_id=PARENT, position=n, unique_key=f"k{n}") for n in range(500)], EVERYONE
        )
        with store.database.transaction() as connection:
            run = connection.exec_driver_sql
            run(
                "UPDATE taskdb_task SET attempt = 1, worker = 'w-' || mod(n, 5), status = CASE"
                " WHEN n < 100 THEN 'FAILED' WHEN n < 150 THEN 'HALTED'"
                " WHEN n < 250 THEN 'STARTED' WHEN n < 400 THEN 'QUEUED'"
                " WHEN n < 1000 THEN 'SCHEDULED' WHEN n < 1100 THEN 'CREATED'"
                " ELSE 'COMPLETED' END"
                " FROM (SELECT id AS i, row_number() OVER (ORDER BY md5(id::text)) AS n"
                " FROM taskdb_task) AS numbered WHERE id = i"
            )
            run(
                "UPDATE taskdb_task SET relay_at = now() + interval '1 day'"
                " WHERE status = 'SCHEDULED'"
            )
            run(
                "UPDATE taskdb_task SET needs_admission = true, mutex_key = 'k', held_by = CASE"
                " WHEN mod(attempt, 2) = 0 THEN 'admission' ELSE 'mutex:' || tenant || '/k' END"
                " WHERE status = 'CREATED' AND parent_id IS NULL AND tenant <> 'tenant-7'"
            )
            run(
                "INSERT INTO taskdb_task (type, status, is_adopted, relay_at, worker)"
                " SELECT 'watched', CASE WHEN n < 9000 THEN 'COMPLETED' WHEN n < 9900 THEN 'QUEUED'"
                " ELSE 'STARTED' END, true, '9999-01-01', 'w-9' FROM generate_series(1, 10000) AS n"
            )
            run(
                "UPDATE taskdb_task SET is_adopted = true, status = 'QUEUED'"
                f" WHERE id = '{ADOPTED}'"
            )
        for number, tree in enumerate(TREES):
            family(store, tree, 20 if number else 1_000)
        with store.database.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE taskdb_task SET status = 'COMPLETED', held_by = NULL"
                f" WHERE parent_id = '{TREES[2]}'"
            )
        with store.database._engine("moving").connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE taskdb_task")
            connection.exec_driver_sql("VACUUM ANALYZE taskdb_event")
        yield store
    postgresql_server.drop_database(name)


def family(store: Store, task_id: str, count: int) -> None:
    """A fan-out with a window."""
    spec = FanOutSpec(part_type="part", max_concurrency=10, timeout=3_600.0)
    store.submissions.create_fan_out(
        draft(id=task_id), (draft() for _ in range(count)), spec, EVERYONE
    )


def due_pruning(store: Store) -> PruneRounds:
    """A pruning that finds one task and one tree to go, behind the first page."""
    tree = str(uuid7())
    for task_id in (str(uuid7()), tree):
        store.submissions.create([draft(id=task_id, tenant="gone")], EVERYONE)
    store.submissions.create([draft(parent_id=tree, position=n) for n in range(3)], EVERYONE)
    with store.database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE taskdb_task SET status = 'COMPLETED', ended_at = now() - interval '40 days',"
            " created_at = now() - interval '41 days'"
            f" WHERE tenant = 'gone' OR parent_id = '{tree}'"
        )
    pruning = StoreUpkeep(store).prune_rounds(Retention.parse([]))
    pruning._after = {"created_at": datetime(2020, 1, 1, tzinfo=UTC), "id": LEAST_ID}
    return pruning


def reports(owned: str) -> list[AdoptedReport]:
    """One that makes a row, one that moves that row, and one that leaves an owned row alone."""
    new, at = str(uuid7()), datetime.now(UTC)
    first = AdoptedReport(
        id=new,
        kind=ReportKind.PUBLISHED,
        status=TaskStatus.QUEUED,
        at=at,
        attempt=0,
        type="watched",
    )
    begun = replace(first, kind=ReportKind.BEGUN, status=TaskStatus.STARTED, attempt=1, token="t")
    return [first, begun, replace(begun, id=ADOPTED, token=new), replace(begun, id=owned)]


def in_unit(store: Store, act: Callable[[Unit], Any]) -> None:
    with store.units.open() as unit:
        act(unit)


def told(store: Store, wanted: EventFilter, tenant: str | None = None) -> None:
    """A page of what a subscription is told, in the midst of the history."""
    after = EventCursor.parse(store.tasks.events_after(None, 1_000, EVERYONE).cursor)
    leased = LeasedSubscription(
        id=PARENT,
        token="t",
        name="hook",
        tenant=tenant,
        transport=TransportKind.LOG,
        target="",
        secrets=(),
        filter=wanted,
        cursor=after,
        attempts=0,
    )
    page = notifications(store).page(leased, after, scan=100, limit=50)
    assert len(page.due) == (0 if tenant else 50)
    assert (page.end.cursor.xid, page.end.cursor.id) > (after.xid, after.id)


WAYS: dict[str, Callable[[Store, str], Any]] = {
    "claim": lambda s, i: s.runs.claim(i, token="t", worker="w", max_attempts=3),
    "progress": lambda s, i: s.runs.progress(i, "t", Report(current=1)),
    "complete": lambda s, i: s.outcomes.complete(i, "t", DONE),
    "error": lambda s, i: s.outcomes.error(i, "t", OOPS, HOUR),
    "mark": lambda s, i: s.publications.mark_queued([publication(s, i)]),
    "lease": lambda s, _: s.publications.lease_due(100, LEASE),
    "publications": lambda s, i: s.publications.find([i]),
    "rescue": lambda s, _: s.take_backs.rescue(OOPS, lease=HOUR, limit=10, max_crashes=3),
    "expire": lambda s, _: s.take_backs.expire_due(OOPS, 10),
    "queued rows": lambda s, _: s.lost_messages.queued(None, 50),
    "more queued rows": lambda s, _: s.lost_messages.queued(
        s.lost_messages.queued(None, 50)[-1], 50
    ),
    "taken rows": lambda s, _: s.lost_messages.taken(),
    "lost rows": lambda s, i: s.lost_messages.hand_back(
        [QueuedRow(i, None, "q", 5, NOW, NOW)], "a test", NOW
    ),
    "hand back": lambda s, _: s.endings.hand_back_worker("w-3", "shutdown"),
    "cancel wanted": lambda s, i: s.runs.is_cancel_wanted(i, "t"),
    "get": lambda s, i: s.tasks.get(i, EVERYONE),
    "keyed create": lambda s, _: s.submissions.create([draft(unique_key="k7")], EVERYONE),
    "history": lambda s, i: s.tasks.history(i, EVERYONE),
    "events": lambda s, _: s.tasks.events_after(None, 100, EVERYONE),
    "newest of a tenant": lambda s, _: s.tasks.page(Filter(), Scope(("tenant-7",)), limit=50),
    "newest of all": lambda s, _: s.tasks.page(Filter(), EVERYONE, limit=50),
    "failed": lambda s, _: s.tasks.page(Filter(status=(TaskStatus.FAILED,)), EVERYONE, limit=50),
    "queued": lambda s, _: s.tasks.page(Filter(status=(TaskStatus.QUEUED,)), EVERYONE, limit=50),
    "cancel": lambda s, i: s.interventions.cancel(i, EVERYONE),
    "parts left": lambda s, _: s.joins.part_ended(PARENT, badly=False),
    "counts": lambda s, _: s.fan_outs.counts(TREES[0], EVERYONE),
    "family": lambda s, _: s.publications.page_of_parts(TREES[0], "", 500),
    "neglected": lambda s, _: s.joins.neglected(500),
    "a page of neglected": lambda s, _: s.joins.neglected_page(5_000),
    "overdue": lambda s, _: s.joins.stop_overdue(500),
    "newest step": lambda s, _: in_unit(s, lambda unit: unit.newest_step(TREES[0], 0)),
    "handlers": lambda s, _: in_unit(s, lambda unit: unit.handlers(TREES[0], 10**9, 10**10)),
    "open sub-tasks": lambda s, _: in_unit(s, lambda unit: unit.open_ids(TREES[0])),
    "retryable": lambda s, _: in_unit(
        s, lambda unit: unit.retryable(TREES[0], LEAST_ID, force=False)
    ),
    "window": lambda s, _: in_unit(s, lambda unit: unit.window(TREES[0])),
    "release held": lambda s, _: in_unit(s, lambda unit: unit.release_held(TREES[0], 5)),
    "join": lambda s, _: s.joins.join(TREES[1]),
    "end of a parent": lambda s, _: s.joins.join(TREES[2]),
    "page of sub-tasks": lambda s, _: s.tasks.sub_tasks(TREES[0], EVERYONE, after=100, limit=50),
    "sweep of workers": lambda s, _: StoreUpkeep(s).leftovers(None).workers(),
    "sweep of files": lambda s, i: StoreUpkeep(s).leftovers(None)._named({f"day/{i}-input": i}),
    "sub-tasks": lambda s, _: s.tasks.page(Filter(parent_id=PARENT), EVERYONE, limit=50),
    "someone waits": lambda s, _: s.admission.has_held(),
    "release": lambda s, _: s.admission.release(20, LEASE),
    "sweep of slots": lambda s, _: s.admission.sweep_slots(100),
    "hold": lambda s, i: s.runs.hold(i),
    "what is seen": lambda s, i: s.adopted.see(reports(i)),
    "what is lost": lambda s, _: s.adopted.lose(lease=HOUR, limit=10),
    "statuses": lambda s, i: s.tasks.statuses([i], EVERYONE),
    "due subscriptions": lambda s, _: lease(s),
    "notifications": lambda s, _: told(s, EventFilter()),
    "notifications of some": lambda s, _: told(
        s, EventFilter("none.*", TaskKind.FAN_OUT, (TaskStatus.FAILED, TaskStatus.HALTED)), "acme"
    ),
    "tally": lambda s, _: (
        StoreUpkeep(s).statistics("me", HOUR).read(EventCursor(0, 0), 5_000, by_tenant=True)
    ),
    "lag of subscriptions": lambda s, _: StoreUpkeep(s).counts._lag_seconds(),
    "lag of the tally": lambda s, _: (
        StoreUpkeep(s).statistics("me", HOUR).lag_seconds(EventCursor(0, 0))
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_statement_reads_the_whole_table(
    large_store: Store, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = create(large_store)
    sent = statements_of(large_store, lambda: WAYS[way](large_store, task_id), monkeypatch)
    assert sent
    with psycopg.connect(large_store.database.url.replace("+psycopg", "")) as connection:
        for sql, parameters in sent:
            for mode in ("force_custom_plan", "force_generic_plan"):
                plan = explain(connection, mode, sql, parameters)
                # An empty partition of a day to come may be read whole.
                assert not re.search(
                    r"Seq Scan on (taskdb_task\b|taskdb_event\w* .*rows=\d\d)", plan
                ), plan


@pytest.mark.parametrize("way", ["claim", "complete"])
def test_a_likely_move_finds_its_row_by_id_however_short_the_queue_was_when_it_was_planned(
    large_store: Store, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is kept: one by a partial index would read the whole queue for each row of it."""
    run = queued(large_store)
    if way == "complete":
        assert large_store.runs.claim(run.id, token="t", worker="w", max_attempts=3).granted
    sent = statements_of(large_store, lambda: WAYS[way](large_store, run.id), monkeypatch)
    ((sql, parameters),) = sent
    assert "FOR UPDATE" not in sql
    with psycopg.connect(large_store.database.url.replace("+psycopg", "")) as connection:
        connection.execute(
            "UPDATE taskdb_task SET status = 'COMPLETED' WHERE status IN ('QUEUED', 'STARTED')"
        )
        connection.execute("ANALYZE taskdb_task")
        for mode in ("force_custom_plan", "force_generic_plan"):
            plan = explain(connection, mode, sql, parameters)
            assert re.search(
                r"Index Scan using taskdb_task_pkey on taskdb_task old .*\n *Index Cond", plan
            ), plan
        connection.rollback()


def test_pruning_reads_no_more_than_it_looks_at(
    large_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruning = due_pruning(large_store)
    sent = statements_of(large_store, lambda: pruning.run(60), monkeypatch)
    assert pruning.is_round_over
    with psycopg.connect(large_store.database.url.replace("+psycopg", "")) as connection:
        for mode in ("force_custom_plan", "force_generic_plan"):
            plans = [explain(connection, mode, sql, parameters) for sql, parameters in sent]
            assert "Index Scan using taskdb_task_created" in plans[0], plans[0]
            assert sum("Delete on taskdb_task " in plan for plan in plans) == 3
            assert sum("Delete on taskdb_event" in plan for plan in plans) == 3
            for plan in plans:
                assert not re.search(
                    r"Seq Scan on (taskdb_task\b|taskdb_event\w* .*rows=\d\d)", plan
                ), plan


def test_a_lease_reads_only_what_is_due(
    large_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not all that will be due one day, which may be most of what there is."""
    ((sql, parameters),) = statements_of(
        large_store, lambda: large_store.publications.lease_due(100, LEASE), monkeypatch
    )
    with psycopg.connect(large_store.database.url.replace("+psycopg", "")) as connection:
        for mode in ("force_custom_plan", "force_generic_plan"):
            plan = explain(connection, mode, sql, parameters)
            assert re.search(r"taskdb_task_relay.*\n *Index Cond: \(relay_at <=", plan), plan


def test_a_window_reads_only_what_is_held_or_let_go(
    large_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the parts that are over, which are most of them in the end."""
    watch, (sql, parameters) = statements_of(
        large_store, lambda: WAYS["window"](large_store, ""), monkeypatch
    )
    assert "idle_in_transaction" in watch[0]
    with psycopg.connect(large_store.database.url.replace("+psycopg", "")) as connection:
        plan = explain(connection, "force_generic_plan", sql, parameters)
    assert "taskdb_task_busy" in plan, plan
    assert "taskdb_task_held" in plan, plan


def test_a_release_reads_the_heads_of_lines_whatever_the_statistics_say(
    large_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be of a day when nobody waited, and a line may be long."""
    sent = statements_of(large_store, lambda: WAYS["release"](large_store, ""), monkeypatch)
    first = next(statement for statement in sent if "pg_try_advisory_xact_lock" in statement[0])
    with psycopg.connect(large_store.database.url.replace("+psycopg", "")) as connection:
        connection.execute("DELETE FROM pg_statistic WHERE starelid = 'taskdb_task'::regclass")
        connection.execute(*first)
        plans = [
            explain(connection, "force_generic_plan", *statement)
            for statement in sent
            if " taskdb_task " in statement[0]
        ]
        connection.rollback()
    assert len(plans) > 3
    for plan in plans:
        assert not re.search(r"(Seq|Bitmap Heap) Scan on taskdb_task\b", plan), plan
        # What one look lets go may be sorted; not a line.
        assert not re.search(r"Sort Key: (\w+\.)?id\b", plan), plan


def test_the_census_reads_what_is_not_over_where_most_is(
    large_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, (sql, parameters) = statements_of(
        large_store, lambda: StoreUpkeep(large_store).counts.tasks(by_tenant=True), monkeypatch
    )
    with psycopg.connect(large_store.database.url.replace("+psycopg", "")) as connection:
        connection.execute(
            "UPDATE taskdb_task SET status = 'COMPLETED', held_by = NULL, waits_for = NULL"
            " WHERE get_byte(uuid_send(id), 15) > 2"
        )
        connection.execute("ANALYZE taskdb_task")
        for mode in ("force_custom_plan", "force_generic_plan"):
            plan = explain(connection, mode, sql, parameters)
            assert re.search("taskdb_task_open", plan), plan
            assert "Seq Scan" not in plan, plan
        connection.rollback()


def test_the_census_reads_no_alarm_that_is_resolved_and_no_message_that_was_sent(
    large_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, undelivered = statements_of(
        large_store, StoreUpkeep(large_store).counts.alarms, monkeypatch
    )
    with psycopg.connect(large_store.database.url.replace("+psycopg", "")) as connection:
        connection.execute(
            "INSERT INTO taskdb_alarm (fingerprint, source, state, resolved_at) SELECT n, 'failed',"
            " CASE WHEN n > 10 THEN 'resolved' ELSE 'open' END, CASE WHEN n > 10 THEN now() END"
            " FROM generate_series(1, 10000) AS n"
        )
        connection.execute(
            "INSERT INTO taskdb_delivery (alarm_id, channel, sequence, kind, count, total,"
            " message, sent_at) SELECT id, 'ops', 1, 'opened', 1, 1, '{}', resolved_at"
            " FROM taskdb_alarm"
        )
        connection.execute("ANALYZE taskdb_alarm, taskdb_delivery")
        for mode in ("force_custom_plan", "force_generic_plan"):
            assert "taskdb_alarm_live" in explain(connection, mode, *live)
            assert "taskdb_delivery_due" in explain(connection, mode, *undelivered)
        connection.rollback()


def test_what_the_figures_are_counted_by_is_not_compiled(large_store: Store) -> None:
    """Compiling it takes longer than running it, and on a busy machine minutes."""
    heard: list[tuple[str, str]] = []

    def seen(_c: Any, cursor: Any, sql: str, _p: Any, _x: Any, _many: Any) -> None:
        heard.append((sql, cursor.connection.execute("SHOW jit").fetchone()[0]))

    with Store(f"{large_store.database.url}?options=-c%20jit%3Don").closing() as store:
        assert settings_of(store) == ["on"]
        event.listen(store.database._engine("moving"), "before_cursor_execute", seen)
        StoreUpkeep(store).counts.tasks(by_tenant=True)
        StoreUpkeep(store).statistics("me", HOUR).read(EventCursor(0, 0), 100, by_tenant=True)
        counted = [jit for sql, jit in heard if "GROUP BY" in sql]
        # Only for these two: the connection goes back as it was.
        assert (counted, settings_of(store)) == (["off", "off"], ["on"])


def settings_of(store: Store) -> list[str]:
    found = store.database.query("SELECT current_setting('jit') AS jit", {}, writes=False)
    return [row["jit"] for row in found]


@pytest.mark.parametrize("way", ["mark", "cancel", "hand back", "rescue"])
def test_a_move_of_many_rows_locks_them_in_order_of_their_ids(
    large_store: Store, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two of them could each hold a row that the other waits for."""
    task_id = create(large_store)
    sent = statements_of(large_store, lambda: WAYS[way](large_store, task_id), monkeypatch)
    (move,) = [statement for statement in sent if "FOR UPDATE" in statement[0]]
    with psycopg.connect(large_store.database.url.replace("+psycopg", "")) as connection:
        plan = explain(connection, "force_generic_plan", *move)
    assert re.search(r"LockRows .*\n *->  Sort .*\n *Sort Key: old\w*\.id\n", plan), plan


def statements_of(
    store: Store, act: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> list[Statement]:
    """What is sent to the server meanwhile, in psycopg's spelling."""
    sent: list[Statement] = []
    run = DriverSession.run

    def recorded(self: DriverSession, sql: str, parameters: Any, **options: Any) -> Any:
        sent.append((re.sub(r"(?<![:\w]):([a-z_]+)", r"%(\1)s", sql), dict(parameters)))
        return run(self, sql, parameters, **options)

    def seen(_c: Any, _cursor: Any, sql: str, parameters: Any, _x: Any, _many: Any) -> None:
        sent.append((sql, dict(parameters or {})))

    monkeypatch.setattr(DriverSession, "run", recorded)
    engine = store.database._engine("moving")
    event.listen(engine, "before_cursor_execute", seen)
    try:
        act()
    finally:
        event.remove(engine, "before_cursor_execute", seen)
    return sent


def explain(connection: Any, mode: str, sql: str, parameters: dict[str, Any]) -> str:
    """The plan of a prepared statement, which is what a worker runs after its first few."""
    connection.execute(f"SET plan_cache_mode = {mode}")
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", sql)
    # psycopg says the type of a number; here it must be said in words.
    numbered = re.sub(r"-(\$\d+)", r"-CAST(\1 AS DOUBLE PRECISION)", numbered)
    connection.execute(f"PREPARE the_statement AS {numbered.replace('%%', '%')}")
    values = ", ".join(
        psycopg.sql.Literal(
            str(parameters[name]) if parameters[name] is not None else None
        ).as_string(connection)
        for name in names
    )
    execute = f"EXECUTE the_statement({values})" if names else "EXECUTE the_statement"
    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {execute}"))
    connection.execute("DEALLOCATE the_statement")
    return plan
