-- Fragments that several statements of tasks share. `old` is the row before a move.

-- part mine
-- The token of the row is that of the run that writes. A run that ends leaves its token in the row.
-- An outcome that is written again, since the reply was lost, finds its own work by it.
old.claim_token = :token

-- part runs
-- A body runs. A task that waits for sub-tasks or a callback has status PROCESSING too.
old.status IN ({RUNNING}) AND NOT old.waits_for IS NOT NULL

-- part ready
old.held_by IS NULL
AND (old.status IN ('CREATED', 'QUEUED')
     OR (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at, {now}) <= {now}))

-- part expired
-- The deadline for the start of the first attempt passed. It does not limit a task that started.
old.started_at IS NULL AND COALESCE(old.deadline_at <= {now}, false)

-- part claimable
-- The guard of every claim: the row is ready, in time, and not stopped by admission.
({ready}) AND NOT ({expired}) AND NOT {is_refused}

-- part of_type
-- The row is of the type that a message names. NULL: any type.
({text type} IS NULL OR old.type = {text type})

-- part concerns limit row
-- A pause or limit concerns a task by its queue, type or tenant. `own`: set by the tenant itself.
{limit}.target IN ('queue') AND {limit}.name = {row}.queue
OR {limit}.target IN ('type') AND {limit}.name = {row}.type
OR {limit}.target IN ('tenant', 'own') AND {limit}.name = {row}.tenant

-- part is_refused
-- A pause stops the row, or a limit that was set after its message was sent.
(old.mutex_key IS NOT NULL AND NOT old.needs_admission
 OR EXISTS (SELECT 1 FROM taskdb_limit AS g
            WHERE (g.is_paused OR NOT old.needs_admission) AND ({concerns g, old})))

-- part needs_admission mutex queue type tenant
-- The task needs slots. One probe of the primary key for each column.
({mutex} IS NOT NULL
 OR EXISTS (SELECT 1 FROM taskdb_limit AS g WHERE g.target IN ('queue') AND g.name = {queue})
 OR EXISTS (SELECT 1 FROM taskdb_limit AS g WHERE g.target IN ('type') AND g.name = {type})
 OR EXISTS (SELECT 1 FROM taskdb_limit AS g
            WHERE g.target IN ('tenant', 'own') AND g.name = {tenant}))

-- part reported
-- A report of the body. Columns that it leaves out stay.
attributes = COALESCE({json attributes}, old.attributes),
progress_current = COALESCE({integer current}, old.progress_current),
progress_total = COALESCE({integer total}, old.progress_total),
progress_message = COALESCE({text message}, old.progress_message)

-- part waiting
-- The stage in which a parent waits, its spec, and its timeout in seconds.
waits_for = {text waits_for},
spec = {json spec},
deadline_at = CASE WHEN {number timeout} IS NULL THEN old.deadline_at
                   ELSE {later {number timeout}} END

-- part canceled_or status
-- CANCELED where a cancel was requested while the body ran.
CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE '{status}' END

-- part ended_if_canceled
CASE WHEN old.cancel_requested_at IS NOT NULL THEN {now} END

-- part held_again
-- A task that needs admission and waits again has no slots, and is held until it has new ones.
CASE WHEN old.needs_admission AND {status} IN ({PUBLISHABLE}) THEN 'admission' END

-- part error_of_attempt
-- The number of the attempt comes from the row, since the writer does not know it.
{merged {json error}, {made attempt, old.attempt}}

-- part is_dead
-- A worker was not seen within the lease, or has stopped.
(w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL
 OR w.seen_at < (SELECT {later -:lease}))

-- part is_unlisted
-- A worker has not listed a run in its last two heartbeats.
(t.started_at < w.listed_before_at
 AND NOT {lists w.claims, t.claim_token}
 AND NOT {lists w.claims_before, t.claim_token})

-- part runs_where worker
-- Runs `t` whose worker `w` meets a condition, as FROM and WHERE. `<> 'COMPLETED'` is a word of the
-- index of open tasks, by which SQLite finds it.
FROM taskdb_task AS t{looked_up taskdb_worker, *, w.id = t.worker, w}
WHERE t.status IN ('STARTED', 'PROCESSING') AND t.status <> 'COMPLETED' AND t.waits_for IS NULL
AND NOT t.is_adopted AND ({worker})

