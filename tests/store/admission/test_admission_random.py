"""Whatever happens in whatever order: a rule is never broken, and nobody waits for ever."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from taskdb.model.limit import Limit
from taskdb.model.status import TERMINAL, TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.rounds import rounds
from tests.store.admission_steps import released
from tests.store.tasks import DONE, LEASE, OOPS, SOON, at_once, claim, create, make_due, write

EXAMPLES = rounds(6, 24)
LIMITS = {("type", "a"): 2, ("type", "b"): 1, ("tenant", "t"): 2, ("queue", "q"): 3}
PAUSES = [("queue", "q"), ("type", "a"), ("tenant", "t")]
PLACE = (
    "status IN ('QUEUED', 'STARTED', 'PROCESSING')"
    " OR held_by IS NULL AND status IN ('CREATED', 'SCHEDULED', 'ERRORED')"
)
"""Who has been let go, and is not over."""


class Crowd:
    """Tasks with limits and mutexes, and every operation of people, workers and loops on them."""

    def __init__(self, store: Store, random: Random) -> None:
        self.store = store
        self.random = random
        self.ids: list[str] = []
        for table in ("taskdb_slot", "taskdb_limit", "taskdb_task", "taskdb_worker"):
            write(store, f"DELETE FROM {table}")
        for place, number in LIMITS.items():
            store.limits.set(place, Limit(max_running=number), EVERYONE)

    def create(self) -> None:
        choose = self.random.choice
        self.ids.append(
            create(
                self.store,
                type=choose("abc"),
                tenant=choose("tu"),
                queue=choose("qr"),
                mutex_key=choose([None, "k", "l"]),
            )
        )

    def release(self) -> None:
        released(self.store, self.random.choice([1, 3, 500]))

    def publish(self) -> None:
        due = self.store.publications.find(self.ids)
        self.store.publications.mark_queued([one for one in due if self.random.random() < 0.7])

    def claim(self) -> None:
        task_id = self._one()
        if task_id and not claim(self.store, task_id, f"t-{task_id}"):
            self.store.runs.hold(task_id)

    def end(self) -> None:
        self._end_by(
            lambda i, t: self.store.outcomes.complete(i, t, DONE),
            lambda i, t: self.store.outcomes.error(i, t, OOPS, SOON),
            lambda i, t: self.store.outcomes.snooze(i, t, SOON),
            lambda i, t: self.store.outcomes.hand_back(i, t, "reason"),
            lambda i, t: self.store.outcomes.halt(i, t, OOPS),
            lambda i, t: self.store.outcomes.crash(i, t, OOPS, delay=SOON, max_crashes=3),
        )

    def rescue(self) -> None:
        self.store.take_backs.rescue(OOPS, lease=timedelta(0), limit=2, max_crashes=3)

    def cancel(self) -> None:
        task_id = self._one()
        if self.store.tasks.get(task_id, EVERYONE).status not in {*TERMINAL, TaskStatus.STARTED}:
            self.store.interventions.cancel(task_id, EVERYONE)

    def toggle(self) -> None:
        place = self.random.choice(PAUSES)
        if not self.store.limits.lift_pause(place, EVERYONE):
            self.store.limits.pause(place, EVERYONE)

    def sweep(self) -> None:
        assert self.store.admission.sweep_slots(100) == 0

    def check(self) -> None:
        """No rule is broken, and who has a place has its slots."""
        rows = write(self.store, f"SELECT * FROM taskdb_task WHERE {PLACE}")
        mutexes = Counter((row["tenant"], row["mutex_key"]) for row in rows if row["mutex_key"])
        assert max(mutexes.values(), default=0) <= 1, mutexes
        for (target, name), number in LIMITS.items():
            assert sum(row[target] == name for row in rows) <= number, (target, name)
        assert sorted(_needs(rows)) == sorted(
            row["key"] for row in write(self.store, "SELECT key FROM taskdb_slot")
        )

    def finish(self) -> None:
        """Without pauses all come to their end."""
        for place in PAUSES:
            self.store.limits.lift_pause(place, EVERYONE)
        for _ in range(20 + 20 * len(self.ids)):
            self.release()
            self.store.publications.mark_queued(self.store.publications.find(self.ids))
            for task_id in self._in("QUEUED"):
                assert claim(self.store, task_id, f"t-{task_id}"), self.store.tasks.get(
                    task_id, EVERYONE
                )
            for task_id in self._in("STARTED", "PROCESSING"):
                assert self.store.outcomes.complete(task_id, f"t-{task_id}", DONE)
            for task_id in self._in("HALTED"):
                self.store.interventions.retry(task_id, EVERYONE)
            for task_id in self._in("ERRORED", "SCHEDULED"):
                make_due(self.store, task_id)
            self.check()
            if all(self.store.tasks.get(one, EVERYONE).status in TERMINAL for one in self.ids):
                return
        raise AssertionError([self.store.tasks.get(one, EVERYONE) for one in self.ids])

    def _one(self) -> str:
        return self.random.choice(self.ids)

    def _in(self, *statuses: str) -> list[str]:
        return [one for one in self.ids if self.store.tasks.get(one, EVERYONE).status in statuses]

    def _end_by(self, *ends: Callable[[str, str], TaskStatus | None]) -> None:
        running = self._in("STARTED", "PROCESSING")
        if running:
            task_id = self.random.choice(running)
            self.random.choice(ends)(task_id, f"t-{task_id}")


def _needs(rows: list[dict[str, str]]) -> list[str]:
    keys = []
    for row in rows:
        keys += [f"running:{target}:{name}" for target, name in LIMITS if row[target] == name]
        if row["mutex_key"]:
            keys.append(f"mutex:{row['tenant']}/{row['mutex_key']}")
    return keys


ACTS = [
    "create",
    "create",
    "release",
    "publish",
    "claim",
    "end",
    "rescue",
    "cancel",
    "toggle",
    "sweep",
]


@pytest.mark.rounds
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(acts=st.lists(st.sampled_from(ACTS), min_size=10, max_size=40), seed=st.integers(0, 10**6))
def test_no_rule_is_broken_and_nobody_waits_for_ever(
    store: Store, acts: list[str], seed: int
) -> None:
    crowd = Crowd(store, Random(seed))
    crowd.create()
    for act in acts:
        getattr(crowd, act)()
        crowd.check()
    crowd.finish()


def test_workers_that_all_release_and_end_break_no_rule_and_wait_for_nobody(store: Store) -> None:
    """Tasks of two keys in opposite orders, eight at once: no deadlock, none is left."""
    for place, number in LIMITS.items():
        store.limits.set(place, Limit(max_running=number), EVERYONE)
    ids = [
        create(
            store, type="abc"[n % 3], tenant="tu"[n % 2], queue="qr"[n % 2], mutex_key="kl"[n % 2]
        )
        for n in range(60)
    ]
    broken: list[str] = []

    def work(number: int) -> int:
        count = 0
        for _ in range(2_000):
            for one in store.admission.release(5, LEASE).publications:
                store.publications.mark_queued([one])
                token = f"{number}-{count}"
                if claim(store, one.id, token):
                    broken.extend(_broken(store))
                    store.outcomes.complete(one.id, token, DONE)
                    count += 1
            if not store.admission.has_held():
                break
        return count

    assert sum(at_once(work, 8)) == len(ids)
    assert broken == []
    assert write(store, "SELECT key FROM taskdb_slot") == []


def _broken(store: Store) -> list[str]:
    rows = write(store, f"SELECT * FROM taskdb_task WHERE {PLACE}")
    mutexes = Counter((row["tenant"], row["mutex_key"]) for row in rows)
    return [str(key) for key, number in mutexes.items() if number > 1]
