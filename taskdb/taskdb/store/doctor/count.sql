-- Counts of open tasks, workers, schedules, alarms and subscriptions. No statement reads terminal
-- tasks, resolved alarms or sent messages, however many there are.

-- part since
-- The time since which a worker might take a task. We do not publish adopted tasks, and our workers
-- do not take them. A subquery asks the clock once, not for every row.
CASE WHEN held_by IS NOT NULL OR is_adopted THEN NULL
     WHEN status = 'QUEUED' THEN queued_at
     WHEN status IN ({PUBLISHABLE}) AND (run_at IS NULL OR run_at <= (SELECT {now}))
     THEN {latest updated_at, COALESCE(run_at, updated_at)} END

-- part rule
-- The kind of the limit or pause that holds a task.
CASE WHEN held_by IS NULL THEN ''
     WHEN substr(held_by, 1, 6) = 'mutex:' THEN 'mutex'
     WHEN substr(held_by, 1, 8) = 'running:' THEN 'running'
     WHEN substr(held_by, 1, 7) = 'starts:' THEN 'starts'
     WHEN substr(held_by, 1, 7) = 'paused:' THEN 'paused' ELSE held_by END

-- query open_tasks
-- SQLite needs the words of the index (`<> 'COMPLETED'`) to use it.
SELECT status, type, queue, tenant, rule, is_waiting, count(*) AS number, count(since) AS ready,
    {elapsed min(since), (SELECT {now})} AS oldest
FROM (SELECT status, type, queue, CASE WHEN {truth by_tenant} THEN tenant ELSE '' END AS tenant,
          {rule} AS rule, waits_for IS NOT NULL AS is_waiting, {since} AS since
      FROM taskdb_task WHERE status IN ({OPEN}) AND status <> 'COMPLETED') AS one
GROUP BY status, type, queue, tenant, rule, is_waiting

-- query workers
SELECT CAST(queues AS TEXT) AS queues, {elapsed seen_at, {now}} AS unseen FROM taskdb_worker
WHERE stopped_at IS NULL AND seen_at >= (SELECT {later -:recent})

-- query schedules
SELECT count(*) AS enabled, count(last_error) AS broken, max({elapsed next_due_at, {now}}) AS lag
FROM taskdb_schedule WHERE is_enabled

-- query alarms
SELECT state, severity, count(*) AS number, count(CASE WHEN NOT is_routed THEN 1 END) AS unrouted
FROM taskdb_alarm WHERE state <> 'resolved' GROUP BY state, severity

-- query messages
SELECT channel, count(*) AS number, {elapsed min(created_at), {now}} AS oldest
FROM taskdb_delivery WHERE sent_at IS NULL GROUP BY channel

-- query subscriptions
SELECT state, count(*) AS number, count(failing_since) AS failing
FROM taskdb_subscription GROUP BY state

-- query lag
-- The age of the next event of the active subscription that is furthest behind.
WITH furthest AS (SELECT cursor_xid, cursor_id FROM taskdb_subscription
                  WHERE state = 'active' ORDER BY cursor_xid, cursor_id LIMIT 1)
SELECT {elapsed min(at), {now}} AS lag
FROM (SELECT e.at FROM taskdb_event AS e
      WHERE (e.xid, e.id) > ((SELECT cursor_xid FROM furthest), (SELECT cursor_id FROM furthest))
      AND {has_order e.xid} ORDER BY e.xid, e.id LIMIT 1) AS next_event

-- query aside
SELECT loop, count(*) AS number FROM taskdb_set_aside GROUP BY loop

-- query sizes: postgresql
SELECT 'taskdb_task' AS name, pg_total_relation_size('taskdb_task') AS size
UNION ALL SELECT 'taskdb_event', (SELECT sum(pg_total_relation_size(relid))
                                  FROM pg_partition_tree('taskdb_event'))

-- query sizes: sqlite
SELECT 'database' AS name, page_count * page_size AS size
FROM pragma_page_count(), pragma_page_size()
