-- The other statements of tasks and trees: inserts, leases, remarks and reads.


-- Drafts become rows. ----------------------------------------------------------------------------

-- part insert columns
-- SCHEDULED if due later by the clock of the database, else CREATED. All rows of a submit get the
-- same time, so that they sort by their ids. MATERIALIZED, since each use of `limited` would run its
-- probes again. A parent waits for its sub-tasks and needs no slot. Without a WHERE, SQLite reads
-- ON CONFLICT as the ON of a join. The creator publishes parts one after another, so the relay leaves
-- the last ones to it for longer.
INSERT INTO taskdb_task ({names {columns}}, needs_admission, status, run_at, relay_at, created_at, updated_at)
WITH draft AS MATERIALIZED (
    SELECT draft.*, COALESCE({later draft.delay}, draft.run_at) AS due, (SELECT {now}) AS now,
        (draft.kind = 'TASK'
         AND {needs_admission draft.mutex_key, draft.queue, draft.type, draft.tenant}) AS limited
    FROM {rows drafts, {columns}})
SELECT {values {columns}}, draft.limited,
    CASE WHEN draft.due > draft.now THEN 'SCHEDULED' ELSE 'CREATED' END,
    draft.due,
    CASE WHEN draft.held_by IS NOT NULL THEN {never}
         WHEN draft.due > draft.now THEN draft.due
         WHEN draft.limited THEN draft.now
         ELSE {later :grace + CASE WHEN draft.role = 'part'
                                   THEN COALESCE(draft.position, 0) / 2000.0 ELSE 0 END} END,
    draft.now, draft.now
FROM draft WHERE true ON CONFLICT DO NOTHING

-- query insert
{insert drafts}

-- query insert_traced
-- Rows that continue a trace. Other rows save the column.
{insert traced}

-- query existing
-- The task with the id or the unique key of a draft. The id counts first.
SELECT {spelled id, status, relay_at, created_at, run_at, held_by} FROM taskdb_task
WHERE id = :id OR (tenant = :tenant AND type = :type AND unique_key = {text unique_key})
ORDER BY CASE WHEN id = :id THEN 0 ELSE 1 END LIMIT 1

-- query free_key
-- A terminal task gives up its unique key.
UPDATE taskdb_task SET unique_key = NULL
WHERE tenant = :tenant AND type = :type AND unique_key = :unique_key
AND status IN ({TERMINAL}) AND id <> :id


-- Publishing. ------------------------------------------------------------------------------------

-- part is_due
status IN ({PUBLISHABLE}) AND held_by IS NULL AND NOT is_adopted AND relay_at <= (SELECT {now})

-- part due_ids
SELECT id FROM taskdb_task WHERE {is_due} AND {not_aside relay} ORDER BY relay_at LIMIT :limit

-- query due
{due_ids}

-- query lease_due
-- Rows that are due get a new `relay_at`: the end of the lease. The clock is read once, since an
-- index needs a constant. The CTE is run once, since a subquery under a join may lock more rows
-- than its limit.
WITH due AS ({due_ids}{locking FOR UPDATE SKIP LOCKED})
UPDATE taskdb_task SET relay_at = {later :lease} WHERE id IN (SELECT id FROM due)
RETURNING {publication}{lazily}

-- query lease_these
UPDATE taskdb_task SET relay_at = {later :lease} WHERE id IN {listed_ids ids} AND {is_due}
RETURNING {publication}

-- query release
-- A relay gives back rows that it leased and could not publish.
UPDATE taskdb_task SET relay_at = COALESCE(run_at, created_at)
WHERE (id, relay_at) IN (SELECT draft.id, draft.relay_at FROM {rows marks})
AND status IN ({PUBLISHABLE})

-- query note_refusal
-- History rows with the reason why the broker refused messages. The lock keeps other relays away
-- until the rows have their new time.
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT t.id, t.tenant, t.status, t.status, t.attempt, t.worker, {now},
    {made refused, draft.reason}
FROM taskdb_task AS t
JOIN {rows marks, refusals} ON draft.id = t.id AND draft.relay_at = t.relay_at
WHERE t.status IN ({PUBLISHABLE}){locking FOR UPDATE OF t}

-- part waited
{elapsed {latest updated_at, COALESCE(run_at, updated_at)}, {now}}

-- query refuse
-- Refused rows are due again after a pause as long as they have waited, so pauses grow. This is no
-- move: `updated_at` stays the time since which they wait.
UPDATE taskdb_task SET relay_at = {later
    CASE WHEN {waited} < {refused} THEN {refused}
         WHEN {waited} > {refused_longest} THEN {refused_longest} ELSE {waited} END}
WHERE (id, relay_at) IN (SELECT draft.id, draft.relay_at FROM {rows marks})
AND status IN ({PUBLISHABLE})

-- query publications
-- The columns from which messages are made, as the rows are now. Held rows have no message.
SELECT {spelled {publication}} FROM taskdb_task
WHERE id IN {listed_ids ids} AND held_by IS NULL ORDER BY created_at, id


-- A run. -----------------------------------------------------------------------------------------

-- query report
-- Further progress, which is no move.
UPDATE taskdb_task AS old SET {reported}, updated_at = {now}
WHERE old.id = :id AND {mine} AND old.status = 'PROCESSING'
RETURNING id{lazily}

-- query remark
-- A history row for a task that does not move. The lock prevents a move at the same time.
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT id, tenant, status, status, attempt, worker, {now}, {json detail}
FROM taskdb_task WHERE id = :id{locking FOR SHARE}
RETURNING task_id

-- part uncanceled
claim_token = :token AND status IN ({RUNNING}) AND cancel_requested_at IS NULL

-- query cancel_wanted
-- A run that continues, and of which no cancel was requested.
SELECT 1 AS holds FROM taskdb_task WHERE id = :id AND {uncanceled}

-- query going_on
-- The items among these that continue in this run.
SELECT id FROM taskdb_task WHERE id IN {listed_ids ids} AND {uncanceled}


-- Parents and their sub-tasks. -------------------------------------------------------------------

-- query lock
-- A parent with the columns that its decisions read, locked until the transaction ends.
SELECT {read {parent}} FROM taskdb_task WHERE id = :id{locking FOR UPDATE}

-- query place
SELECT id, role, parent_id, status FROM taskdb_task WHERE id = :id

-- query trees
-- The tasks among these that are parents or sub-tasks.
SELECT id FROM taskdb_task
WHERE id IN {listed_ids ids} AND (spec IS NOT NULL OR parent_id IS NOT NULL)

-- query counts
-- The parts of a fan-out by status, over an index of their parent.
SELECT status, count(*) AS number, count(CASE WHEN held_by = 'window' THEN 1 END) AS held
FROM taskdb_task WHERE parent_id = :parent AND role = 'part' GROUP BY status

-- query window
-- The state of a window, read at the end of every part. The cost depends on the window and not on
-- the number of parts.
SELECT EXISTS (SELECT 1 FROM taskdb_task WHERE parent_id = :parent AND held_by = 'window') AS is_held,
    EXISTS (SELECT 1 FROM taskdb_task
            WHERE parent_id = :parent AND role = 'part' AND status IN ({UNDONE})) AS is_bad,
    (SELECT count(*) FROM taskdb_task WHERE parent_id = :parent AND role = 'part'
     AND (held_by IS NULL OR held_by <> 'window') AND status IN ({BUSY})) AS busy

-- query parts_left
-- The short query after a part: are parts open, is one held, does a failure end the parent?
SELECT (SELECT count(*) FROM (
        SELECT 1 AS one FROM taskdb_task
        WHERE parent_id = :parent AND role = 'part' AND status IN ({OPEN}) LIMIT {few}) AS few) AS open,
    EXISTS (SELECT 1 FROM taskdb_task WHERE parent_id = :parent AND held_by = 'window') AS is_held,
    COALESCE((SELECT {text_in spec, fan_out, join} = 'fail_fast' FROM taskdb_task
              WHERE id = :parent), false) AS is_hasty

-- part sub_task
id, status, position, name, CAST(result AS TEXT) AS result, result_ref, CAST(error AS TEXT) AS error

-- query newest_step
SELECT {sub_task} FROM taskdb_task
WHERE parent_id = :parent AND role = 'step' AND position >= :base ORDER BY position DESC LIMIT 1

-- query handlers
SELECT {sub_task} FROM taskdb_task
WHERE parent_id = :parent AND role = 'handler' AND position BETWEEN :first AND :last ORDER BY position

-- query open_ids
-- Open sub-tasks of which no cancel was requested yet.
SELECT id FROM taskdb_task
WHERE parent_id = :parent AND status IN ({OPEN}) AND cancel_requested_at IS NULL AND id > :after
ORDER BY id LIMIT :limit

-- query retryable_ids
SELECT id, spec IS NOT NULL AS is_parent FROM taskdb_task
WHERE parent_id = :parent AND role = 'part' AND (status IN ({BAD}) OR status IN ({TERMINAL}) AND :force)
AND id > :after ORDER BY id LIMIT :limit

-- query parts
-- Parts in order of their items, to compare them with those of a new submit.
SELECT id, position, status, CAST(input AS TEXT) AS input, input_ref, spec IS NOT NULL AS is_parent
FROM taskdb_task
WHERE parent_id = :parent AND role = 'part' AND position > :after ORDER BY position LIMIT :limit

-- query family
-- Parts to publish, a page at a time.
SELECT {publication} FROM taskdb_task
WHERE parent_id = :parent AND id > :after AND status = 'CREATED' AND held_by IS NULL
ORDER BY id LIMIT :limit

-- query release_held
-- The next parts for which the window has room. A part that needs slots stays held until it has
-- them. Locked in order, as a cancel of many does. A canceled part is not released.
UPDATE taskdb_task SET held_by = CASE WHEN needs_admission THEN 'admission' END,
    relay_at = CASE WHEN run_at > {now} THEN run_at
                    WHEN needs_admission THEN {now} ELSE {later :delay} END
WHERE id IN (SELECT id FROM taskdb_task WHERE parent_id = :parent AND held_by = 'window'
             ORDER BY position LIMIT :limit{locking FOR UPDATE})
RETURNING id, held_by

-- part waits_below
-- A parent `p` waits for sub-tasks.
p.waits_for <> 'callback' AND NOT p.is_adopted

-- part some_open
EXISTS (SELECT 1 FROM taskdb_task AS t
        WHERE t.parent_id = p.id AND t.status IN ({OPEN}) AND t.cancel_requested_at IS NULL)

-- part tolerated
{number_in p.spec, fan_out, tolerate}

-- part parts_of
SELECT count(*) FROM taskdb_task AS t WHERE t.parent_id = p.id AND t.role = 'part'

-- part asks_for_join
-- A join would change the parent `p`: no sub-task is open, or its end did not reach all sub-tasks,
-- or it must fail fast, or its window is not full. This is false for a healthy parent. It is true
-- for a window that cannot be read, since the join raises the error.
(NOT EXISTS (SELECT 1 FROM taskdb_task AS t WHERE t.parent_id = p.id AND t.status IN ({OPEN}))
 OR (p.cancel_requested_at IS NOT NULL OR p.error IS NOT NULL) AND {some_open}
 OR {text_in p.spec, fan_out, join} = 'fail_fast'
    AND EXISTS (SELECT 1 FROM taskdb_task AS t
                WHERE t.parent_id = p.id AND t.role = 'part' AND t.status IN ({UNDONE}))
    AND {some_open}
    AND ({parts_of} AND t.status IN ({UNDONE}))
        > CASE WHEN {tolerated} IS NULL THEN 0
               WHEN {tolerated} < 1 THEN {tolerated} * ({parts_of}) + 1e-9 ELSE {tolerated} END
 OR EXISTS (SELECT 1 FROM taskdb_task AS t WHERE t.parent_id = p.id AND t.held_by = 'window')
    AND ({number_in p.spec, fan_out, max_concurrency} IS NULL
         OR {number_in p.spec, fan_out, max_concurrency}
            > ({parts_of} AND (t.held_by IS NULL OR t.held_by <> 'window')
               AND t.status IN ({BUSY}))))

-- query neglected
-- Parents whose sub-task ended without its join.
SELECT p.id FROM taskdb_task AS p
WHERE {waits_below} AND p.id > :after AND {asks_for_join} AND {not_aside reconcile, p.id}
ORDER BY p.id LIMIT :limit

-- query neglected_page
-- Such parents among the next ones that wait. `is_last` marks the last row of a full page.
WITH page AS (
    SELECT p.id, p.spec, p.error, p.cancel_requested_at FROM taskdb_task AS p
    WHERE {waits_below} AND p.id > :after ORDER BY p.id LIMIT :look)
SELECT p.id, false AS is_last FROM page AS p
WHERE {asks_for_join} AND {not_aside reconcile, p.id}
UNION ALL
SELECT * FROM (SELECT id, true AS is_last FROM page ORDER BY id LIMIT 1 OFFSET :look - 1) AS edge

-- query overdue
-- Parents whose deadline passed. A deadline for the start does not limit the end.
SELECT id FROM taskdb_task
WHERE waits_for IN ('parts', 'steps', 'on_start') AND status = 'PROCESSING' AND NOT is_adopted
AND {not_aside reconcile} AND deadline_at <= (SELECT {now}) AND error IS NULL
AND ({text_in spec, fan_out, timeout} IS NOT NULL OR {text_in spec, sequence, timeout} IS NOT NULL)
ORDER BY id LIMIT :limit


-- Callbacks. -------------------------------------------------------------------------------------

-- query expect_callback
-- A run gives a token to an outside system. The row keeps its hash.
UPDATE taskdb_task AS old SET callback_hash = :hash, updated_at = {now},
    callback_until = COALESCE({moment until}, {later {number timeout}})
WHERE old.id = :id AND {mine} AND old.status IN ({RUNNING}) AND old.waits_for IS NULL
AND old.called_back IS NULL AND old.cancel_requested_at IS NULL
RETURNING id

-- query awaiting
-- The task of a callback, if it still accepts one.
SELECT id, tenant, type, role, parent_id, attempt FROM taskdb_task
WHERE callback_hash = :hash AND (callback_until IS NULL OR callback_until > {now})
AND status IN ({RUNNING}) AND (waits_for = 'callback' OR waits_for IS NULL AND called_back IS NULL)

-- query called_back
SELECT 1 AS holds FROM taskdb_task WHERE id = :id AND called_back IS NOT NULL

-- query late_callbacks
-- Tasks whose callback did not come in time.
SELECT id, role, parent_id FROM taskdb_task
WHERE waits_for = 'callback' AND callback_until <= (SELECT {now}) AND NOT is_adopted
AND {not_aside callbacks} ORDER BY callback_until LIMIT :limit

-- query late_callback
SELECT 1 AS holds FROM taskdb_task
WHERE id = :id AND waits_for = 'callback' AND callback_until <= {now}
