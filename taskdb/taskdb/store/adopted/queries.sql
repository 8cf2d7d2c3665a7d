-- The statements of adopted tasks.

-- columns written
-- The columns that observations write.
id id, type text, status text, queue text, priority integer, input text, result text, error text,
attributes text, attempt integer, worker text, claim_token text, created_at moment, run_at moment,
deadline_at moment, queued_at moment, started_at moment, ended_at moment

-- columns born: written
tenant text

-- columns event
task_id id, tenant text, from_status text, to_status text, attempt integer, worker text, at moment,
detail text


-- Conclusions: endings that no worker will report. ------------------------------------------------

-- part watched
-- The words of the index of adopted tasks; SQLite needs the same ones to use it.
IN ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED')

-- query missing_runs
-- Adopted tasks that run by their rows, but not by the rows of their workers. A task without a
-- worker (eager) is not watched. A live worker does not run a task that its last two reports do not
-- list. A worker's row may come later than those of its first tasks.
SELECT CAST(t.id AS TEXT) AS id, t.attempt, t.claim_token, t.worker, {now} AS now
FROM taskdb_task AS t{looked_up taskdb_worker, *, w.id = t.worker, w}
WHERE t.is_adopted AND t.status = 'STARTED' AND t.status {watched} AND t.worker IS NOT NULL
AND (w.stopped_at IS NOT NULL
     OR t.updated_at < w.listed_before_at
     AND NOT {lists w.claims, CAST(t.id AS TEXT)} AND NOT {lists w.claims_before, CAST(t.id AS TEXT)}
     OR w.id IS NULL AND t.updated_at < (SELECT {later -:lease})
     OR w.seen_at < (SELECT {later -:lease}))
AND {not_aside adopt, t.id} ORDER BY t.id LIMIT :limit

-- part waiting_rows condition
SELECT CAST(id AS TEXT) AS id, attempt, claim_token, NULL AS worker, {now} AS now FROM taskdb_task
WHERE is_adopted AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND status {watched}
AND {condition} AND {not_aside adopt} LIMIT :limit

-- query expired
-- Adopted tasks that wait though they expired a while ago, without observations since. Reports kept
-- while the database was unavailable arrive with the latest observation.
{waiting_rows updated_at < (SELECT {later -:grace}) AND deadline_at < (SELECT {later -:grace})}

-- query unseen
{waiting_rows updated_at < (SELECT {later -:patience})
 AND (run_at IS NULL OR run_at < (SELECT {later -:patience}))}


-- One transaction of observations. ----------------------------------------------------------------

-- query begin: postgresql
-- The commit does not wait for the disk: a database that dies loses observations only.
SELECT 1 AS one{lazily}

-- query begin: sqlite

-- query locked
-- An error is replaced or kept as a whole, so its type and attempt are enough.
SELECT CAST(id AS TEXT) AS id, tenant, is_adopted, type, status, queue, priority, attempt, worker,
    claim_token, created_at, run_at, deadline_at, queued_at, started_at, ended_at,
    input IS NOT NULL AS has_input, attributes <> '{}' AS has_attributes,
    {text_in error, type} AS error_type, {text_in error, attempt} AS error_attempt
FROM taskdb_task WHERE id IN {listed_ids ids} ORDER BY id{locking FOR UPDATE}

-- query insert
INSERT INTO taskdb_task (id, type, status, queue, priority, input, result, error, attributes,
    attempt, worker, claim_token, created_at, run_at, deadline_at, queued_at, started_at, ended_at,
    tenant, is_adopted, relay_at, updated_at)
SELECT draft.id, draft.type, draft.status, draft.queue, draft.priority, {as_json draft.input},
    {as_json draft.result}, {as_json draft.error},
    COALESCE({as_json draft.attributes}, {as_json '{}'}), draft.attempt, draft.worker,
    draft.claim_token, draft.created_at, draft.run_at, draft.deadline_at, draft.queued_at,
    draft.started_at, draft.ended_at, draft.tenant, true, {never}, {now}
FROM {rows drafts, born} WHERE true ON CONFLICT DO NOTHING RETURNING CAST(id AS TEXT) AS id

-- query update
-- Payloads that an observation does not know stay.
UPDATE taskdb_task AS old SET type = draft.type, status = draft.status, queue = draft.queue,
    priority = draft.priority, attempt = draft.attempt, worker = draft.worker,
    claim_token = draft.claim_token, created_at = draft.created_at, run_at = draft.run_at,
    deadline_at = draft.deadline_at, queued_at = draft.queued_at, started_at = draft.started_at,
    ended_at = draft.ended_at,
    input = COALESCE({as_json draft.input}, old.input),
    result = COALESCE({as_json draft.result}, old.result),
    attributes = COALESCE({as_json draft.attributes}, old.attributes),
    error = CASE WHEN draft.status = 'COMPLETED' THEN NULL
                 ELSE COALESCE({as_json draft.error}, old.error) END,
    updated_at = {now}
FROM {rows drafts, written} WHERE old.id = draft.id

-- part into_history at
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT draft.task_id, draft.tenant, draft.from_status, draft.to_status, draft.attempt, draft.worker,
    {at}, {as_json draft.detail}
FROM {rows drafts, event}

-- query remember
{into_history COALESCE(draft.at, {now})}

-- query remark
-- Late observations, unless they are there: a reporter repeats a report after a failure, with the
-- moment of its own clock.
{into_history draft.at}
WHERE NOT EXISTS (SELECT 1 FROM taskdb_event AS e WHERE e.task_id = draft.task_id
                  AND e.attempt = draft.attempt AND e.at = draft.at AND e.detail IS NOT NULL)
RETURNING attempt
