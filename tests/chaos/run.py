"""One cell: bring its tasks to the moment, break, mend, wait until all is over, and judge."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.chaos import hold, poison, role, tasks
from tests.chaos.cell import (
    PUBLISHING,
    RESTING,
    RUNNING,
    WATCHED,
    Cell,
    Fault,
    Load,
    Loop,
    Moment,
    Victim,
)
from tests.chaos.fault import Breaking, Cast
from tests.chaos.ground import Ground, Lane
from tests.chaos.journal import Journal
from tests.chaos.judge import Evidence, Judgement, judge
from tests.chaos.reader import Reader
from tests.waiting import wait_until

DEADLINE_SECONDS = {Load.MIX: 40.0, Load.THOUSAND: 120.0}
"""What has not ended so long after the fault is lost."""
_LATE_SECONDS = 4.0
_PUBLISHER_SECONDS = 10.0
_QUIET_SECONDS = 0.4
_FIRED = "type = 'chaos.fired'"
_OPEN = f"status NOT IN ('COMPLETED', 'FAILED', 'CANCELED') AND {poison.IS_NONE}"


class MissedError(Exception):
    """The moment was over when the fault began: the machine is too slow, the cell is repeated."""


@dataclass
class Verdict:
    """What a cell came to. Times are seconds since the fault; None: nobody noticed, or not over."""

    cell: Cell
    seed: int
    detect: float | None = None
    recover: float | None = None
    judgement: Judgement = field(default_factory=lambda: Judgement([], [], 0))
    restarts: int = 0
    """Workers and beats that ended though nobody had ended them, and were started again."""
    rows: int = 0
    seconds: float = 0.0
    error: str = ""
    evidence: str = ""
    """The stories of the tasks that are lost or lie, and the ends of the logs."""

    @property
    def is_good(self) -> bool:
        return not self.error and not self.restarts and self.judgement.is_good


def run_cell(cell: Cell, seed: int, lane: Lane) -> Verdict:
    """Run it; an error of the cell itself is in the verdict. Repeated when it missed its moment."""
    began = time.monotonic()
    for patience in (1.0, 2.0, 4.0):
        verdict = Verdict(cell, seed)
        try:
            with lane.ground(cell) as ground:
                _Run(cell, seed, ground, patience).fill(verdict)
        except MissedError as error:
            verdict.error = str(error)
            continue
        except Exception as error:  # noqa: BLE001 - the other cells go on
            verdict.error = f"{type(error).__name__}: {error}"
        break
    verdict.seconds = time.monotonic() - began
    return verdict


class _Run:
    def __init__(self, cell: Cell, seed: int, ground: Ground, patience: float) -> None:
        self._cell = cell
        self._ground = ground
        self._patience = patience
        self._restarts = 0
        chance = cell.chance(seed)
        self._watched = chance.choice(WATCHED)
        self._skip = chance.randrange(4)
        # Whether who stands at the moment goes on only when others have taken its work over.
        self._is_late = chance.random() < 0.5 and (
            cell.victim is Victim.MAIN or (cell.victim, cell.fault) == (Victim.WORKER, Fault.STOP)
        )

    def fill(self, verdict: Verdict) -> None:
        """Carry the cell out."""
        ground = self._ground
        if self._cell.loop is not None:
            self._poison(verdict, self._cell.loop)
            return
        cast = self._start()
        self._reach_the_moment()
        cast.child = self._child()
        breaking = Breaking(self._cell, ground, cast)
        due = self._due()
        reader = Reader(ground)
        if self._cell.fault is Fault.RESTORE:
            reader.read()
        fault_at = time.time()
        breaking.begin()
        if due is not None and time.time() >= due:
            raise MissedError("the moment was over when the fault began")
        breaking.replace()
        if not self._is_late:
            self._let_go()
        time.sleep(breaking.seconds)
        breaking.end()
        recovered_at = self._wait_until_over(fault_at)
        verdict.restarts = self._restarts
        if recovered_at is None:
            verdict.error = "not over in time"
        else:
            verdict.recover = recovered_at - fault_at
            if self._cell.fault is Fault.RESTORE:
                verdict.error = reader.complaint()
        verdict.detect = _detected(ground, self._cell, fault_at)
        evidence = self._evidence()
        verdict.rows = len(evidence.tasks)
        verdict.judgement = judge(evidence)
        if not verdict.is_good:
            verdict.evidence = _story(ground, evidence, verdict.judgement)

    def _poison(self, verdict: Verdict, loop: Loop) -> None:
        """A row is there that a loop cannot work on: all others end, and the doctor lists it."""
        ground = self._ground
        poison.insert(ground, loop)
        began = time.time()
        self._start()
        ground.wait_for(role.SUBMITTED)
        self._let_go()
        recovered_at = self._wait_until_over(began)
        verdict.restarts = self._restarts
        if recovered_at is None:
            verdict.error = "not over in time"
        else:
            verdict.recover = recovered_at - began
        with suppress(AssertionError):
            wait_until(lambda: poison.is_listed(ground, loop), 10)
        if not poison.is_listed(ground, loop):
            verdict.error = verdict.error or "the doctor does not list the row"
        verdict.detect = _detected(ground, self._cell, began)
        evidence = self._evidence()
        verdict.rows = len(evidence.tasks)
        verdict.judgement = judge(evidence)
        if not verdict.is_good:
            verdict.evidence = _story(ground, evidence, verdict.judgement)

    # --- to the moment ------------------------------------------------------------------------

    def _start(self) -> Cast:
        cell, ground = self._cell, self._ground
        in_relay = cell.victim is Victim.BEAT and cell.moment in PUBLISHING
        stands = {
            hold.MOMENT: cell.moment.value,
            hold.WATCHED: self._watched,
            # One that was missed is had at the first that comes by.
            hold.SKIP: str(0 if in_relay or self._patience > 1 else self._skip),
        }
        load = {
            role.LOAD: cell.load.value,
            role.DELAY: str(2.0 * self._patience),
            role.BLOCKERS: "2" if cell.moment is Moment.QUEUED and cell.loop is None else "0",
        }
        relay = {role.TO_RELAY: "1"} if in_relay else {}
        worker = ground.start_worker(**stands)
        beat = ground.start_beat(**(stands | relay))
        given = (load | relay) if in_relay else (load | stands)
        submitter = ground.start("submitter", **given)
        worker.wait_for_output(" ready.")
        beat.wait_for_output("beat.started")
        ground.wait_for(role.READY)
        ground.touch(role.BEGIN)
        return Cast(submitter, worker, beat, None)

    def _reach_the_moment(self) -> None:
        cell, ground = self._cell, self._ground
        if cell.moment not in PUBLISHING:
            ground.wait_for(role.SUBMITTED)
        if cell.moment in PUBLISHING:
            self._wait_for_a_publisher()
            return
        if cell.moment not in RESTING:
            ground.wait_for(hold.HELD)
            return
        where = {
            Moment.QUEUED: "status = 'CREATED' AND held_by IS NULL",
            Moment.SCHEDULED: "type = 'chaos.later' AND status = 'SCHEDULED'",
            Moment.RETRYING: "type = 'chaos.retries' AND status = 'ERRORED'",
        }[cell.moment]
        wanted = (lambda n: n == 0) if cell.moment is Moment.QUEUED else (lambda n: n > 0)
        wait_until(
            lambda: wanted(ground.count(where)),
            20,
            lambda: f"{cell.moment}: {ground.tails()}",
        )

    def _wait_for_a_publisher(self) -> None:
        """A submitter whose publisher had no answer in time leaves the rest to the relay."""
        ground = self._ground
        ground.wait_for_one_of(hold.HELD, role.SUBMITTED)
        with suppress(AssertionError):
            ground.wait_for(hold.HELD, _PUBLISHER_SECONDS)
        if not ground.has(hold.HELD):
            message = "all was submitted, and nobody came by the moment: the machine is too slow"
            raise MissedError(message)

    def _child(self) -> int | None:
        """The child that stands at the moment."""
        if self._cell.moment in RUNNING:
            return int((self._ground.folder / hold.HELD).read_text())
        return self._journal().processes.get("chaos.blocks")

    def _due(self) -> float | None:
        """When the moment is over by itself, as seconds of the epoch."""
        type = {Moment.SCHEDULED: "chaos.later", Moment.RETRYING: "chaos.retries"}.get(
            self._cell.moment
        )
        if type is None:
            return None
        found = self._ground.query(
            f"SELECT max(run_at) AS due FROM taskdb_task WHERE type = '{type}'"
            " AND status IN ('SCHEDULED', 'ERRORED')"
        )
        return found[0]["due"].timestamp() if found[0]["due"] else 0.0

    # --- after the fault ----------------------------------------------------------------------

    def _let_go(self) -> None:
        self._ground.touch(hold.GO)
        self._ground.touch(tasks.OPEN)

    def _wait_until_over(self, fault_at: float) -> float | None:
        """Wait until every task is over and nothing moves any more; when the last one ended."""
        deadline = time.monotonic() + DEADLINE_SECONDS[self._cell.load]
        if self._is_late:
            late = time.monotonic() + _LATE_SECONDS
            while not self._is_over() and time.monotonic() < late:
                self._restarts += self._ground.start_again()
                time.sleep(0.1)
            self._let_go()
        is_over = False
        while not is_over and time.monotonic() < deadline:
            is_over = self._is_over() and self._is_quiet()
            self._restarts += self._ground.start_again()
            time.sleep(0.05)
        if not is_over:
            return None
        last = self._ground.query("SELECT max(ended_at) AS at FROM taskdb_task")[0]["at"]
        return max(last.timestamp(), fault_at)

    def _is_over(self) -> bool:
        if self._cell.victim is not Victim.SUBMITTER and not self._ground.has(role.SUBMITTED):
            return False
        is_all_there = self._ground.count(_FIRED) >= self._journal().schedules
        return is_all_there and self._ground.count(_OPEN) == 0

    def _is_quiet(self) -> bool:
        """Whoever stood still has gone on, and for a while no row has moved."""
        before = self._moves()
        time.sleep(_QUIET_SECONDS)
        return self._moves() == before

    def _moves(self) -> int:
        return int(self._ground.query("SELECT count(*) AS n FROM taskdb_event")[0]["n"])

    # --- what is left -------------------------------------------------------------------------

    def _evidence(self) -> Evidence:
        query = self._ground.query
        return Evidence(
            tasks=query(
                f"SELECT * FROM taskdb_task WHERE {poison.IS_NONE} ORDER BY created_at, id"
            ),
            events=query("SELECT * FROM taskdb_event ORDER BY id"),
            slots=int(
                query("SELECT count(*) AS n FROM taskdb_slot WHERE task_id IS NOT NULL")[0]["n"]
            ),
            journal=self._journal(),
            may_crash=self._cell.fault is not Fault.TERM,
        )

    def _journal(self) -> Journal:
        return Journal.read(self._ground.folder / "journal")


def _detected(ground: Ground, cell: Cell, fault_at: float) -> float | None:
    """Seconds from the fault to the first sign that someone noticed.

    A warning (or worse) in a log; a row that was taken back; and, where a publisher was broken, a
    row that another one published.
    """
    signs = [at for at in _warnings(ground) if at >= fault_at]
    events = ground.query(
        "SELECT e.*, t.type FROM taskdb_event AS e JOIN taskdb_task AS t ON t.id = e.task_id"
        " WHERE e.from_status <> e.to_status ORDER BY e.at"
    )
    publishes = cell.victim in {Victim.SUBMITTER, Victim.BEAT}
    for event in events:
        is_back = event["to_status"] == "CREATED" or (
            event["to_status"] in {"ERRORED", "HALTED"} and event["type"] != "chaos.retries"
        )
        if is_back or (publishes and event["to_status"] == "QUEUED"):
            signs.append(event["at"].timestamp())
    signs = [at for at in signs if at >= fault_at]
    return min(signs) - fault_at if signs else None


def _warnings(ground: Ground) -> Iterator[float]:
    for process in ground.processes.started:
        for line in process.output.splitlines():
            if not line.startswith("{"):
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("level") in {"warning", "error", "critical"} and "timestamp" in entry:
                yield _moment(entry["timestamp"])


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def _story(ground: Ground, evidence: Evidence, judgement: Judgement) -> str:
    """The histories of the first tasks that are lost or lie, and the ends of the logs."""
    lines = []
    for finding in [*judgement.lies, *judgement.lost][:8]:
        lines.append(f"{finding.task_id}: {finding.what}")
        row: dict[str, Any] = next(
            (dict(one) for one in evidence.tasks if str(one["id"]) == finding.task_id), {}
        )
        kept = (
            *("type", "kind", "role", "parent_id", "attempt", "worker", "waits_for", "held_by"),
            *("relay_at", "queued_at", "run_at"),
        )
        lines.append("    " + " ".join(f"{name}={row.get(name)}" for name in kept))
        lines += [
            f"    {event['at']:%H:%M:%S.%f} {event['from_status']} -> {event['to_status']}"
            f" attempt {event['attempt']} {event['worker'] or ''} {event['detail'] or ''}"
            for event in evidence.events
            if str(event["task_id"]) == finding.task_id
        ]
    return "\n".join([*lines, ground.tails(60)])
