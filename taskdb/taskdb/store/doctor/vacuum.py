"""Vacuum: the causes that keep PostgreSQL from removing dead rows, and their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from taskdb.store.engine.database import Database
from taskdb.store.engine.session import Row
from taskdb.store.engine.tables import metadata
from taskdb.store.task.statements import queries_of

_THRESHOLD, _SHARE = "autovacuum_vacuum_threshold", "autovacuum_vacuum_scale_factor"
_PAUSE, _DELAY, _MOST = (
    "autovacuum_naptime",
    "autovacuum_vacuum_cost_delay",
    "autovacuum_vacuum_max_threshold",
)
_WORST_SHARE = 0.2
"""PostgreSQL's default."""
_LONGEST_PAUSE_SECONDS = 300
_LONGEST_DELAY_MILLISECONDS = 20


@dataclass(frozen=True, slots=True)
class Holder:
    """A transaction, a slot or a standby that delays vacuum. Its statement is not read."""

    name: str
    application: str
    state: str
    age: str


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of one table, by the server's statistics."""

    name: str
    live: int
    dead: int


class Vacuum:
    """Reads the catalogs of PostgreSQL. SQLite needs no vacuum during work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def oldest_seconds(self) -> float:
        """Return the age in seconds of the oldest transaction that delays vacuum; 0 without one."""
        found = self._ask("oldest")
        return max((float(row["seconds"] or 0) for row in found), default=0.0)

    def holders(self, older_than: timedelta, transactions: int) -> list[Holder]:
        """Return everything that has delayed vacuum for longer, oldest first.

        A session that this role may not see counts once it is `transactions` behind.
        """
        seconds = older_than.total_seconds()
        old = self._ask("held_back", seconds=seconds)
        found = [_holder(row, f"{row['seconds']:.0f} s") for row in old]
        slots = self._ask("slots", transactions=transactions)
        found += [_holder(row, f"{row['transactions']:,} transactions") for row in slots]
        hidden = [row for row in self._ask("hidden") if (row["behind"] or 0) > transactions]
        if hidden and not found:
            ((pids, behind),) = [(row["pids"], row["behind"]) for row in hidden]
            state = "not visible without the role pg_read_all_stats"
            found.append(Holder(f"one of the sessions {pids}", "", state, f"{behind:,} behind"))
        return found

    def rows(self) -> list[TableRows]:
        """Return the rows of each table, most dead rows first."""
        return [
            TableRows(row["name"], int(row["live"]), int(row["dead"])) for row in self._ask("rows")
        ]

    def unsuitable(self, most_dead: int) -> list[str]:
        """Return the settings of the server and of tables that keep dead rows for too long.

        This lists a table if its vacuum begins only after more than `most_dead` dead rows.
        """
        server = {row["name"]: row["setting"] for row in self._ask("settings")}
        if not server:
            return []
        found = [f"{one}=off" for one in ("autovacuum", "track_counts") if server[one] == "off"]
        if float(server[_PAUSE]) > _LONGEST_PAUSE_SECONDS:
            found.append(f"{_PAUSE}={server[_PAUSE]}s")
        found += _too_lazy(server)
        for row in self._ask("options"):
            text = row["options"] or ""
            own = dict(one.split("=", 1) for one in text.splitlines())
            wrong = [*_too_lazy(own), *_too_late({**server, **own}, row["rows"], most_dead)]
            if _is_false(own.get("autovacuum_enabled", "true")):
                wrong.append(f"autovacuum_enabled={own['autovacuum_enabled']}")
            found += [f"{row['name']}: {one}" for one in wrong]
        return found

    def _ask(self, name: str, **parameters: float) -> list[Row]:
        """Run the statement with this name; return no row where the database has none."""
        sql = getattr(queries_of(self._database.dialect, "doctor/vacuum"), name, None)
        given = {"tables": sorted(metadata.tables), **parameters}
        return self._database.query(sql, given, writes=False) if sql else []


def _holder(row: Row, age: str) -> Holder:
    return Holder(row["name"], row["application"], row["state"], age)


def _too_lazy(settings: Mapping[str, str]) -> Iterator[str]:
    if float(settings.get(_SHARE, 0)) > _WORST_SHARE:
        yield f"{_SHARE}={settings[_SHARE]}"
    if float(settings.get(_DELAY, 0)) > _LONGEST_DELAY_MILLISECONDS:
        yield f"{_DELAY}={settings[_DELAY]}"


def _too_late(settings: Mapping[str, str], rows: float, most_dead: int) -> Iterator[str]:
    begins = float(settings[_THRESHOLD]) + float(settings[_SHARE]) * max(rows, 0)
    cap = float(settings.get(_MOST, 0))
    begins = min(begins, cap) if cap > 0 else begins
    if begins > most_dead:
        yield f"vacuum begins with {begins:,.0f} dead rows ({_THRESHOLD}, {_SHARE})"


def _is_false(text: str) -> bool:
    """Whether an option is false: PostgreSQL stores it as written, and accepts prefixes."""
    word = text.lower()
    return word in {"0", "n", "no", "of", "off"} or "false".startswith(word)
