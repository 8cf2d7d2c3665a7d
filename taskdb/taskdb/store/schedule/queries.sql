-- The statements of a pass over due schedules, inside its transaction.

-- columns run
schedule_id id, due_at moment, outcome text, task_id id, reason text, number integer,
last_due_at moment

-- columns next
id id, next_due_at moment, last_due_at moment, last_task_id id

-- columns broken
id id, reason text

-- query open_among
SELECT id FROM taskdb_task WHERE id IN {listed_ids ids} AND status IN ({OPEN})

-- query known_runs
SELECT schedule_id, due_at FROM taskdb_schedule_run
WHERE (schedule_id, due_at) IN (SELECT draft.schedule_id, draft.due_at FROM {rows runs, run})

-- query add_runs
-- Returns new runs. Another transaction may have written the others.
INSERT INTO taskdb_schedule_run ({names run}, at)
SELECT {values run}, {now} FROM {rows runs, run}
WHERE true ON CONFLICT DO NOTHING RETURNING schedule_id, due_at

-- query skip_run
UPDATE taskdb_schedule_run SET outcome = 'skipped', task_id = :task, reason = :reason
WHERE schedule_id = :schedule AND due_at = {moment due}

-- query advance
UPDATE taskdb_schedule AS old SET
    next_due_at = COALESCE(draft.next_due_at, old.next_due_at),
    last_due_at = COALESCE(draft.last_due_at, old.last_due_at),
    last_task_id = COALESCE(draft.last_task_id, old.last_task_id),
    last_error = NULL, retry_at = NULL
FROM {rows rows, next} WHERE old.id = draft.id

-- query lease
UPDATE taskdb_schedule SET retry_at = {later :seconds} WHERE id = :id

-- query refuse
UPDATE taskdb_schedule AS old SET last_error = draft.reason, retry_at = {later :seconds}
FROM {rows rows, broken} WHERE old.id = draft.id

-- query exclude_creators: postgresql
-- No lock of the table: a beat that fires locks rows and then writes to the table.
SELECT pg_advisory_xact_lock(7303014, 3)

-- query exclude_creators: sqlite
-- SQLite has one writer.
