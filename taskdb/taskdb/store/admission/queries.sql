-- The statements of limits, pauses, slots, and of the wait queues of held tasks.

-- columns keys
key text

-- columns wait_queues
key text, target text, name text

-- columns places
target text, name text

-- columns slots
key text, n integer, task_id id, seconds number

-- columns reservations
key text, task_id id

-- columns holds
id id, held_by text


-- Held tasks. `held_by` is the key of a wait queue, or 'admission' before its first pass. -----------

-- part queued row
-- The condition of the index `taskdb_task_wait_queue`.
{row}held_by IS NOT NULL AND {row}held_by NOT IN ('window', 'admission')

-- part still_waits row
-- A row is held in the wait queue of a key, and no pause stops it there.
{queued {row}.} AND {row}.status IN ({PUBLISHABLE})
AND NOT EXISTS (SELECT 1 FROM taskdb_limit AS p WHERE p.is_paused AND ({concerns p, {row}}))

-- part candidate
id, tenant, type, queue, mutex_key, held_by

-- part limit
g.target, g.name, g.is_paused, g.max_running, g.max_starts, g.window_seconds, g.origin, g.reason,
g.set_by, g.set_at

-- query someone_waits
-- Two probes of partial indexes, since this runs several times a second.
SELECT EXISTS (SELECT 1 FROM taskdb_task WHERE held_by = 'admission' AND relay_at <= (SELECT {now}))
    OR EXISTS (SELECT 1 FROM taskdb_task WHERE {queued}) AS holds

-- query wait_queues
-- The keys of wait queues behind this one: one step of an index for each, however long it is.
WITH RECURSIVE wait_queue(key) AS (
    SELECT * FROM (SELECT held_by FROM taskdb_task
                   WHERE {queued} AND held_by > {text after} ORDER BY held_by LIMIT 1) AS head
    UNION ALL
    SELECT (SELECT held_by FROM taskdb_task
            WHERE {queued} AND held_by > wait_queue.key ORDER BY held_by LIMIT 1)
    FROM wait_queue WHERE wait_queue.key IS NOT NULL)
SELECT key FROM wait_queue WHERE key IS NOT NULL LIMIT :limit

-- query waiting_tasks
-- The first tasks of one wait queue. Rows that another transaction has locked are skipped, since
-- this one would wait while it holds locks.
SELECT {candidate} FROM taskdb_task
WHERE {queued} AND held_by = :key AND status IN ({PUBLISHABLE}) AND {not_aside release}
ORDER BY id LIMIT :limit{locking FOR UPDATE SKIP LOCKED}

-- query arrivals
-- Tasks that no pass has checked since they became ready.
SELECT {candidate} FROM taskdb_task
WHERE held_by = 'admission' AND relay_at <= (SELECT {now}) AND status IN ({PUBLISHABLE})
AND {not_aside release} ORDER BY relay_at, id LIMIT :limit{locking FOR UPDATE SKIP LOCKED}

-- query look
-- The state of some wait queues: the task that waits longest, the limit, the slots taken, and the
-- tasks for which places are kept.
SELECT draft.key, {limit},
    (SELECT CAST(id AS TEXT) FROM taskdb_task AS t WHERE {queued} AND held_by = draft.key
     ORDER BY t.id LIMIT 1) AS head,
    (SELECT {joined CAST(r.task_id AS TEXT)} FROM taskdb_reservation AS r
     JOIN taskdb_task AS t ON t.id = r.task_id
     WHERE r.key = draft.key AND {still_waits t}) AS reserved,
    (SELECT {joined CAST(s.n AS TEXT)} FROM taskdb_slot AS s WHERE s.key = draft.key) AS taken
FROM {rows wait_queues}
LEFT JOIN taskdb_limit AS g ON g.target = draft.target AND g.name = draft.name

-- query rules
SELECT {limit} FROM taskdb_limit AS g
JOIN {rows places} ON draft.target = g.target AND draft.name = g.name


-- Slots. -----------------------------------------------------------------------------------------

-- query end_windows
-- Slots whose window is over. A slot that the end of its task frees at this moment is skipped.
DELETE FROM taskdb_slot WHERE (key, n) IN (
    SELECT s.key, s.n FROM taskdb_slot AS s
    WHERE s.key IN (SELECT draft.key FROM {rows keys})
    AND s.until <= (SELECT {now}){locking FOR UPDATE SKIP LOCKED})

-- query take
-- The primary key decides which of two transactions gets a slot.
INSERT INTO taskdb_slot (key, n, task_id, seconds, taken_at)
SELECT draft.key, draft.n, draft.task_id, draft.seconds, {now} FROM {rows slots}

-- query reserve
INSERT INTO taskdb_reservation (key, task_id)
SELECT draft.key, draft.task_id FROM {rows reservations} WHERE true ON CONFLICT DO NOTHING

-- query unreserve
DELETE FROM taskdb_reservation WHERE task_id IN {listed_ids ids}

-- part kept_columns
id, held_by, status, queue, type, tenant

-- query sweep_reservations
DELETE FROM taskdb_reservation WHERE (key, task_id) IN (
    SELECT r.key, r.task_id
    FROM taskdb_reservation AS r{looked_up taskdb_task, {kept_columns}, found.id = r.task_id}
    WHERE found.id IS NULL OR NOT ({still_waits found})
    LIMIT :limit{locking FOR UPDATE OF r SKIP LOCKED})

-- query let_go
-- Tasks that have their slots. The relay publishes them where this process does not. No guard is
-- needed: this transaction has locked the rows.
UPDATE taskdb_task SET held_by = NULL, relay_at = {later :lease}, updated_at = {now}
WHERE id IN {listed_ids ids} RETURNING {publication}

-- query queue_up
UPDATE taskdb_task AS old SET held_by = draft.held_by, relay_at = {never}
FROM {rows holds} WHERE old.id = draft.id

-- query sweep
-- Slots of tasks that ended, were deleted, or are held again; and slots whose window is over.
DELETE FROM taskdb_slot WHERE (key, n) IN (
    SELECT s.key, s.n FROM taskdb_slot AS s LEFT JOIN taskdb_task AS t ON t.id = s.task_id
    WHERE s.until <= (SELECT {now})
    OR s.until IS NULL AND (t.id IS NULL OR NOT (
        t.waits_for IS NULL AND (t.status IN ('QUEUED', 'STARTED', 'PROCESSING')
                                 OR t.status IN ({PUBLISHABLE}) AND t.held_by IS NULL)))
    LIMIT :limit{locking FOR UPDATE OF s SKIP LOCKED}) RETURNING key


-- Limits and pauses. -----------------------------------------------------------------------------

-- query limits
SELECT {limit} FROM taskdb_limit AS g ORDER BY target, name

-- query pause
INSERT INTO taskdb_limit (target, name, is_paused, reason, set_by, set_at)
VALUES (:target, :name, true, {text reason}, {text set_by}, {now})
ON CONFLICT (target, name) DO UPDATE SET is_paused = true, reason = excluded.reason,
    set_by = excluded.set_by, set_at = excluded.set_at

-- query resume
UPDATE taskdb_limit SET is_paused = false, reason = NULL, set_by = {text set_by}, set_at = {now}
WHERE target = :target AND name = :name AND is_paused RETURNING name

-- part new_limit
INSERT INTO taskdb_limit AS old (target, name, is_paused, max_running, max_starts, window_seconds,
    origin, reason, set_by, set_at)
VALUES (:target, :name, false, {integer max_running}, {integer max_starts}, {number window_seconds},
    :origin, NULL, {text set_by}, {now})
ON CONFLICT (target, name) DO UPDATE SET max_running = excluded.max_running,
    max_starts = excluded.max_starts, window_seconds = excluded.window_seconds,
    origin = excluded.origin, set_by = excluded.set_by, set_at = excluded.set_at

-- query set_limit
{new_limit}

-- query declare
-- A limit that code declares. A limit that a person has set stays.
{new_limit}
WHERE old.origin = 'code' OR old.max_running IS NULL AND old.max_starts IS NULL

-- query clear_limit
UPDATE taskdb_limit SET max_running = NULL, max_starts = NULL, window_seconds = NULL,
    origin = 'person', set_by = {text set_by}, set_at = {now}
WHERE target = :target AND name = :name AND (max_running IS NOT NULL OR max_starts IS NOT NULL)
AND ({text origin} IS NULL OR origin = {text origin}) RETURNING name

-- query drop_empty
DELETE FROM taskdb_limit
WHERE target = :target AND name = :name AND NOT is_paused
AND max_running IS NULL AND max_starts IS NULL
