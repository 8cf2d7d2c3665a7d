-- Statistics: one process at a time counts the events of the history.

-- part is_known
old.until >= {later -:grace}

-- query begin
-- The first reporter, and one after a longer gap, begins at the end of the history.
INSERT INTO taskdb_reporter AS old (name, holder, until)
VALUES ('metrics', :holder, {later :lease})
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
    xid = CASE WHEN {is_known} THEN old.xid END,
    event_id = CASE WHEN {is_known} THEN old.event_id END
WHERE old.holder = excluded.holder OR old.until < {now} RETURNING xid, event_id

-- query keep
-- This is the fence: two processes that count the same events cannot both keep them.
UPDATE taskdb_reporter SET until = {later :lease}, xid = {integer xid}, event_id = {integer event_id}
WHERE name = 'metrics' AND holder = :holder RETURNING name{lazily}

-- query give_up
UPDATE taskdb_reporter SET until = {now} WHERE name = 'metrics' AND holder = :holder

-- query lag
SELECT {elapsed at, {now}} AS age FROM taskdb_event
WHERE (xid, id) > ({integer xid}, {integer id}) AND {has_order xid} ORDER BY xid, id LIMIT 1

-- query end: postgresql
-- The cursor after all events that can be read now.
SELECT {oldest_open} - 1 AS xid, 9223372036854775807 AS id

-- query end: sqlite
SELECT 0 AS xid, COALESCE(max(id), 0) AS id FROM taskdb_event

-- part before status attempt
-- When the task last got a status in an attempt before this event, by the history.
(SELECT max(e.at) FROM taskdb_event AS e WHERE e.task_id = page.task_id
 AND e.to_status = '{status}' AND e.attempt = {attempt} AND e.id < page.id)

-- part wait
-- The seconds from queued to claimed; for a first attempt never QUEUED, from its due time. NULL for a
-- later attempt that was never QUEUED: the start of its wait is unknown.
CASE WHEN page.to_status <> 'STARTED' THEN NULL
     WHEN page.from_status = 'QUEUED' THEN {elapsed
        (CASE WHEN found.queued_at <= page.at THEN found.queued_at
              ELSE {before QUEUED, page.attempt - 1} END), page.at}
     WHEN page.attempt = 1
     THEN {elapsed {latest found.created_at, COALESCE(found.run_at, found.created_at)}, page.at} END

-- part run
-- The seconds from claimed to the end of the attempt; NULL if its worker was lost.
CASE WHEN page.worker IS NOT NULL AND page.loss <> 'rescued'
     AND page.from_status IN ({RUNNING}) AND page.to_status NOT IN ({RUNNING})
     THEN {elapsed (CASE WHEN found.attempt = page.attempt THEN found.started_at
                         ELSE {before STARTED, page.attempt} END), page.at} END

-- part sums name
count({name}) AS {name}s, COALESCE(sum({name}), 0) AS {name}_seconds

-- part up_to name bound place
count(CASE WHEN {name} <= {bound} THEN 1 END) AS {name}_{place}

-- query page
-- Sums of a page of events, with buckets by `WAIT_SECONDS` and `RUN_SECONDS` of the module. A run is
-- rescued if its worker was lost, and crashed if its process died or would have died.
WITH page AS (
    SELECT xid, id, task_id, from_status, to_status, attempt, worker, at,
        CASE WHEN {text_in detail, error} IN ('WorkerLost') THEN 'rescued'
             WHEN {text_in detail, error} IN ('WorkerLostError',
                 'billiard.exceptions.WorkerLostError', 'taskdb_worker.run.execution.TaskExited',
                 'taskdb_worker.run.execution.TaskMemoryError') THEN 'crashed' ELSE '' END AS loss
    FROM taskdb_event WHERE (xid, id) > ({integer xid}, {integer id})
    AND {is_settled taskdb_event.xid} ORDER BY xid, id LIMIT :limit),
each AS (
    SELECT found.type, found.queue,
        CASE WHEN {truth by_tenant} THEN found.tenant ELSE '' END AS tenant,
        page.from_status, page.to_status, page.loss, {wait} AS wait, {run} AS run
    FROM page{looked_up taskdb_task,
        {task_columns}, found.id = page.task_id})
SELECT type, queue, tenant, from_status, to_status, loss, count(*) AS number,
    {sums wait}, {up_to wait, 0.1, 0}, {up_to wait, 0.5, 1}, {up_to wait, 1.0, 2},
    {up_to wait, 2.5, 3}, {up_to wait, 5.0, 4}, {up_to wait, 10.0, 5}, {up_to wait, 30.0, 6},
    {up_to wait, 60.0, 7}, {up_to wait, 300.0, 8}, {up_to wait, 900.0, 9},
    {up_to wait, 3600.0, 10}, {up_to wait, 14400.0, 11},
    {sums run}, {up_to run, 0.01, 0}, {up_to run, 0.05, 1}, {up_to run, 0.1, 2},
    {up_to run, 0.5, 3}, {up_to run, 1.0, 4}, {up_to run, 5.0, 5}, {up_to run, 10.0, 6},
    {up_to run, 30.0, 7}, {up_to run, 60.0, 8}, {up_to run, 300.0, 9}, {up_to run, 900.0, 10},
    {up_to run, 3600.0, 11},
    (SELECT xid FROM page ORDER BY xid DESC, id DESC LIMIT 1) AS last_xid,
    (SELECT id FROM page ORDER BY xid DESC, id DESC LIMIT 1) AS last_id
FROM each GROUP BY type, queue, tenant, from_status, to_status, loss

-- part task_columns
type, queue, tenant, attempt, created_at, run_at, queued_at, started_at
