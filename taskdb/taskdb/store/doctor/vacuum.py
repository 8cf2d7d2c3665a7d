"""Vacuum: the causes that keep PostgreSQL from removing dead rows, and their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from taskdb.store.engine.database import Database
from taskdb.store.engine.session import Row
from taskdb.store.engine.tables import metadata

_TABLES = (
    "(SELECT to_regclass(name) AS relid FROM unnest(ARRAY["
    + ", ".join(f"'{name}'" for name in sorted(metadata.tables))
    + "]) AS given(name) UNION SELECT inhrelid FROM pg_inherits"
    " WHERE inhparent = to_regclass('taskdb_event')) AS ours"
)
"""Our tables, and every partition of the history."""

_SINCE = "CAST(EXTRACT(EPOCH FROM clock_timestamp() - {}) AS DOUBLE PRECISION)"
_HOLDERS = (
    # The oldest transaction counts. One of another database delays the reading of events once it
    # has written.
    "SELECT 'session ' || pid AS name, COALESCE(application_name, '') AS application,"
    f" COALESCE(state, backend_type) AS state, {_SINCE.format('xact_start')} AS seconds"
    " FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    " AND backend_type NOT IN ('autovacuum worker', 'walsender', 'parallel worker')"
    " AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL AND datname = current_database())"
    " UNION ALL SELECT 'prepared transaction ' || gid, '', 'prepared',"
    f" {_SINCE.format('prepared')} FROM pg_prepared_xacts"
)
_SLOTS = (
    "SELECT 'replication slot ' || slot_name AS name, COALESCE(plugin, slot_type) AS application,"
    " 'inactive' AS state, GREATEST(age(xmin), age(catalog_xmin)) AS transactions"
    " FROM pg_replication_slots WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL)"
    " UNION ALL SELECT 'standby ' || pid, COALESCE(application_name, ''), state, age(backend_xmin)"
    " FROM pg_stat_replication WHERE age(backend_xmin) > :transactions"
)
_HIDDEN = (
    # Of sessions of other roles, a role without the right sees only the pid.
    "SELECT string_agg(CAST(pid AS TEXT), ', ' ORDER BY pid) AS pids, max(behind) AS behind"
    " FROM pg_stat_activity, (SELECT CAST(CAST(pg_snapshot_xmax(one) AS TEXT) AS BIGINT)"
    " - CAST(CAST(pg_snapshot_xmin(one) AS TEXT) AS BIGINT) AS behind"
    " FROM pg_current_snapshot() AS one) AS snapshot"
    " WHERE backend_type IS NULL AND pid <> pg_backend_pid()"
)
_ROWS = (
    "SELECT stat.relname AS name, n_live_tup AS live, n_dead_tup AS dead"
    f" FROM pg_stat_user_tables AS stat JOIN {_TABLES} USING (relid) ORDER BY n_dead_tup DESC, 1"
)
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name IN ('track_counts', {names})"
_OPTIONS = (
    "SELECT relname AS name, array_to_string(reloptions, E'\\n') AS options, reltuples AS rows"
    f" FROM pg_class JOIN {_TABLES} ON ours.relid = pg_class.oid WHERE relkind = 'r' ORDER BY 1"
)
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

    @property
    def _is_there(self) -> bool:
        return self._database.dialect.name == "postgresql"

    def oldest_seconds(self) -> float:
        """Return the age in seconds of the oldest transaction that delays vacuum; 0 without one."""
        found = self._ask(f"SELECT max(seconds) AS seconds FROM ({_HOLDERS}) AS held")
        return max((float(row["seconds"] or 0) for row in found), default=0.0)

    def holders(self, older_than: timedelta, transactions: int) -> list[Holder]:
        """Return everything that has delayed vacuum for longer, oldest first.

        A session that this role may not see counts once it is `transactions` behind.
        """
        seconds = older_than.total_seconds()
        old = self._ask(
            f"SELECT * FROM ({_HOLDERS}) AS held WHERE seconds >= :seconds ORDER BY seconds DESC",
            seconds=seconds,
        )
        found = [_holder(row, f"{row['seconds']:.0f} s") for row in old]
        slots = self._ask(_SLOTS, transactions=transactions)
        found += [_holder(row, f"{row['transactions']:,} transactions") for row in slots]
        hidden = [row for row in self._ask(_HIDDEN) if (row["behind"] or 0) > transactions]
        if hidden and not found:
            ((pids, behind),) = [(row["pids"], row["behind"]) for row in hidden]
            state = "not visible without the role pg_read_all_stats"
            found.append(Holder(f"one of the sessions {pids}", "", state, f"{behind:,} behind"))
        return found

    def rows(self) -> list[TableRows]:
        """Return the rows of each table, most dead rows first."""
        return [
            TableRows(row["name"], int(row["live"]), int(row["dead"])) for row in self._ask(_ROWS)
        ]

    def unsuitable(self, most_dead: int) -> list[str]:
        """Return the settings of the server and of tables that keep dead rows for too long.

        This lists a table if its vacuum begins only after more than `most_dead` dead rows.
        """
        if not self._is_there:
            return []
        names = ("autovacuum", _THRESHOLD, _SHARE, _PAUSE, _DELAY, _MOST)
        asked = _SETTINGS.format(names=", ".join(f"'{name}'" for name in names))
        server = {row["name"]: row["setting"] for row in self._ask(asked)}
        found = [f"{one}=off" for one in ("autovacuum", "track_counts") if server[one] == "off"]
        if float(server[_PAUSE]) > _LONGEST_PAUSE_SECONDS:
            found.append(f"{_PAUSE}={server[_PAUSE]}s")
        found += _too_lazy(server)
        for row in self._ask(_OPTIONS):
            text = row["options"] or ""
            own = dict(one.split("=", 1) for one in text.splitlines())
            wrong = [*_too_lazy(own), *_too_late({**server, **own}, row["rows"], most_dead)]
            if _is_false(own.get("autovacuum_enabled", "true")):
                wrong.append(f"autovacuum_enabled={own['autovacuum_enabled']}")
            found += [f"{row['name']}: {one}" for one in wrong]
        return found

    def _ask(self, sql: str, **parameters: float) -> list[Row]:
        return self._database.query(sql, parameters, writes=False) if self._is_there else []


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
