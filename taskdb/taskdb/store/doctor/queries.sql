-- The statements of beats, of the search for lost messages, and of single tasks.


-- The live beats: rows of `reporter`, beside the row of the reporting process. ---------------------

-- part is_beat
substr(name, 1, 5) = 'beat/'

-- query renew_beat
INSERT INTO taskdb_reporter (name, holder, until)
VALUES ({text key}, {text name}, {later :lease}) ON CONFLICT (name)
DO UPDATE SET until = excluded.until RETURNING name{lazily}

-- query leave_beat
DELETE FROM taskdb_reporter WHERE name = :key

-- query forget_dead_beats
DELETE FROM taskdb_reporter WHERE {is_beat} AND until < (SELECT {later -:kept})

-- query live_beats
SELECT holder FROM taskdb_reporter WHERE {is_beat} AND until >= (SELECT {now}) ORDER BY holder

-- query needs_a_beat
-- One example of each kind of row that needs a beat. Adopted tasks need none: the workers of their
-- own app mark them.
SELECT * FROM (SELECT 'task ' || id AS example FROM taskdb_task
               WHERE status IN ({OPEN}) AND NOT is_adopted LIMIT 1) AS a
UNION ALL SELECT * FROM (SELECT 'worker ' || name AS example FROM taskdb_worker
               WHERE stopped_at IS NULL AND CAST(queues AS TEXT) <> '[]' LIMIT 1) AS b
UNION ALL SELECT * FROM (SELECT 'schedule ' || name AS example FROM taskdb_schedule
               WHERE is_enabled LIMIT 1) AS c


-- Lost messages. ---------------------------------------------------------------------------------

-- query live_workers
SELECT {now} AS now, CAST(w.queues AS TEXT) AS queues, CAST(w.messages AS TEXT) AS messages
FROM (SELECT 1 AS one) AS always
LEFT JOIN taskdb_worker AS w ON w.stopped_at IS NULL AND w.seen_at >= (SELECT {later -:lease})

-- part taken_messages condition
SELECT queue, priority, max(queued_at) AS newest FROM taskdb_task WHERE {condition}
AND queued_at IS NOT NULL AND NOT is_adopted GROUP BY queue, priority

-- query taken
{taken_messages (status IN ({RUNNING}) AND worker IS NOT NULL) AND status <> 'COMPLETED'}

-- query taken_within
-- Also of tasks that began within this time and may be over. This reads the whole table.
{taken_messages (status IN ({RUNNING}) AND worker IS NOT NULL OR started_at >= {later -:within})}

-- part queued_rows condition
SELECT id, chunk, queue, priority, queued_at, created_at FROM taskdb_task
WHERE {condition} status = 'QUEUED' AND status <> 'COMPLETED'
AND NOT is_adopted AND {not_aside requeue} ORDER BY created_at, id LIMIT :limit

-- query queued
{queued_rows}

-- query queued_behind
{queued_rows (created_at, id) > ({moment created_at}, :id) AND}

-- query queues_of_queued
SELECT DISTINCT queue AS name FROM taskdb_task
WHERE status IN ('QUEUED') AND NOT is_adopted LIMIT :limit

-- query types_of_waiting
SELECT DISTINCT type AS name FROM taskdb_task
WHERE status IN ({WAITING}) AND NOT is_adopted LIMIT :limit

-- query payload_references
SELECT input_ref, result_ref FROM taskdb_task
WHERE id IN (SELECT id FROM taskdb_task
             WHERE input_ref IS NOT NULL OR result_ref IS NOT NULL ORDER BY id DESC LIMIT :limit)

-- query missing_partitions: postgresql
SELECT 'taskdb_event_' || to_char(day, 'YYYYMMDD') AS example
FROM generate_series((now() AT TIME ZONE 'UTC')::date,
    (now() AT TIME ZONE 'UTC')::date + CAST(:ahead AS INTEGER), interval '1 day') AS day
WHERE to_regclass('taskdb_event_' || to_char(day, 'YYYYMMDD')) IS NULL ORDER BY day


-- The situation of one task. ---------------------------------------------------------------------

-- query beside
SELECT {now} AS now, relay_at, callback_until, unregistered FROM taskdb_task WHERE id = :id

-- query refusal
SELECT at, {text_in detail, refused} AS reason FROM taskdb_event
WHERE task_id = :id ORDER BY id DESC LIMIT 1

-- query open_below
SELECT count(*) AS number FROM taskdb_task WHERE parent_id = :id AND status IN ({OPEN})

-- query first_open_below
SELECT id, tenant FROM taskdb_task WHERE parent_id = :id AND status IN ({OPEN})
AND (held_by IS NULL OR held_by <> 'window') ORDER BY position LIMIT 1

-- query holders
SELECT s.task_id, s.until, t.tenant FROM taskdb_slot AS s LEFT JOIN taskdb_task AS t
ON t.id = s.task_id WHERE s.key = :key ORDER BY s.n LIMIT :limit

-- query limit
SELECT reason, set_by, set_at, max_running, max_starts, window_seconds, is_paused
FROM taskdb_limit WHERE target = :target AND name = :name

-- query before
-- Tasks that were queued before this one in its queue, and still are.
SELECT count(*) AS number FROM (
    SELECT 1 AS one FROM taskdb_task
    WHERE status = 'QUEUED' AND NOT is_adopted AND queue = :queue
    AND (queued_at, id) < ({moment queued_at}, :id) LIMIT :limit) AS few

-- query busy
SELECT count(*) AS number FROM taskdb_task
WHERE status IN ('STARTED', 'PROCESSING') AND waits_for IS NULL AND NOT is_adopted
