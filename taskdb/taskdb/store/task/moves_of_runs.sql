-- The moves of a run: publish, claim, outcome, crash, hand-back. Each is one guarded move over the
-- row `old`.
--
-- ROWS selects rows, IF is the guard, SET the change, RETURNS names columns of the row as it was
-- before, also if the guard refused. A move that loses a race changes nothing. Tokens in braces are
-- parts (here or in `parts.sql`), words of `statements.py` or attributes of the dialect; see
-- `store/engine/sql_text.py`. Options:
--   as VERB           the verb of the state machine, where it is not the name of the move
--   like MOVE         clauses that are left out are those of that move
--   likely            the guard seldom refuses: it may be tried without reading the row first
--   lazy              the commit does not wait for the disk
--   many              several rows, locked in order of their ids
--   skip locked       leaves rows that another transaction has locked
--   given COLUMNS     `draft` is a row of the parameter `given` with the same id
--   planned each time the plan depends on the parameters


-- A run: published, claimed, and ended by one outcome. --------------------------------------------

-- move queue: lazy, many
-- The broker took these messages, and the rows have not changed since.
ROWS (old.id, old.relay_at) IN (SELECT draft.id, draft.relay_at FROM {rows marks})
IF old.status IN ({PUBLISHABLE})
SET status = 'QUEUED', queued_at = {now}

-- move claim: likely, lazy
-- A worker takes a waiting task. The attempt is counted, and the claim token is the fence.
ROWS old.id = :id
IF {claimable} AND {of_type}
   AND ({integer attempt} IS NULL OR old.attempt = {integer attempt})
SET status = 'STARTED',
    attempt = old.attempt + 1,
    worker = {text worker},
    claim_token = {text token},
    max_attempts = {integer max_attempts},
    may_rerun = {truth may_rerun},
    started_at = {now},
    ended_at = NULL,
    -- The task has started by its deadline. What it waits for later has a deadline of its own.
    deadline_at = NULL,
    progress_current = NULL,
    progress_total = NULL,
    progress_message = NULL,
    -- The token that an earlier run gave away is void.
    callback_hash = NULL
RETURNS {claim}

-- move claim_chunk: like claim, lazy, many
-- The items of one message, as many as it was published for. The CTE is run once. Items that
-- another delivery takes in the meantime do not count.
ROWS old.id IN (
    WITH taken AS (
        SELECT t.id FROM taskdb_task AS t
        WHERE t.chunk = :id AND (t.status IN ('CREATED', 'QUEUED')
            OR t.claim_token = {text token} AND t.status IN ('STARTED', 'PROCESSING'))
        ORDER BY t.id LIMIT :count{locking FOR UPDATE})
    SELECT id FROM taken)

-- move progress: lazy
-- The first report of progress. Later ones are no move.
ROWS old.id = :id
IF {mine} AND old.status = 'STARTED'
SET status = 'PROCESSING', {reported}
RETURNS claim_token

-- move complete: likely
ROWS old.id = :id
IF {mine} AND {runs}
SET status = 'COMPLETED', {reported}, ended_at = {now},
    result = {json result}, result_ref = {text result_ref}, error = NULL
RETURNS claim_token

-- move complete_silent: as complete, likely
-- The usual case: the body reported nothing.
ROWS old.id = :id
IF {mine} AND {runs}
SET status = 'COMPLETED', ended_at = {now},
    result = {json result}, result_ref = {text result_ref}, error = NULL
RETURNS claim_token

-- move complete_many: as complete, like complete_silent, many, given results
-- Items of a chunk.
ROWS old.id IN (SELECT draft.id FROM {rows given, results})
SET result = {as_json draft.result}, result_ref = draft.result_ref

-- move fan_out: as wait
-- The body has created sub-tasks of its task: the task waits for them, without a worker.
ROWS old.id = :id
IF {mine} AND {runs} AND old.cancel_requested_at IS NULL
SET status = 'PROCESSING', {waiting}, worker = NULL, kind = 'FAN_OUT',
    -- The error of an earlier attempt would count as the parent's own, and fail it.
    error = NULL,
    progress_current = NULL, progress_total = NULL, progress_message = NULL
RETURNS claim_token, waits_for

-- move await_callback
-- The body gave a token away and ended: the task waits without a worker. If the callback has come
-- already, the same transaction ends the task.
ROWS old.id = :id
IF {mine} AND {runs}
SET status = CASE WHEN {canceled_uncalled} THEN 'CANCELED' ELSE 'PROCESSING' END,
    waits_for = CASE WHEN {canceled_uncalled} THEN NULL ELSE 'callback' END,
    ended_at = CASE WHEN {canceled_uncalled} THEN {now} END,
    {reported},
    spec = {json spec},
    result = CASE WHEN old.called_back = 'FAILED' THEN NULL ELSE old.result END,
    error = NULL, worker = NULL, chunk = NULL
RETURNS claim_token

-- part canceled_uncalled
old.cancel_requested_at IS NOT NULL AND old.called_back IS NULL

-- move answer
-- The callback came while the body still ran. The end of the body finds it.
ROWS old.id = :id
IF {runs} AND old.called_back IS NULL
SET status = old.status, called_back = {text called_back},
    result = {json result}, result_ref = {text result_ref}

-- move finish
-- The body ended. Handlers of its type follow.
ROWS old.id = :id
IF {mine} AND {runs}
SET status = 'FINISHED', {reported}, {waiting}, worker = NULL,
    result = {json result}, result_ref = {text result_ref}, error = NULL
RETURNS claim_token

-- move error
-- The attempt failed. Another one follows when it is due.
ROWS old.id = :id
IF {mine} AND {runs}
SET status = {canceled_or ERRORED}, ended_at = {ended_if_canceled}, {reported},
    error = {json error}, run_at = {later :delay}, relay_at = {later :delay},
    worker = NULL, chunk = NULL, held_by = {held_again}
RETURNS claim_token

-- move fail
-- The attempt failed and none follows. A callback that came in the meantime is not lost: another
-- claim ends the task by it.
ROWS old.id = :id
IF {mine} AND {runs}
SET status = CASE WHEN old.called_back IS NOT NULL THEN 'ERRORED'
                  WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'FAILED' END,
    ended_at = CASE WHEN NOT (old.called_back IS NOT NULL) THEN {now} END,
    run_at = CASE WHEN old.called_back IS NOT NULL THEN {now} ELSE old.run_at END,
    relay_at = CASE WHEN old.called_back IS NOT NULL THEN {now} ELSE old.relay_at END,
    worker = CASE WHEN NOT (old.called_back IS NOT NULL) THEN old.worker END,
    held_by = CASE WHEN old.called_back IS NOT NULL AND old.needs_admission THEN 'admission'
                   ELSE old.held_by END,
    {reported}, error = {json error}
RETURNS claim_token

-- move snooze
-- The body asked to run later. The run does not count.
ROWS old.id = :id
IF {mine} AND {runs}
SET status = {canceled_or SCHEDULED}, ended_at = {ended_if_canceled}, {reported},
    run_at = {later :delay}, relay_at = {later :delay},
    worker = NULL, chunk = NULL, spared = old.spared + 1, held_by = {held_again}
RETURNS claim_token

-- move halt
ROWS old.id = :id
IF {mine} AND {runs}
SET status = {canceled_or HALTED}, ended_at = {ended_if_canceled}, {reported},
    error = {json error}
RETURNS claim_token

-- move cancel_own
ROWS old.id = :id
IF {mine} AND {runs}
SET status = 'CANCELED', {reported}, ended_at = {now}, error = {json error}
RETURNS claim_token


-- Runs whose process died. -----------------------------------------------------------------------

-- part over
-- The type allows no other run, and no callback has come, which would need none.
NOT old.may_rerun AND old.called_back IS NULL

-- part poison
old.crashes + 1 >= {integer max_crashes}

-- part alone
-- The item that crashed is known. A chunk does not know which of its items crashed.
(old.chunk IS NULL OR {over})

-- part error_of_crash
-- The error of poison names the workers on which it ran: one of them may be at fault.
{merged {error_of_attempt},
    CASE WHEN {poison} THEN {made message, {text_in {json error}, message} || '; its runs were on '
        || (SELECT {joined e.worker} FROM taskdb_event AS e
            WHERE e.task_id = old.id AND e.to_status = 'STARTED')}
    ELSE {as_json '{}'} END}

-- move crash
-- Another attempt follows. FAILED where the type allows no other run, HALTED as poison after too
-- many crashes, CANCELED where a cancel was requested.
ROWS old.id = :id
IF {mine} AND {runs}
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED'
                  WHEN {over} THEN 'FAILED' WHEN {poison} THEN 'HALTED' ELSE 'ERRORED' END,
    crashes = old.crashes + 1,
    chunk = NULL,
    error = {error_of_crash},
    run_at = {later :delay},
    relay_at = {later :delay},
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL OR {over} THEN {now} END,
    held_by = {held_again}
RETURNS claim_token

-- move rescue: like crash, many, skip locked, planned each time
-- Runs of workers that are dead or do not list them. The token excludes a row that another rescue
-- took and that was claimed again. The planner needs the value of the lease, or it reads the whole
-- table. An item of a chunk gets a message of its own, and is spared where others ran beside it.
ROWS (old.id, COALESCE(old.claim_token, '')) IN (
    SELECT t.id, COALESCE(t.claim_token, '') {runs_where {is_dead} OR {is_unlisted}}
    AND {not_aside rescue, t.id} ORDER BY t.id LIMIT :limit)
IF {runs}
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED'
                  WHEN NOT {alone} THEN 'CREATED'
                  WHEN {over} THEN 'FAILED' WHEN {poison} THEN 'HALTED' ELSE 'ERRORED' END,
    crashes = old.crashes + CASE WHEN {alone} THEN 1 ELSE 0 END,
    spared = old.spared + CASE WHEN {alone} THEN 0 ELSE 1 END,
    claim_token = NULL
RETURNS

-- move crash_chunk: as crash, like rescue, many
-- The process of a chunk died.
ROWS old.chunk = :id
IF {mine} AND {runs}
SET worker = NULL



-- Runs and messages that do not count: hand-backs. -----------------------------------------------

-- move hand_back
-- The message was rejected for requeue, or the run stopped with its worker.
ROWS old.id = :id
IF {mine} AND {runs}
SET status = {canceled_or CREATED}, ended_at = {ended_if_canceled}, run_at = NULL,
    relay_at = {later :delay}, held_by = {held_again},
    worker = NULL, chunk = NULL, spared = old.spared + 1
RETURNS claim_token

-- move hand_back_chunk: as hand_back, like hand_back, many
ROWS old.chunk = :id
SET claim_token = NULL
RETURNS

-- move hand_back_worker: like hand_back_chunk, many
-- All tasks that a worker still held when its pool was down.
ROWS old.worker = :worker AND old.status IN ({RUNNING})
IF NOT old.waits_for IS NOT NULL
RETURNS parent_id

-- move hand_back_unclaimed
-- No body ran: the process that had the message died before the claim.
ROWS old.id = :id
IF old.status = 'QUEUED' AND {of_type}
SET status = {canceled_or CREATED}, ended_at = {ended_if_canceled}, run_at = NULL,
    relay_at = {later :delay}, held_by = {held_again}, worker = NULL, claim_token = NULL

-- move hand_back_unclaimed_chunk: as hand_back_unclaimed, like hand_back_unclaimed, many
ROWS old.chunk = :id

-- move hand_back_lost: like hand_back_unclaimed, many
-- The broker lost the messages. A row that was queued again since then has another message.
ROWS old.id IN {listed_ids ids}
IF old.status = 'QUEUED' AND old.queued_at <= {moment seen}

-- move hold: as hand_back
-- A limit or pause that was set after the message was sent stops the task. Nothing ran, so nothing
-- is counted. The task is held until it has its slots.
ROWS old.id = :id
IF {ready} AND {is_refused}
SET status = 'CREATED', needs_admission = true, held_by = 'admission', relay_at = {now},
    worker = NULL, claim_token = NULL, chunk = NULL

-- move hold_chunk: as hand_back, like hold, many
ROWS old.chunk = :id

-- part too_often
-- Too many messages found no worker that knows the type, and no live worker lists the type: a
-- message alone fails no task.
old.unregistered + 1 >= {integer strays} AND NOT EXISTS (
    SELECT 1 FROM taskdb_worker AS w WHERE NOT {is_dead}
    AND {lists w.queues, old.queue} AND {lists w.types, old.type})

-- move stray
-- No worker knew the type. The task is published again later, and FAILED after too many times. One
-- message of each publication counts. For a row that was never handed back a message also counts
-- before the publisher has marked the row. A message before the task is due changes nothing.
ROWS old.id = :id
IF ({ready} AND old.type = {text type} AND {lists {json queues}, old.queue}
    AND (old.status = 'QUEUED' OR old.unregistered = 0 OR old.updated_at <= {later -:delay}))
SET status = CASE WHEN {too_often} THEN 'FAILED' ELSE 'CREATED' END,
    unregistered = old.unregistered + 1,
    ended_at = CASE WHEN {too_often} THEN {now} END,
    error = {error_of_attempt},
    relay_at = {later :delay},
    worker = NULL, claim_token = NULL, held_by = {held_again}

-- move stray_chunk: as stray, like stray, many
ROWS old.chunk = :id
