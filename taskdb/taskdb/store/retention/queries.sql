-- The statements of pruning and of the sweep.


-- Pruning. ---------------------------------------------------------------------------------------

-- part old_rows behind
-- Rows in order of creation, due or not, so that the work is bounded. A subquery asks the clock
-- once; asked for each row, it could use no index.
SELECT CAST(id AS TEXT) AS id, created_at, tenant, type, status, parent_id,
    COALESCE(ended_at, updated_at) AS ended_at, {now} AS now
FROM taskdb_task AS t
WHERE created_at <= (SELECT {later -:shortest}) {behind} AND {not_aside prune}
ORDER BY t.created_at, t.id LIMIT :limit

-- query look
{old_rows}

-- query look_behind
{old_rows AND (created_at, id) > ({moment created_at}, :id)}

-- part locked_rows condition order
-- The order by position makes the planner use the index of parents. With EXISTS it would read the
-- whole table for each row if there are few parents.
SELECT CAST(id AS TEXT) AS id, parent_id, tenant, type, status, created_at,
    COALESCE(ended_at, updated_at) AS ended_at, input_ref, result_ref,
    (SELECT sub.id FROM taskdb_task AS sub WHERE sub.parent_id = t.id
     ORDER BY sub.position LIMIT 1) IS NOT NULL AS has_sub_tasks,
    {now} AS now
FROM taskdb_task AS t WHERE {condition} ORDER BY t.{order} LIMIT :limit{locking FOR UPDATE OF t SKIP LOCKED}

-- query lock_roots
{locked_rows id IN {listed_ids ids} AND parent_id IS NULL, id}

-- query lock_below
{locked_rows parent_id = :node, position}

-- query mark
-- The mark of a tree that loses sub-tasks: a retry of it is refused. A lost sub-task may have
-- failed, and the rest would join as if it had never existed.
UPDATE taskdb_task SET spec = {merged COALESCE(spec, {as_json '{}'}), {made pruned, true}}
WHERE id = :id AND {text_in spec, pruned} IS NULL

-- part of_these: postgresql
-- With an array the planner uses the index of each day, at any number of rows.
= ANY(ARRAY{listed_ids ids})

-- part of_these: sqlite
IN {listed_ids ids}

-- query delete_history
DELETE FROM taskdb_event WHERE task_id {of_these} AND at >= {moment since}

-- query delete_tasks
DELETE FROM taskdb_task WHERE id IN {listed_ids ids}


-- The sweep. -------------------------------------------------------------------------------------

-- columns worker
id text

-- columns run
schedule_id id, due_at moment

-- columns reference
ref text

-- part old_workers condition
-- Workers to which no running task refers. `<> 'COMPLETED'` is a word of the index.
SELECT old.id FROM taskdb_worker AS old WHERE {condition}
AND old.id NOT IN (SELECT t.worker FROM taskdb_task AS t WHERE t.worker IS NOT NULL
                   AND t.status <> 'COMPLETED' AND t.status IN ('STARTED','PROCESSING'))
AND {not_aside sweep, old.id} LIMIT :limit

-- query stopped_workers
{old_workers old.stopped_at < (SELECT {later -:kept})}

-- query lost_workers
-- `seen_at` has no index, but few rows have no `stopped_at`.
{old_workers old.stopped_at IS NULL AND old.started_at < (SELECT {later -:kept})
 AND COALESCE(old.seen_at, old.started_at) < (SELECT {later -:kept})}

-- query delete_workers
DELETE FROM taskdb_worker WHERE id IN (SELECT draft.id FROM {rows gone, worker}) RETURNING 1 AS one

-- query old_runs
-- The last run of an existing schedule stays.
SELECT CAST(r.schedule_id AS TEXT) AS schedule_id, CAST(r.due_at AS TEXT) AS due_at
FROM taskdb_schedule_run AS r{looked_up taskdb_schedule, id, s.id = r.schedule_id, s}
WHERE r.due_at < (SELECT {later -:kept})
AND (s.id IS NULL OR EXISTS (SELECT 1 FROM taskdb_schedule_run AS n
                             WHERE n.schedule_id = r.schedule_id AND n.due_at > r.due_at))
AND {not_aside sweep, r.schedule_id} ORDER BY r.due_at LIMIT :limit

-- query delete_runs
DELETE FROM taskdb_schedule_run
WHERE (schedule_id, due_at) IN (SELECT draft.schedule_id, draft.due_at FROM {rows gone, run})
RETURNING 1 AS one

-- query named_as_input
SELECT draft.ref FROM {rows given, reference}
JOIN taskdb_task AS t ON t.input_ref = draft.ref WHERE t.input_ref IS NOT NULL

-- query named_as_result
-- One level of a tree: the planner expects a recursive statement to read most of the table.
SELECT CAST(id AS TEXT) AS id, CAST(parent_id AS TEXT) AS parent_id, result_ref
FROM taskdb_task WHERE id IN {listed_ids ids}

-- query in_default: postgresql
-- Rows in the default partition by day, 10,000 rows at most.
SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, count(*) AS number
FROM (SELECT at FROM taskdb_event_default LIMIT 10000) AS few GROUP BY 1 ORDER BY 1
