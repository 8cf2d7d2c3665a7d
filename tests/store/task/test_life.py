"""Any order of verbs, duplicates and late ones included, against what must always hold."""

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from taskdb.errors import IllegalMove
from taskdb.model.clock import FixedClock
from taskdb.model.outcome import Report
from taskdb.model.status import MOVES, RUNNING, TERMINAL, WAITING, TaskStatus
from taskdb.store.contract import EVERYONE, Publication
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.store import Store
from tests.store.tasks import DONE, OOPS, draft

S = TaskStatus
WORKERS = st.sampled_from(["w-1", "w-2"])
DELAYS = st.sampled_from([timedelta(0), timedelta(minutes=1)])
AGAIN = {"error": S.ERRORED, "snooze": S.SCHEDULED, "hand_back": S.CREATED}
OVER = {"complete": S.COMPLETED, "fail": S.FAILED, "halt": S.HALTED, "cancel_own": S.CANCELED}


@dataclass
class Known:
    """What the model knows of a task."""

    status: TaskStatus
    attempt: int = 0
    token: str = ""
    worker: str = ""
    wanted: bool = False
    accepted: dict[int, int] = field(default_factory=dict)


class Life(RuleBasedStateMachine):
    """Verbs against a model: who holds which task, and where it stands."""

    ids = Bundle("ids")
    items = Bundle("items")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{Path(self.folder.name) / 'tasks.sqlite3'}"
        migrate(url)
        self.clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.store = Store(url, clock=self.clock)
        self.known: dict[str, Known] = {}
        self.tokens = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    @rule(target=ids, delay=st.none() | DELAYS)
    def submit(self, delay: timedelta | None) -> str:
        created = self.store.submissions.create([draft(delay=delay)], EVERYONE)[0]
        self.known[created.id] = Known(S.SCHEDULED if delay else S.CREATED)
        return created.id

    @rule(by=st.integers(-90, 90))
    def time_passes(self, by: int) -> None:
        self.clock.advance(timedelta(seconds=by))

    @rule(target=items, task_id=ids)
    def look(self, task_id: str) -> Publication:
        return self.store.publications.find([task_id])[0]

    @rule(item=items)
    def mark(self, item: Publication) -> None:
        now = self.store.publications.find([item.id])[0]
        moved = self.store.publications.mark_queued([item])
        known = self.known[item.id]
        if known.status in MOVES["queue"].sources and now.relay_at == item.relay_at:
            assert moved == {item.id}
            known.status = S.QUEUED
        else:
            assert moved == set()

    @rule(task_id=ids, worker=WORKERS)
    def claim(self, task_id: str, worker: str) -> None:
        self.tokens += 1
        token = f"token-{self.tokens}"
        known = self.known[task_id]
        run_at = self.store.tasks.get(task_id, EVERYONE).run_at
        late = known.status in {S.SCHEDULED, S.ERRORED} and run_at and run_at > self.clock.at
        answer = self.store.runs.claim(task_id, token=token, worker=worker, max_attempts=3)
        assert answer.granted == (known.status in WAITING and not late)
        if answer.granted:
            assert answer.attempt == known.attempt + 1
            known.status, known.attempt = S.STARTED, answer.attempt
            known.token, known.worker = token, worker

    @rule(task_id=ids, old=st.booleans(), verb=st.sampled_from([*AGAIN, *OVER]), delay=DELAYS)
    def outcome(self, task_id: str, verb: str, delay: timedelta, *, old: bool) -> None:
        known = self.known[task_id]
        token = "token-0" if old else known.token
        mine = not old and known.status in RUNNING
        said = self._say(verb, task_id, token, delay)
        if not mine:
            assert said in {None, known.status}
            return
        target = {**AGAIN, **OVER}[verb]
        if known.wanted and verb != "complete":
            target = S.CANCELED
        assert said is target
        self._ended(known, target)

    def _say(self, verb: str, task_id: str, token: str, delay: timedelta) -> TaskStatus | None:
        if verb == "complete":
            return self.store.outcomes.complete(task_id, token, DONE)
        if verb == "error":
            return self.store.outcomes.error(task_id, token, OOPS, delay)
        if verb == "snooze":
            return self.store.outcomes.snooze(task_id, token, delay)
        if verb == "hand_back":
            return self.store.outcomes.hand_back(task_id, token, "life")
        end = {"fail": self.store.outcomes.fail, "halt": self.store.outcomes.halt}.get(
            verb, self.store.outcomes.cancel
        )
        return end(task_id, token, OOPS)

    def _ended(self, known: Known, target: TaskStatus) -> None:
        known.status, known.wanted = target, False
        known.accepted[known.attempt] = known.accepted.get(known.attempt, 0) + 1

    @rule(task_id=ids)
    def progress(self, task_id: str) -> None:
        known = self.known[task_id]
        moved = self.store.runs.progress(task_id, known.token, Report(current=1))
        assert moved == (known.status in RUNNING)
        if moved:
            known.status = S.PROCESSING

    @rule(worker=WORKERS)
    def worker_stops(self, worker: str) -> None:
        mine = [
            known
            for known in self.known.values()
            if known.status in RUNNING and known.worker == worker
        ]
        assert self.store.endings.hand_back_worker(worker, "shutdown") == len(mine)
        for known in mine:
            self._ended(known, S.CANCELED if known.wanted else S.CREATED)
            known.token = ""

    @rule(task_id=ids)
    def cancel(self, task_id: str) -> None:
        known = self.known[task_id]
        try:
            self.store.interventions.cancel(task_id, EVERYONE)
        except IllegalMove:
            assert known.status in TERMINAL
            return
        if known.status in RUNNING:
            known.wanted = True
        else:
            assert known.status in WAITING | {S.HALTED, S.CANCELED}
            known.status = S.CANCELED

    @rule(task_id=ids)
    def retry(self, task_id: str) -> None:
        known = self.known[task_id]
        try:
            self.store.interventions.retry(task_id, EVERYONE)
        except IllegalMove:
            assert known.status not in MOVES["retry"].sources
            return
        assert known.status in MOVES["retry"].sources
        known.status, known.wanted, known.token = S.CREATED, False, ""

    @invariant()
    def rows_are_where_the_model_is(self) -> None:
        for task_id, known in getattr(self, "known", {}).items():
            task = self.store.tasks.get(task_id, EVERYONE)
            assert (task.status, task.attempt) == (known.status, known.attempt)
            assert 0 <= task.spared <= task.attempt
            assert (task.ended_at is not None) == (task.status in TERMINAL)
            assert all(count == 1 for count in known.accepted.values())

    @invariant()
    def histories_are_whole(self) -> None:
        for task_id in getattr(self, "known", {}):
            events = self.store.tasks.history(task_id, EVERYONE)
            assert events[0].from_status is None
            for before, after in pairwise(events):
                assert after.from_status is before.to_status
                assert after.attempt >= before.attempt
                if before.to_status in TERMINAL:
                    assert after.to_status is S.CREATED
            assert events[-1].to_status is self.known[task_id].status


Life.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLife = Life.TestCase
