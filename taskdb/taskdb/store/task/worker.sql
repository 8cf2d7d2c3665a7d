-- The rows of workers.

-- query announce
INSERT INTO taskdb_worker (id, name, host, pid, queues, types, release, started_at, seen_at)
VALUES (:id, :name, :host, :pid, {json queues}, {json types}, :release, {now}, {now})
ON CONFLICT (id) DO UPDATE SET seen_at = {now}, queues = excluded.queues, types = excluded.types,
    stopped_at = NULL

-- part renewal lists
UPDATE taskdb_worker SET seen_at = {now}, waiting = {text waiting}{lists}
WHERE id = :id RETURNING id{lazily}

-- query renew
{renewal}

-- query renew_with_lists
-- The previous list stays beside the new one: no process runs a task that was claimed before both
-- lists and is in neither.
{renewal {new_lists}}

-- part new_lists
, claims_before = claims, listed_before_at = listed_at,
claims = {json claims}, messages = {json messages}, listed_at = {now}

-- query stop
UPDATE taskdb_worker SET stopped_at = {now} WHERE id = :id

-- query cancel_wishes
SELECT id, claim_token, {elapsed cancel_requested_at, {now}} AS waited FROM taskdb_task
WHERE worker = :worker AND status IN ('STARTED', 'PROCESSING') AND cancel_requested_at IS NOT NULL

-- query has_running
SELECT 1 AS one FROM taskdb_task
WHERE worker = :worker AND status IN ('STARTED', 'PROCESSING') LIMIT 1

-- query alive
SELECT id FROM taskdb_worker WHERE stopped_at IS NULL AND seen_at >= (SELECT {later -:seconds})
