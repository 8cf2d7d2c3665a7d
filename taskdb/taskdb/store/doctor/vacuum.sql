-- Vacuum of PostgreSQL: what keeps it from removing dead rows, and their number.

-- part seconds_since moment
CAST(EXTRACT(EPOCH FROM clock_timestamp() - {moment}) AS DOUBLE PRECISION)

-- part ours
-- Our tables, and every partition of the history.
(SELECT to_regclass(name) AS relid FROM unnest(CAST(:tables AS TEXT[])) AS given(name)
 UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('taskdb_event')) AS ours

-- part holders
-- The oldest transaction counts. One of another database delays the reading of events once it has
-- written.
SELECT 'session ' || pid AS name, COALESCE(application_name, '') AS application,
    COALESCE(state, backend_type) AS state, {seconds_since xact_start} AS seconds
FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND xact_start IS NOT NULL
AND backend_type NOT IN ('autovacuum worker', 'walsender', 'parallel worker')
AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL AND datname = current_database())
UNION ALL SELECT 'prepared transaction ' || gid, '', 'prepared', {seconds_since prepared}
FROM pg_prepared_xacts

-- query oldest: postgresql
SELECT max(seconds) AS seconds FROM ({holders}) AS held

-- query held_back: postgresql
SELECT * FROM ({holders}) AS held WHERE seconds >= :seconds ORDER BY seconds DESC

-- query slots: postgresql
SELECT 'replication slot ' || slot_name AS name, COALESCE(plugin, slot_type) AS application,
    'inactive' AS state, GREATEST(age(xmin), age(catalog_xmin)) AS transactions
FROM pg_replication_slots WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL)
UNION ALL SELECT 'standby ' || pid, COALESCE(application_name, ''), state, age(backend_xmin)
FROM pg_stat_replication WHERE age(backend_xmin) > :transactions

-- query hidden: postgresql
-- Of sessions of other roles, a role without the right sees only the pid.
SELECT string_agg(CAST(pid AS TEXT), ', ' ORDER BY pid) AS pids, max(behind) AS behind
FROM pg_stat_activity, (SELECT CAST(CAST(pg_snapshot_xmax(one) AS TEXT) AS BIGINT)
    - CAST(CAST(pg_snapshot_xmin(one) AS TEXT) AS BIGINT) AS behind
    FROM pg_current_snapshot() AS one) AS snapshot
WHERE backend_type IS NULL AND pid <> pg_backend_pid()

-- query rows: postgresql
SELECT stat.relname AS name, n_live_tup AS live, n_dead_tup AS dead
FROM pg_stat_user_tables AS stat JOIN {ours} USING (relid) ORDER BY n_dead_tup DESC, 1

-- query settings: postgresql
SELECT name, setting FROM pg_settings WHERE name IN ('track_counts', 'autovacuum',
    'autovacuum_vacuum_threshold', 'autovacuum_vacuum_scale_factor', 'autovacuum_naptime',
    'autovacuum_vacuum_cost_delay', 'autovacuum_vacuum_max_threshold')

-- query options: postgresql
SELECT relname AS name, array_to_string(reloptions, E'\n') AS options, reltuples AS rows
FROM pg_class JOIN {ours} ON ours.relid = pg_class.oid WHERE relkind = 'r' ORDER BY 1
