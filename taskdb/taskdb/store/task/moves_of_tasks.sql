-- The moves of a task that no body runs, and of parents. `moves_of_runs.sql` explains the form.

-- Tasks without a running body. ------------------------------------------------------------------

-- move revoke
-- A worker ended the process of a run. Only the row, and no message, proves a requested cancel.
ROWS old.id = :id
IF {mine} AND {runs} AND old.cancel_requested_at IS NOT NULL
SET status = 'CANCELED', error = {error_of_attempt}, ended_at = {now}

-- move expire
-- The deadline of the row counts; a message may have an older one.
ROWS old.id = :id
IF old.status IN ({WAITING}) AND {expired}
SET status = 'FAILED', error = {error_of_attempt}, ended_at = {now}, held_by = NULL

-- move expire_due: as expire, like expire, many, skip locked
-- Tasks that no worker claimed by their deadline, wherever their messages are. The second list of
-- statuses repeats the words of the index, by which SQLite finds it.
ROWS old.id IN (
    SELECT id FROM taskdb_task
    WHERE deadline_at <= (SELECT {now}) AND status IN ({WAITING}) AND NOT is_adopted
    AND started_at IS NULL AND status IN ('CREATED','SCHEDULED','QUEUED','PROCESSING','ERRORED')
    AND {not_aside expire} ORDER BY deadline_at LIMIT :limit)
RETURNS parent_id

-- move expire_chunk: as expire, like expire, many
ROWS old.chunk = :id

-- part stops_later
-- The body or sub-tasks run, and the task ends after them. Nothing runs for a task that waits for a
-- callback.
(old.status IN ({RUNNING}) AND old.worker IS NOT NULL OR old.waits_for <> 'callback')

-- move cancel: many
-- Waiting tasks end at once; for running tasks a cancel is requested. A second request does not
-- prolong the grace of the body.
ROWS old.id IN {listed_ids ids}
IF old.status IN ({CANCELABLE})
SET status = CASE WHEN {stops_later} THEN old.status ELSE 'CANCELED' END,
    cancel_requested_at = COALESCE(old.cancel_requested_at, {now}),
    ended_at = CASE WHEN {stops_later} THEN NULL ELSE {now} END,
    waits_for = NULLIF(old.waits_for, 'callback'),
    held_by = NULL
RETURNS waits_for, parent_id

-- move retry: many
-- By hand, with a whole budget. The attempt number only grows. A task of a fan-out is held by the
-- window of its parent; any other that needs admission, until it has its slots.
ROWS old.id IN {listed_ids ids}
IF old.status IN ({RETRYABLE})
SET status = 'CREATED',
    spared = old.attempt, crashes = 0, unregistered = 0,
    result = NULL, result_ref = NULL, error = NULL, ended_at = NULL,
    cancel_requested_at = NULL, called_back = NULL,
    worker = NULL, claim_token = NULL, chunk = NULL,
    run_at = NULL,
    -- The operator wants the task to run now.
    deadline_at = NULL,
    spec = NULL,
    held_by = CASE WHEN {text held_by} IS NOT NULL THEN {text held_by}
                   WHEN old.needs_admission THEN 'admission' END,
    relay_at = CASE WHEN {text held_by} IS NOT NULL THEN {never}
                    WHEN old.needs_admission THEN {now} ELSE {later :delay} END

-- move retry_ended_badly: as retry, like retry, many
-- Only tasks that have not COMPLETED since they were chosen, and that do not wait for their time.
IF old.status IN ({RETRIED_IN_BULK})


-- A unique key is submitted again: every option comes from the new submit. -----------------------

-- part due delay run_at
COALESCE({later {delay}}, {run_at})

-- move resubmit
-- A task without sub-tasks.
ROWS old.tenant = :tenant AND old.type = :type AND old.unique_key = :unique_key
IF old.status IN ({RESUBMITTABLE}) AND {text kind} = 'TASK'
   AND NOT ({text_in old.spec, fan_out} IS NOT NULL OR {text_in old.spec, sequence} IS NOT NULL)
SET spared = old.attempt, crashes = 0, unregistered = 0,
    result = NULL, result_ref = NULL, error = NULL, ended_at = NULL,
    cancel_requested_at = NULL, called_back = NULL,
    worker = NULL, claim_token = NULL, spec = NULL, started_at = NULL,
    status = CASE WHEN {due_bound} > {now} THEN 'SCHEDULED' ELSE 'CREATED' END,
    run_at = {due_bound},
    needs_admission = {bound_needs_admission},
    held_by = CASE WHEN {bound_needs_admission} THEN 'admission' END,
    relay_at = CASE WHEN {due_bound} > {now} THEN {due_bound}
                    WHEN {bound_needs_admission} THEN {now} ELSE {later :grace} END,
    {bound resubmitted}

-- part due_bound
{due {number delay}, {moment run_at}}

-- part bound_needs_admission
(old.needs_admission OR {needs_admission {text mutex_key}, {text queue}, old.type, old.tenant})

-- move resubmit_part: as retry, many, given part
-- A part of a fan-out that continues. A CANCELED part waits as CREATED until it is due.
ROWS old.id IN {listed_ids ids}
IF old.status IN ({RESUBMITTABLE_PART})
SET spared = old.attempt, crashes = 0, unregistered = 0,
    result = NULL, result_ref = NULL, error = NULL, ended_at = NULL,
    cancel_requested_at = NULL, called_back = NULL,
    worker = NULL, claim_token = NULL, spec = NULL, started_at = NULL, chunk = NULL,
    status = CASE WHEN {due_given} > {now} AND old.status <> 'CANCELED' THEN 'SCHEDULED'
                  ELSE 'CREATED' END,
    run_at = {due_given},
    needs_admission = {draft_needs_admission},
    held_by = COALESCE({text held_by}, CASE WHEN {draft_needs_admission} THEN 'admission' END),
    relay_at = CASE WHEN {text held_by} IS NOT NULL THEN {never}
                    WHEN {due_given} > {now} THEN {due_given}
                    WHEN {draft_needs_admission} THEN {now} ELSE {later :grace} END,
    {drafted asked}

-- part due_given
{due draft.delay, draft.run_at}

-- part draft_needs_admission
(old.needs_admission OR {needs_admission draft.mutex_key, draft.queue, old.type, old.tenant})

-- move ask_anew: as resubmit, many, given root
-- The root of a tree that continues gets the new options. Another move changes its status.
ROWS old.id IN {listed_ids ids}
IF old.status IN ({RESUBMITTABLE})
SET status = old.status, {drafted asked}


-- Locked parents, by the states of their sub-tasks. ----------------------------------------------

-- part nothing_open
-- The guard of each end: a terminal parent has no open sub-task.
old.waits_for IS NOT NULL AND old.status IN ('PROCESSING', 'FINISHED')
AND NOT EXISTS (SELECT 1 FROM taskdb_task AS s WHERE s.parent_id = old.id AND s.status IN ({OPEN}))

-- move wait
-- A new or reopened parent starts to wait. A waiting parent enters its next stage.
ROWS old.id = :id
IF old.status = 'CREATED' OR (old.waits_for IS NOT NULL AND old.status = 'PROCESSING')
SET status = 'PROCESSING', {waiting}, worker = NULL, claim_token = NULL, error = {json error}

-- move reopen: as retry
-- One of its sub-tasks runs again, so the parent has not ended.
ROWS old.id = :id
IF old.status IN ({REOPENABLE})
SET status = 'CREATED', worker = NULL, claim_token = NULL, error = NULL, ended_at = NULL,
    cancel_requested_at = NULL

-- move doom
-- The deadline of the parent passed. The error is kept while its sub-tasks are stopped.
ROWS old.id = :id
IF old.waits_for IS NOT NULL AND old.status = 'PROCESSING' AND old.error IS NULL
SET status = old.status, error = {json error}

-- move join_complete: as complete
ROWS old.id = :id
IF {nothing_open}
SET status = 'COMPLETED', waits_for = NULL, ended_at = {now}, worker = NULL,
    result = {json result}, result_ref = {text result_ref}, error = NULL

-- move join_finish: as finish
-- The work is done. A handler still runs.
ROWS old.id = :id
IF old.waits_for IS NOT NULL AND old.status = 'PROCESSING'
SET status = 'FINISHED', {waiting}, result = {json result}, result_ref = {text result_ref}

-- move join_fail: as fail
ROWS old.id = :id
IF {nothing_open}
SET status = 'FAILED', waits_for = NULL, ended_at = {now}, worker = NULL, error = {json error}

-- move join_cancel: as cancel
ROWS old.id = :id
IF {nothing_open}
SET status = 'CANCELED', waits_for = NULL, ended_at = {now}, worker = NULL
