"""Random trees, random things that happen to them in any order, and what must hold all the time.

Nothing runs here: the verbs of workers, people and loops are called as chance wants it, also too
late, twice, or without what should follow. `RANDOM_EXAMPLES` of the environment is the number of
examples of a longer search, which is another one each time.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from taskdb.errors import IllegalMove, SequenceAlreadyCompleted
from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskRole
from taskdb.model.fan_out import Counts, FanOutSpec, HandlerSpec
from taskdb.model.json_text import encode
from taskdb.model.outcome import NO_REPORT
from taskdb.model.sequence import SequenceSpec, StepSpec
from taskdb.model.status import RUNNING, TERMINAL, TaskStatus, allowed_pairs
from taskdb.store.contract import EVERYONE, Draft
from taskdb.store.engine.types import as_json
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from tests.store.tasks import OOPS, draft, make_late, write

pytestmark = pytest.mark.long

S = TaskStatus
WANTED = os.environ.get("RANDOM_EXAMPLES")
EXAMPLES = int(WANTED or 80)
HANDLER = HandlerSpec("told", "taskdb", 5)
SECOND = timedelta(seconds=1)
ROUNDS = 120


# --- trees ----------------------------------------------------------------------------------------

handlers = st.sampled_from([None, HANDLER])
timeouts = st.sampled_from([None, None, None, 3.0])


@st.composite
def fan_outs(draw: st.DrawFn) -> FanOutSpec:
    join = draw(st.sampled_from(["all_succeeded", "all_settled", "fail_fast"]))
    tolerate = None if join == "all_settled" else draw(st.sampled_from([None, None, 1, 0.5]))
    window = draw(st.sampled_from([None, None, 1, 2]))
    return FanOutSpec(
        part_type="part",
        join=join,
        tolerate=tolerate,
        max_concurrency=window,
        timeout=draw(timeouts),
        chunk_size=1 if window else draw(st.sampled_from([1, 1, 2])),
        on_join=draw(handlers),
    )


def steps(depth: int) -> st.SearchStrategy[StepSpec]:
    plain = st.just(StepSpec(name="step", type="step", queue="taskdb", priority=5))
    fanned = fan_outs().map(
        lambda spec: StepSpec(name="fan", type="part", queue="taskdb", priority=5, fan_out=spec)
    )
    if not depth:
        return plain | fanned
    inner = sequences(depth - 1).map(
        lambda spec: StepSpec(name="in", type="in", queue="taskdb", priority=5, sequence=spec)
    )
    return plain | fanned | inner


def sequences(depth: int = 1) -> st.SearchStrategy[SequenceSpec]:
    known = st.dictionaries(
        st.sampled_from(["on_start", "on_success", "on_error"]), st.just(HANDLER), max_size=2
    )
    return st.builds(
        SequenceSpec,
        name=st.just("sequence"),
        steps=st.lists(steps(depth), min_size=1, max_size=3).map(tuple),
        handlers=known,
        timeout=timeouts,
    )


roots = st.tuples(fan_outs(), st.integers(0, 5)) | sequences() | st.just(None)
VERBS = {
    "publish": 2,
    "claim": 8,
    "complete": 8,
    "fan out": 2,
    "finish": 2,
    "error": 2,
    "fail": 3,
    "cancel own": 1,
    "halt": 1,
    "snooze": 1,
    "hand back": 1,
    "crash": 1,
    "cancel": 2,
    "retry": 4,
    "force": 1,
    "join": 3,
    "settle": 1,
    "rescue": 1,
    "expire": 1,
    "revoke": 1,
    "wait": 2,
    "reconcile": 1,
}
happenings = st.tuples(
    st.sampled_from([verb for verb, weight in VERBS.items() for _ in range(weight)]),
    st.integers(0, 59),
    st.integers(0, 11),
)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def timed_store(store_url: str, clock: FixedClock) -> Iterator[Store]:
    with Store(store_url, clock=clock, relay_grace=timedelta(0)).closing() as opened:
        yield opened


@pytest.mark.timeout(0 if WANTED else 120)
def test_whatever_happens_to_a_tree_its_promises_hold(
    timed_store: Store, clock: FixedClock
) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=not WANTED,
        database=None,
        phases=[Phase.generate, Phase.shrink] if WANTED else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(root=roots, own=fan_outs(), happened=st.lists(happenings, min_size=25, max_size=60))
    def search(root: Any, own: FanOutSpec, happened: list[Any]) -> None:
        world = World(timed_store, clock)
        world.plant(root)
        for verb, chosen, way in happened:
            world.let(verb, chosen, way, own)
            world.check()
        world.drain()
        world.check_end()

    search()


# --- the world ------------------------------------------------------------------------------------


class World:
    """One tree, the runs that ever were, and a look at everything after each happening."""

    def __init__(self, store: Store, clock: FixedClock) -> None:
        self.store, self.clock = store, clock
        for table in ("taskdb_task", "taskdb_event"):
            write(store, f"DELETE FROM {table} WHERE true RETURNING 1")
        self.runs: list[tuple[str, str]] = []
        self.done: list[str] = []
        self.last_event = 0
        self.last: dict[str, tuple[str, int]] = {}
        self.outcomes: dict[tuple[str, int], int] = defaultdict(int)

    def plant(self, root: Any) -> None:
        self.root = draft(type="root")
        if root is None:
            self.store.submissions.create([self.root], EVERYONE)
        elif isinstance(root, SequenceSpec):
            self.store.joins.follow(
                self.store.submissions.create_sequence(self.root, root, EVERYONE).after
            )
        else:
            spec, count = root
            made = self.store.submissions.create_fan_out(self.root, parts(count), spec, EVERYONE)
            self.store.joins.follow(made.after)

    # --- what happens -----------------------------------------------------------------------------

    def let(self, verb: str, chosen: int, way: int, spec: FanOutSpec) -> None:
        self.done.append(f"{verb} {chosen} {way}")
        rows = self.rows()
        row = rows[chosen % len(rows)]
        if verb in {"cancel", "retry", "force", "join", "settle", "expire", "publish", "claim"}:
            self.by_id(verb, row, way)
        elif verb in {"rescue", "wait", "reconcile"}:
            self.by_loop(verb, way)
        elif self.runs:
            # Mostly one of the latest; any other is a zombie.
            run = self.runs[-1 - chosen % min(len(self.runs), 4 if way else 60)]
            self.of_run(verb, *run, way, spec)

    def by_id(self, verb: str, row: dict[str, Any], way: int) -> None:
        store, task_id = self.store, row["id"]
        if verb == "publish":
            store.publications.mark_queued(store.publications.find([task_id]))
        elif verb == "claim":
            self.claim(row)
        elif verb == "join":
            store.joins.join(row["parent_id"] if way % 2 else task_id)
        elif verb == "settle":
            store.joins.settle(task_id)
        elif verb == "expire":
            make_late(store, task_id)
            if store.take_backs.expire(task_id, OOPS) and way % 3:
                store.joins.settle(task_id)
        elif verb in {"retry", "force"}:
            refused(lambda: store.interventions.retry(task_id, EVERYONE, force=verb == "force"))
        elif verb == "cancel":
            refused(lambda: store.interventions.cancel(task_id, EVERYONE))

    def by_loop(self, verb: str, way: int) -> None:
        if verb == "wait":
            self.clock.advance(SECOND)
        elif verb == "reconcile":
            self.reconcile()
        else:
            for task_id in self.store.take_backs.rescue(
                OOPS, lease=SECOND, limit=50, max_crashes=2
            ):
                if way % 2:
                    self.store.joins.settle(task_id)

    def claim(self, row: dict[str, Any]) -> None:
        token = str(uuid7())
        if row["chunk"]:
            found = self.store.runs.claim_chunk(
                row["chunk"], token=token, worker="w", max_attempts=3, count=2
            )
            self.runs += [(one.id, token) for one in found if one.granted]
        else:
            one = self.store.runs.claim(row["id"], token=token, worker="w", max_attempts=3)
            self.runs += [(row["id"], token)] if one.granted else []

    def of_run(self, verb: str, task_id: str, token: str, way: int, spec: FanOutSpec) -> None:
        store = self.store
        ends: dict[str, Callable[[], Any]] = {
            "fail": lambda: store.outcomes.fail(task_id, token, OOPS),
            "error": lambda: store.outcomes.error(task_id, token, OOPS, timedelta(0)),
            "cancel own": lambda: store.outcomes.cancel(task_id, token, OOPS),
            "halt": lambda: store.outcomes.halt(task_id, token, OOPS),
            "snooze": lambda: store.outcomes.snooze(task_id, token, SECOND),
            "hand back": lambda: store.outcomes.hand_back(task_id, token, "shutdown"),
            "crash": lambda: store.outcomes.crash(
                task_id, token, OOPS, delay=timedelta(0), max_crashes=2
            ),
            "revoke": lambda: store.take_backs.revoke(task_id, token, OOPS),
            "finish": lambda: store.endings.finish(
                task_id, token, payload(way), NO_REPORT, [HANDLER] * (1 + way % 2)
            ),
            "fan out": lambda: store.fan_outs.split(task_id, token, lambda: parts(way % 4), spec),
        }
        if verb == "complete":
            self.complete(task_id, token, way)
            return
        said = ends[verb]()
        if verb != "fan out" and (said is True or said in TERMINAL) and way % 3:
            # Else the process died before it could ask.
            self.ask(task_id, badly=True)

    def complete(self, task_id: str, token: str, way: int) -> None:
        row = self.row(task_id)
        if row["role"] == TaskRole.STEP and way % 4:
            self.store.endings.complete_step(
                task_id, token, payload(way), NO_REPORT, row["parent_id"]
            )
            return
        if row["chunk"]:
            said = self.store.outcomes.complete_many(token, {task_id: payload(way)})
        else:
            said = {self.store.outcomes.complete(task_id, token, payload(way))} & {S.COMPLETED}
        if said and way % 3:
            self.ask(task_id, badly=False)

    def ask(self, task_id: str, *, badly: bool) -> None:
        row = self.row(task_id)
        if row["role"] != TaskRole.PART:
            self.store.joins.settle(task_id)
        elif not self.store.joins.part_ended(row["parent_id"], badly=badly).open:
            # The body of the chord; its duplicates come as joins of their own.
            self.store.joins.join(row["parent_id"])

    def reconcile(self) -> None:
        self.store.joins.stop_overdue(50)
        after = ""
        while found := self.store.joins.neglected(3, after):
            for parent_id in found:
                self.store.joins.join(parent_id)
            after = found[-1]

    # --- what must hold all the time --------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        wanted = (
            "id, parent_id, role, kind, status, position, chunk, held_by, waits_for, attempt,"
            " spared, worker, claim_token, CAST(spec AS TEXT) AS spec,"
            " CAST(result AS TEXT) AS result, CAST(error AS TEXT) AS error, cancel_requested_at"
        )
        found = write(self.store, f"SELECT {wanted} FROM taskdb_task ORDER BY id")
        rows = [dict(row) for row in found]
        for row in rows:
            for name in ("id", "parent_id", "chunk"):
                row[name] = row[name] and str(row[name])
            for name in ("spec", "result", "error"):
                row[name] = as_json(row[name])
        return rows

    def row(self, task_id: str) -> dict[str, Any]:
        return next(row for row in self.rows() if row["id"] == task_id)

    def check(self) -> None:
        rows = self.rows()
        below = children(rows)
        for row in rows:
            if row["status"] in TERMINAL:
                still = [one for one in below[row["id"]] if one["status"] not in TERMINAL]
                assert not still, story(self.done, row, still)
                assert row["held_by"] is None, story(self.done, row)
            if row["waits_for"] is not None:
                assert row["worker"] is None, story(self.done, row)
            window = (row["spec"] or {}).get("fan_out", {}).get("max_concurrency")
            if window is not None:
                busy = [one for one in below[row["id"]] if is_busy(one)]
                assert len(busy) <= window, story(self.done, row, busy)
        self.check_history(rows)

    def check_history(self, rows: list[dict[str, Any]]) -> None:
        leaves = {row["id"] for row in rows if row["spec"] is None}
        found = write(
            self.store,
            "SELECT id, task_id, from_status, to_status, attempt FROM taskdb_event"
            " WHERE id > :last ORDER BY id",
            last=self.last_event,
        )
        for event in found:
            self.last_event = event["id"]
            key, attempt = str(event["task_id"]), event["attempt"]
            source, target = event["from_status"], event["to_status"]
            before, before_attempt = self.last.get(key, (None, 0))
            assert source == before, story(self.done, dict(event), before)
            assert attempt >= before_attempt, story(self.done, dict(event))
            if source is not None and source != target:
                assert (S(source), S(target)) in PAIRS, story(self.done, dict(event))
            if source in RUNNING and target not in RUNNING and key in leaves:
                self.outcomes[key, attempt] += 1
                assert self.outcomes[key, attempt] == 1, story(self.done, dict(event))
            self.last[key] = (target, attempt)
        for row in rows:
            assert self.last[row["id"]] == (row["status"], row["attempt"]), story(self.done, row)

    # --- the end ----------------------------------------------------------------------------------

    def drain(self) -> None:
        """Run what can run, and let the loop do what nobody did, until nothing moves any more."""
        for _ in range(ROUNDS):
            self.reconcile()
            self.check()
            leaves = [row for row in self.rows() if can_run(row)]
            if not leaves:
                return
            self.clock.advance(SECOND)
            for row in leaves:
                self.run_out(row)
        raise AssertionError(("it never ends", self.done, self.rows()))

    def run_out(self, row: dict[str, Any]) -> None:
        if row["status"] not in RUNNING:
            self.claim(row)
        now = self.row(row["id"])
        if now["status"] in RUNNING and now["waits_for"] is None:
            if now["cancel_requested_at"] is not None:
                self.store.outcomes.cancel(now["id"], now["claim_token"], OOPS)
            else:
                # Without the join: that is the loop's.
                self.store.outcomes.complete(now["id"], now["claim_token"], payload(2))

    def check_end(self) -> None:
        rows = self.rows()
        below = children(rows)
        for row in rows:
            assert row["held_by"] is None, story(self.done, row)
            if row["status"] not in TERMINAL:
                halted = any(one["status"] == S.HALTED for one in under(row, below))
                assert halted, story(self.done, row, list(under(row, below)))
            elif "fan_out" in (row["spec"] or {}):
                self.check_fan_out(row, below[row["id"]])
            elif "sequence" in (row["spec"] or {}):
                self.check_sequence(row, below[row["id"]])

    def check_fan_out(self, row: dict[str, Any], below: list[dict[str, Any]]) -> None:
        spec = FanOutSpec.from_json(row["spec"]["fan_out"])
        by_status: dict[TaskStatus, int] = defaultdict(int)
        for one in below:
            if one["role"] == TaskRole.PART:
                by_status[S(one["status"])] += 1
        counts = Counts(by_status)
        assert self.store.fan_outs.counts(row["id"], EVERYONE) == counts
        if row["status"] == S.COMPLETED:
            assert spec.has_succeeded(counts), story(self.done, row)
            if spec.on_join is None:
                assert row["result"] == counts.as_json(), story(self.done, row)
        elif row["status"] == S.FAILED and row["error"]["type"] == "JoinFailed":
            assert not spec.has_succeeded(counts), story(self.done, row)

    def check_sequence(self, row: dict[str, Any], below: list[dict[str, Any]]) -> None:
        if row["status"] != S.COMPLETED:
            return
        spec = SequenceSpec.from_json(row["spec"]["sequence"])
        run = [
            one for one in below if one["role"] == TaskRole.STEP and one["position"] >= spec.base
        ]
        if "on_error" not in spec.handlers:
            assert [one["status"] for one in run] == [S.COMPLETED] * len(spec.steps), self.done


PAIRS = allowed_pairs()


def parts(count: int) -> Iterator[Draft]:
    return (replace(draft(type="part", input=number), name="part") for number in range(count))


def payload(way: int) -> Payload:
    value = (None, 1, [1, 2], [], "text", [3])[way % 6]
    return Payload(value, None if value is None else encode(value, "result"))


def refused(act: Callable[[], Any]) -> None:
    """Do it by hand; a refusal must be one that says so."""
    try:
        act()
    except (IllegalMove, SequenceAlreadyCompleted):
        return


def story(*parts_of_it: Any) -> str:
    """All of it: pytest would shorten what is no text."""
    return "\n".join(map(str, parts_of_it))


def children(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["parent_id"]:
            found[row["parent_id"]].append(row)
    return found


def under(row: dict[str, Any], below: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    yield row
    for one in below[row["id"]]:
        yield from under(one, below)


def is_busy(row: dict[str, Any]) -> bool:
    # One that waits for parts of its own may be reopened while the window is full.
    over = {*TERMINAL, S.HALTED}
    is_open = row["status"] not in over and row["waits_for"] is None
    return row["role"] == TaskRole.PART and row["held_by"] is None and is_open


def can_run(row: dict[str, Any]) -> bool:
    over = {*TERMINAL, S.HALTED}
    return row["status"] not in over and row["held_by"] is None and row["waits_for"] is None
