"""Drift of the database server: beats, clock, partitions and vacuum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from taskdb.store.doctor.beat import Beats
from taskdb.store.doctor.finding import Drift, Limits, drift
from taskdb.store.doctor.vacuum import Vacuum
from taskdb.store.engine.database import Database
from taskdb.store.engine.postgresql.partitions import PARTITIONS_AHEAD
from taskdb.store.engine.types import moment
from taskdb.store.retention.partition import Partitions
from taskdb.store.task.statements import queries_of

_MEASUREMENTS = 3


class Skew(NamedTuple):
    """The seconds by which the clock of this host is ahead, and the error of that."""

    seconds: float
    error: float


class ServerDrifts:
    """Checks beats, partitions, vacuum and the clock."""

    def __init__(
        self, database: Database, beats: Beats, partitions: Partitions, vacuum: Vacuum
    ) -> None:
        self._database = database
        self._beats = beats
        self._partitions = partitions
        self._vacuum = vacuum

    def found(self, limits: Limits) -> Iterator[Drift]:
        """Yield the classes with findings."""
        for find in (
            self._without_beat,
            self._skewed,
            self._without_partition,
            self._in_default_partition,
            self._held_back,
            self._dead_rows,
            self._autovacuum,
        ):
            one = find(limits)
            if one is not None:
                yield one

    def _without_beat(self, _limits: Limits) -> Drift | None:
        waits = [] if self._beats.live() else self._needs_a_beat()
        return drift(
            "beat_missing",
            waits,
            "no beat lives: nothing is relayed, retried, rescued, fired or pruned",
            "start one: `taskdb beat`; where one runs, see its log and whether it reaches this"
            " database",
        )

    def _needs_a_beat(self) -> list[str]:
        """Return one example of each kind of row that needs a beat."""
        sql = queries_of(self._database.dialect, "doctor/queries").needs_a_beat
        found = self._database.query(sql, {}, writes=False)
        return [str(row["example"]) for row in found]

    def _skewed(self, limits: Limits) -> Drift | None:
        skew = measure_skew(self._database, host_now)
        limit = limits.clock.total_seconds()
        is_wrong = abs(skew.seconds) - skew.error > limit
        return drift(
            "clock_skew",
            [f"{skew.seconds:+.1f} s (to within {skew.error:.1f} s)"] if is_wrong else [],
            "the clock of this host is ahead (+) or behind (-) that of the database",
            "let both follow a time server; the database's clock is the one that counts",
        )

    def _without_partition(self, _limits: Limits) -> Drift | None:
        dialect = self._database.dialect
        if not dialect.has_partitions:
            return None
        sql = queries_of(dialect, "doctor/queries").missing_partitions
        missing = self._database.query(sql, {"ahead": PARTITIONS_AHEAD - 1}, writes=False)
        return drift(
            "partition_missing",
            [str(row["example"]) for row in missing],
            "days of the history without a partition of their own",
            "see that a `taskdb beat` runs: its upkeep makes them",
        )

    def _in_default_partition(self, _limits: Limits) -> Drift | None:
        days = self._partitions.in_default()
        found = drift(
            "default_partition",
            [f"{day}: {number:,}" for day, number in days.items()],
            "rows of the history in no partition of a day, so that pruning cannot drop them",
            "see that a `taskdb beat` runs: its upkeep moves those of the coming week; a day far"
            " off was written with a wrong moment: correct `at` in `taskdb_event_default`",
        )
        return found and Drift(
            found.name, sum(days.values()), found.examples, found.meaning, found.advice
        )

    def _held_back(self, limits: Limits) -> Drift | None:
        holders = self._vacuum.holders(limits.transaction, limits.transactions_behind)
        return drift(
            "vacuum_held_back",
            [f"{one.name} ({one.application or '-'}, {one.state}): {one.age}" for one in holders],
            "transactions and slots since which vacuum removes no dead row of any table, and which"
            " notifications and counters may wait for",
            "end what is not needed: `SELECT pg_terminate_backend(PID)`, `ROLLBACK PREPARED"
            " 'NAME'`, `SELECT pg_drop_replication_slot('NAME')`",
        )

    def _dead_rows(self, limits: Limits) -> Drift | None:
        many = [
            f"{one.name}: {one.dead:,} dead, {one.live:,} live"
            for one in self._vacuum.rows()
            if one.dead > limits.dead_rows and one.dead > limits.dead_share * (one.live + one.dead)
        ]
        return drift(
            "dead_rows",
            many,
            "tables of which a large share are dead rows: every look at them takes longer",
            "see what holds vacuum back, and that autovacuum is on; then `VACUUM (ANALYZE) TABLE`",
        )

    def _autovacuum(self, limits: Limits) -> Drift | None:
        return drift(
            "autovacuum_unsuitable",
            self._vacuum.unsuitable(limits.vacuum_begins),
            "settings with which dead rows stay for too long",
            "`ALTER TABLE … RESET (…)` or `ALTER SYSTEM SET …`; docs/scaling.md has good values",
        )


def host_now() -> datetime:
    """The clock of this host."""
    return datetime.now(UTC)


def measure_skew(database: Database, read: Callable[[], datetime]) -> Skew:
    """Compare a clock with the database's, by the quickest of 3 round trips."""
    return min((_one_skew(database, read) for _ in range(_MEASUREMENTS)), key=lambda one: one.error)


def _one_skew(database: Database, read: Callable[[], datetime]) -> Skew:
    begun = read()
    (row,) = database.query(f"SELECT {database.dialect.now} AS now", {}, writes=False)
    half = (read() - begun) / 2
    return Skew((begun + half - moment(row["now"])).total_seconds(), abs(half.total_seconds()))
