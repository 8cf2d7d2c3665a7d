-- Classes of drift: rows that do not match their history. Each statement returns examples.

-- query unpublished
SELECT id AS example FROM taskdb_task
WHERE status IN ({PUBLISHABLE}) AND held_by IS NULL AND NOT is_adopted
AND relay_at < (SELECT {later -:late}) ORDER BY relay_at LIMIT :limit

-- query publish_refused
SELECT t.id AS example FROM taskdb_task AS t
WHERE t.status IN ({PUBLISHABLE}) AND t.held_by IS NULL AND NOT t.is_adopted
AND COALESCE(t.run_at, t.created_at) <= (SELECT {now})
AND EXISTS (SELECT 1 FROM taskdb_event AS e
            WHERE e.task_id = t.id AND e.from_status = e.to_status AND e.at >= t.updated_at
            AND {text_in e.detail, refused} IS NOT NULL)
ORDER BY t.id LIMIT :limit

-- query worker_lost
SELECT t.id AS example {runs_where {is_dead}} ORDER BY t.id LIMIT :limit

-- query claim_unlisted
SELECT t.id AS example {runs_where NOT {is_dead} AND {is_unlisted}} ORDER BY t.id LIMIT :limit

-- query adopted_lost
SELECT t.id AS example FROM taskdb_task AS t LEFT JOIN taskdb_worker AS w ON w.id = t.worker
WHERE t.is_adopted AND t.status = 'STARTED' AND t.worker IS NOT NULL
AND t.updated_at < (SELECT {later -:lease})
AND (w.id IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (SELECT {later -:lease}))
ORDER BY t.id LIMIT :limit

-- query finished_alone
SELECT id AS example FROM taskdb_task WHERE status = 'FINISHED' AND waits_for IS NULL
ORDER BY id LIMIT :limit

-- query callback_late
SELECT id AS example FROM taskdb_task
WHERE waits_for = 'callback' AND callback_until < (SELECT {later -:late})
ORDER BY callback_until LIMIT :limit

-- query event_without_order
SELECT task_id AS example FROM taskdb_event WHERE NOT {has_order xid} ORDER BY xid LIMIT :limit

-- query subscription_dead
SELECT name AS example FROM taskdb_subscription WHERE state = 'dead' ORDER BY name LIMIT :limit

-- query schedule_refused
SELECT name || ' (' || origin || '): ' || reason AS example
FROM taskdb_schedule_refusal ORDER BY origin, name LIMIT :limit

-- query schedule_broken
SELECT name AS example FROM taskdb_schedule
WHERE is_enabled AND last_error IS NOT NULL ORDER BY name LIMIT :limit

-- query slot_stale
SELECT s.key AS example FROM taskdb_slot AS s LEFT JOIN taskdb_task AS t ON t.id = s.task_id
WHERE s.task_id IS NOT NULL
AND (t.id IS NULL OR t.waits_for IS NOT NULL
     OR t.status IN ('COMPLETED', 'FAILED', 'CANCELED', 'HALTED', 'FINISHED', 'ERRORED'))
ORDER BY s.key LIMIT :limit

-- query held_for_nothing
SELECT t.id AS example FROM taskdb_task AS t
WHERE t.held_by IS NOT NULL AND t.updated_at < (SELECT {later -:late})
AND t.status IN ({PUBLISHABLE})
AND (substr(t.held_by, 1, 6) = 'mutex:'
     AND NOT EXISTS (SELECT 1 FROM taskdb_slot AS s WHERE s.key = t.held_by)
     OR substr(t.held_by, 1, 7) = 'paused:'
     AND NOT EXISTS (SELECT 1 FROM taskdb_limit AS g
                     WHERE t.held_by = 'paused:' || g.target || ':' || g.name AND g.is_paused)
     OR substr(t.held_by, 1, 8) = 'running:'
     AND NOT EXISTS (SELECT 1 FROM taskdb_limit AS g
                     WHERE t.held_by = 'running:' || g.target || ':' || g.name
                     AND g.max_running <= (SELECT count(*) FROM taskdb_slot AS s
                                           WHERE s.key = t.held_by))
     OR t.held_by = 'admission')
ORDER BY t.id LIMIT :limit

-- query worker_waits
SELECT name || ': ' || waiting AS example FROM taskdb_worker
WHERE waiting IS NOT NULL AND stopped_at IS NULL AND seen_at >= (SELECT {later -:lease})
ORDER BY name LIMIT :limit

-- query worker_stale
SELECT name AS example FROM taskdb_worker AS w
WHERE stopped_at IS NULL AND (seen_at IS NULL OR seen_at < (SELECT {later -:lease}))
AND EXISTS (SELECT 1 FROM taskdb_task AS t
            WHERE t.worker = w.id AND t.status IN ('STARTED', 'PROCESSING') AND NOT t.is_adopted)
ORDER BY started_at LIMIT :limit
