"""A task that needs several limits gets its turn, however many younger ones need one of them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from taskdb.model.clock import FixedClock
from taskdb.model.limit import Limit
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.cases import each
from tests.rounds import rounds
from tests.store.admission_steps import begin, held_by, released, slots
from tests.store.tasks import DONE, create, write

Values = Mapping[str, Any]
MINUTE = timedelta(minutes=1)
QUEUE, TYPE, TENANT = ("queue", "q"), ("type", "a"), ("tenant", "t")
ALONE: dict[str, Values] = {
    "queue": {"queue": "q", "type": "x", "tenant": "u"},
    "type": {"queue": "r", "type": "a", "tenant": "u"},
    "tenant": {"queue": "r", "type": "x", "tenant": "t"},
    "mutex": {"queue": "r", "type": "x", "tenant": "t", "mutex_key": "k"},
}
"""Tasks that need one limit, and of those of a tenant its mutex."""
ALL: Values = {"queue": "q", "type": "a", "tenant": "t"}
EXAMPLES = rounds(3, 12)
TURNS = 8
"""Ends of each kind of younger task within which the one with several limits goes."""


class Site:
    """A steady load: for each that ends, a younger one of the same kind has come."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.running: dict[str, str] = {}
        self.tokens = count()

    def go(self, **where: Any) -> list[str]:
        """Whoever a pass releases begins at once."""
        gone = [one for _ in range(3) for one in released(self.store, **where)]
        for one in gone:
            begin(self.store, one, f"t-{one}")
        return gone

    def end(self, task_id: str, lines: list[str] | None = None) -> list[str]:
        """A task ends, and its worker looks at the lines of what it gave back, as a beat at all."""
        self.store.outcomes.complete(task_id, f"t-{task_id}", DONE)
        first = [] if lines is None else self.go(keys=lines)
        return [*first, *self.go()]

    def ends_until(self, wanted: str, kinds: list[str]) -> int:
        """How often a task of each kind ends until this one goes; AssertionError if never."""
        newest = {kind: create(self.store, **ALONE[kind]) for kind in kinds}
        at_work = {kind: self._at_work(kind) for kind in kinds}
        for turn in range(TURNS):
            for kind in kinds:
                if at_work[kind] is None:
                    continue
                gone = self.end(str(at_work[kind]))
                if wanted in gone:
                    return turn
                if newest[kind] in gone:
                    at_work[kind], newest[kind] = newest[kind], create(self.store, **ALONE[kind])
                else:
                    at_work[kind] = None
        raise AssertionError(held_by(self.store, wanted))

    def _at_work(self, kind: str) -> str:
        values = ALONE[kind]
        where = " AND ".join(f"{name} = '{value}'" for name, value in values.items())
        found = write(
            self.store, f"SELECT id FROM taskdb_task WHERE status = 'STARTED' AND {where}"
        )
        return str(found[0]["id"])


CASES = {
    "queue and type": (["queue", "type"], {"queue": "q", "type": "a", "tenant": "u"}),
    "tenant and type": (["tenant", "type"], {"queue": "r", "type": "a", "tenant": "t"}),
    "mutex and type": (["mutex", "type"], {**ALONE["mutex"], "type": "a"}),
    "mutex and queue": (["mutex", "queue"], {**ALONE["mutex"], "queue": "q"}),
    "three limits": (["queue", "tenant", "type"], ALL),
    "a mutex and two limits": (["mutex", "queue", "type"], {**ALL, "mutex_key": "k"}),
}


@each("case", sorted(CASES))
@each("is_reversed", [False, True], alone=True)
def test_a_task_of_several_limits_goes_though_younger_ones_of_one_keep_coming(
    store: Store,
    case: str,
    is_reversed: bool,  # noqa: FBT001 - a case
) -> None:
    kinds, values = CASES[case]
    for kind, place in (("queue", QUEUE), ("type", TYPE), ("tenant", TENANT)):
        if kind in kinds:
            store.limits.set(place, Limit(max_running=1), EVERYONE)
    site = Site(store)
    for kind in kinds:
        create(store, **ALONE[kind])
    assert len(site.go()) == len(kinds)
    wanted = create(store, **values)
    assert site.go() == []
    site.ends_until(wanted, kinds[::-1] if is_reversed else kinds)
    assert write(store, "SELECT key FROM taskdb_reservation") == []


def test_a_task_of_a_window_and_a_limit_goes_though_younger_ones_keep_coming(
    store_url: str,
) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        store.limits.set(TENANT, Limit(max_running=1), EVERYONE)
        store.limits.set(TYPE, Limit(max_starts=1, per=MINUTE), EVERYONE)
        site = Site(store)
        of_tenant, of_type = create(store, **ALONE["tenant"]), create(store, **ALONE["type"])
        assert site.go() == [of_tenant, of_type]
        wanted = create(store, **{**ALL, "queue": "r"})
        gone: list[str] = []
        for _ in range(TURNS):
            younger = create(store, **ALONE["tenant"]), create(store, **ALONE["type"])
            gone = site.end(of_tenant)
            of_tenant = younger[0] if younger[0] in gone else of_tenant
            clock.advance(MINUTE)
            gone += site.go()
            if wanted in gone:
                break
        assert wanted in gone


def test_one_place_is_kept_for_the_oldest_and_the_others_are_free(store_url: str) -> None:
    """A hundred mails, one a minute, take one of the places of their tenant and not all."""
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        store.limits.set(TENANT, Limit(max_running=3), EVERYONE)
        store.limits.set(TYPE, Limit(max_starts=1, per=MINUTE), EVERYONE)
        site = Site(store)
        mail = {**ALL, "queue": "r"}
        first = create(store, **mail)
        assert site.go() == [first]
        for _ in range(10):
            create(store, **mail)
        others = [create(store, **ALONE["tenant"]) for _ in range(6)]
        assert site.go() == others[:2]
        for number in range(3):
            # Each place that is free is taken, also while mails wait for their minute.
            assert site.end(others[number]) == [others[number + 2]]


def test_a_pause_gives_up_the_places_that_were_kept(store: Store) -> None:
    site, wanted, younger = waits_with_a_place(store)
    assert site.go() == []
    store.limits.pause(("type", "a"), EVERYONE)
    assert site.go() == [younger]
    store.limits.lift_pause(("type", "a"), EVERYONE)
    assert held_by(store, wanted) == "running:type:a"


def test_a_cancel_gives_up_the_places_that_were_kept(store: Store) -> None:
    site, wanted, younger = waits_with_a_place(store)
    store.interventions.cancel(wanted, EVERYONE)
    assert site.go() == [younger]
    store.admission.sweep_slots(10)
    assert write(store, "SELECT key FROM taskdb_reservation") == []


def test_tasks_that_share_nothing_with_it_are_not_held_up(store: Store) -> None:
    site, _, _ = waits_with_a_place(store)
    apart = create(store, queue="r", type="x", tenant="u", mutex_key="m")
    assert site.go() == [apart]


def waits_with_a_place(store: Store) -> tuple[Site, str, str]:
    """A task that waits for its type and keeps the place of its queue, and one that wants that."""
    store.limits.set(QUEUE, Limit(max_running=1), EVERYONE)
    store.limits.set(TYPE, Limit(max_running=1), EVERYONE)
    site = Site(store)
    of_queue, of_type = create(store, **ALONE["queue"]), create(store, **ALONE["type"])
    assert site.go() == [of_queue, of_type]
    wanted = create(store, queue="q", type="a", tenant="u")
    assert site.go() == []
    younger = create(store, **ALONE["queue"])
    assert site.go() == []
    assert site.end(of_queue) == []
    assert held_by(store, wanted) == "running:type:a"
    assert slots(store) == [("running:type:a", 1)]
    return site, wanted, younger


class Stream:
    """Tasks of any limits that come all the time, and end in any order."""

    def __init__(self, store: Store, random: Random) -> None:
        self.store, self.random, self.site = store, random, Site(store)
        for table in (
            "taskdb_slot",
            "taskdb_reservation",
            "taskdb_limit",
            "taskdb_task",
            "taskdb_worker",
        ):
            write(store, f"DELETE FROM {table}")
        for place in (QUEUE, TYPE, TENANT):
            store.limits.set(place, Limit(max_running=random.choice([1, 1, 2])), EVERYONE)
        self.waiting: dict[str, tuple[frozenset[str], int]] = {}
        self.running: list[str] = []

    def create(self) -> None:
        choose = self.random.choice
        values = {
            "queue": choose("qr"),
            "type": choose("ax"),
            "tenant": choose("tu"),
            "mutex_key": choose([None, None, "k"]),
        }
        needs = {f"{name}:{value}" for name, value in values.items() if value in {*"qat", "k"}}
        task_id = create(self.store, **values)
        if needs:
            self.waiting[task_id] = (frozenset(needs), 0)

    def step(self) -> None:
        for _ in range(self.random.choice([1, 2])):
            self.create()
        if self.running:
            ended = self.running.pop(self.random.randrange(len(self.running)))
            self.store.outcomes.complete(ended, f"t-{ended}", DONE)
        for one in self.site.go():
            self.running.append(one)
            needs, _ = self.waiting.pop(one)
            self._overtakes(one, needs)

    def _overtakes(self, gone: str, needs: frozenset[str]) -> None:
        for one, (own, times) in self.waiting.items():
            if one < gone and own & needs:
                self.waiting[one] = (own, times + 1)
                assert times < 12 * len(own), (one, own, held_by(self.store, one))

    def drain(self) -> None:
        """Nobody waits for ever once nobody comes any more."""
        while self.waiting:
            before = len(self.waiting)
            while self.running:
                ended = self.running.pop()
                self.store.outcomes.complete(ended, f"t-{ended}", DONE)
            for one in self.site.go():
                self.running.append(one)
                del self.waiting[one]
            assert len(self.waiting) < before


@pytest.mark.rounds
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 10**6))
def test_nobody_is_overtaken_again_and_again(store: Store, seed: int) -> None:
    stream = Stream(store, Random(seed))
    for _ in range(60):
        stream.step()
    stream.drain()
