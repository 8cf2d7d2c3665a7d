-- Deliveries: the messages of alarms, and the subscriptions that are behind the history.
--
-- Both kinds of rows have the columns of a delivery: `attempts`, `failing_since`, `next_try_at`,
-- `last_error`, `lease_token` and `lease_until`. The parts below are the rules for both.

-- part oldest_open: postgresql
-- The xid of the oldest open transaction. Every event before it can be read.
(CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)
    + (SELECT shift FROM taskdb_history_cluster))

-- part oldest_open: sqlite
-- With one writer at a time, no event can appear before another.
9223372036854775807

-- part is_due row loop
({row}.lease_until IS NULL OR {row}.lease_until <= (SELECT {now}))
    AND ({row}.next_try_at IS NULL OR {row}.next_try_at <= (SELECT {now}))
    AND {not_aside {loop}, {row}.id}

-- part leased
lease_token = :token, lease_until = {later :lease}

-- part released
lease_token = NULL, lease_until = {now}

-- part mine
-- A process whose lease has ended changes nothing.
id = :id AND lease_token = :token

-- part failing_since
CASE WHEN :sent > 0 THEN {now} ELSE COALESCE(failing_since, {now}) END

-- part failed
attempts = CASE WHEN :sent > 0 THEN 1 ELSE attempts + 1 END, failing_since = {failing_since},
next_try_at = {later :delay}, last_error = {text reason}, {released}


-- Messages of alarms. A channel gets the messages of one alarm in their order. ---------------------

-- part due_messages
taskdb_delivery AS one WHERE one.sent_at IS NULL AND {is_due one, deliver_alarms}
    AND NOT EXISTS (SELECT 1 FROM taskdb_delivery AS earlier
        WHERE earlier.alarm_id = one.alarm_id AND earlier.channel = one.channel
        AND earlier.sequence < one.sequence AND earlier.sent_at IS NULL)

-- query due_alarm
SELECT one.channel AS target, 0 AS is_failing FROM {due_messages}
    GROUP BY one.channel ORDER BY min(one.next_try_at) LIMIT :limit

-- part first_message
SELECT one.id FROM {due_messages} AND one.channel = {text target}
    ORDER BY one.next_try_at, one.id LIMIT 1

-- query first_alarm
-- The message that could not be taken.
{first_message}

-- query take_alarm
UPDATE taskdb_delivery SET {leased}
    WHERE id = ({first_message}{locking FOR UPDATE SKIP LOCKED}) AND sent_at IS NULL
    RETURNING CAST(id AS TEXT) AS id, CAST(alarm_id AS TEXT) AS alarm_id, channel, attempts,
        CAST(message AS TEXT) AS message

-- query advance_alarm
UPDATE taskdb_delivery SET sent_at = CASE WHEN :sent > 0 THEN {now} END,
    attempts = attempts + :sent, last_error = CASE WHEN :sent > 0 THEN NULL ELSE last_error END,
    {released} WHERE {mine} AND sent_at IS NULL RETURNING id

-- query fail_alarm
UPDATE taskdb_delivery SET {failed} WHERE {mine} AND sent_at IS NULL RETURNING 'active' AS state


-- Subscriptions: a cursor over the history. --------------------------------------------------------

-- part due_subscriptions
-- Those behind the newest event that a reader may see.
taskdb_subscription AS s, (SELECT xid, id FROM taskdb_event
    WHERE xid < {oldest_open} AND {has_order xid} ORDER BY xid DESC, id DESC LIMIT 1) AS head
    WHERE s.state = 'active' AND {is_due s, deliver}
    AND (s.cursor_xid, s.cursor_id) < (head.xid, head.id)

-- query due_subscription
-- The longest waiting first.
SELECT CAST(s.id AS TEXT) AS target, s.attempts > 0 AS is_failing FROM {due_subscriptions}
    ORDER BY COALESCE(s.lease_until, s.created_at) LIMIT :limit

-- query first_subscription
SELECT id FROM taskdb_subscription WHERE id = :target

-- query take_subscription
UPDATE taskdb_subscription SET {leased}
    WHERE id = (SELECT s.id FROM {due_subscriptions} AND s.id = :target
        {locking FOR UPDATE OF s SKIP LOCKED})
    RETURNING id, tenant, is_for_all, name, transport, target, type, kind, statuses, with_sub_tasks,
        secret, previous_secret, previous_until, cursor_xid, cursor_id, attempts, {now} AS now

-- part moved
cursor_xid = :xid, cursor_id = :event, cursor_at = COALESCE({moment at}, cursor_at),
sent = sent + :sent, last_sent_at = CASE WHEN :sent > 0 THEN {now} ELSE last_sent_at END

-- query advance_subscription
UPDATE taskdb_subscription SET {moved}, attempts = 0, failing_since = NULL, next_try_at = NULL,
    last_error = NULL, lease_token = CASE WHEN {truth ends} THEN NULL ELSE lease_token END,
    lease_until = CASE WHEN {truth ends} THEN {now} ELSE {later :lease} END
    WHERE {mine} RETURNING id

-- query fail_subscription
UPDATE taskdb_subscription SET {moved}, {failed},
    state = CASE WHEN {truth is_final} OR {failing_since} <= {later -:give_up} THEN 'dead'
        ELSE state END
    WHERE {mine} RETURNING state

-- query end_of_history: postgresql
-- The cursor after all events that a reader may see now.
SELECT {oldest_open} - 1 AS xid, 9223372036854775807 AS id

-- query end_of_history: sqlite
SELECT 0 AS xid, COALESCE(max(id), 0) AS id FROM taskdb_event


-- The notifications of a subscription. -------------------------------------------------------------
--
-- A transaction that moves several tasks gets its number with the first of them, and may wait for
-- the last. Another transaction with a higher number may have moved that last task before. The event
-- of that one is then sent with the event that followed it, not in the order of its number: `e` is
-- each event of the window `w`, after the earlier events of its task. The bounds of a day limit the
-- search to few days of the history. With one writer at a time, `e` is `w`.

-- part e: postgresql
e

-- part e: sqlite
w

-- part near row
{row}.task_id = w.task_id
    AND {row}.at >= w.at - INTERVAL '1 day' AND {row}.at <= w.at + INTERVAL '1 day'

-- part with_earlier: postgresql
JOIN taskdb_event AS e ON {near e} AND e.id <= w.id AND (e.xid, e.id) >= (w.xid, w.id)
    AND NOT EXISTS (SELECT 1 FROM taskdb_event AS later WHERE {near later} AND later.id > e.id
        AND (later.xid, later.id) < (w.xid, w.id))

-- part with_earlier: sqlite

-- query page_subscription
-- `scan` and `edge` are written as numbers: for a parameter the planner assumes a tenth of the
-- history.
WITH window_of_events AS (
    SELECT * FROM taskdb_event WHERE (xid, id) > ({integer xid}, {integer event})
        AND xid < {oldest_open} AND {has_order xid} ORDER BY xid, id LIMIT :scan),
fitting AS (
    SELECT w.xid AS place_xid, w.id AS place_id, {e}.id, CAST({e}.task_id AS TEXT) AS task_id,
        {e}.tenant, {e}.from_status, {e}.to_status, {e}.attempt, {e}.worker, {e}.at,
        CAST({e}.detail AS TEXT) AS detail, t.type, t.kind, CAST(t.parent_id AS TEXT) AS parent_id,
        t.position, t.notify_id,
        CASE WHEN length(CAST(t.attributes AS TEXT)) <= {integer most_attributes}
            THEN CAST(t.attributes AS TEXT) END AS attributes,
        CASE WHEN {e}.to_status = 'COMPLETED' AND t.status = 'COMPLETED'
            AND t.attempt = {e}.attempt AND length(CAST(t.result AS TEXT)) <= {integer most_result}
            THEN CAST(t.result AS TEXT) END AS result
        FROM window_of_events AS w JOIN taskdb_task AS t ON t.id = w.task_id {with_earlier}
        WHERE ({e}.from_status IS NULL OR {e}.from_status <> {e}.to_status)
        AND ({text tenant} IS NULL OR ({e}.tenant = {text tenant} AND t.tenant = {text tenant}))
        AND ({text statuses} IS NULL OR {lists {json statuses}, {e}.to_status})
        AND ({text kind} IS NULL OR t.kind = {text kind})
        AND ({truth with_sub_tasks} OR t.parent_id IS NULL)
        AND ({text type} IS NULL OR t.type = {text type})
        -- Not LIKE, which ignores case on SQLite.
        AND substr(t.type, 1, length({text prefix})) = {text prefix}
        ORDER BY w.xid, w.id, {e}.id LIMIT :edge)
SELECT edge.xid AS edge_xid, edge.id AS edge_id, edge.at AS edge_at,
    (SELECT count(*) FROM window_of_events) AS scanned, fitting.*
    FROM (SELECT xid, id, at FROM window_of_events ORDER BY xid DESC, id DESC LIMIT 1) AS edge
    LEFT JOIN fitting ON true ORDER BY place_xid, place_id, fitting.id


-- Alarms: the failures of the history, and what waits too long. ------------------------------------

-- columns numbers
id integer

-- part failed_event
e.to_status IN ('FAILED','HALTED') AND e.from_status <> e.to_status AND {has_order e.xid}

-- part failures
-- Tasks that end well are in none of the indexes of this statement.
SELECT e.id, e.xid, CAST(e.task_id AS TEXT) AS task_id, e.tenant, e.to_status, e.attempt, e.at,
    CAST(e.detail AS TEXT) AS detail, found.type
    FROM taskdb_event AS e{looked_up taskdb_task, type, found.id = e.task_id}

-- part after_cursor
{failed_event} AND (e.xid, e.id) > ({integer xid}, {integer event})

-- query new_failures
-- The failures after a cursor, except those counted ahead of it.
{failures} WHERE {after_cursor} AND e.id NOT IN (SELECT draft.id FROM {rows ahead, numbers})
    ORDER BY e.xid, e.id LIMIT {integer limit}

-- query failures_again
{failures} WHERE e.id IN (SELECT draft.id FROM {rows again, numbers})

-- query counted_ahead
SELECT e.xid, e.id FROM taskdb_event AS e
    WHERE {after_cursor} AND e.id IN (SELECT draft.id FROM {rows ahead, numbers})

-- query horizon
SELECT {oldest_open} AS horizon

-- query has_work
-- A failure is after the cursor, or an alarm is due for a message.
SELECT 1 AS one WHERE EXISTS (SELECT 1 FROM taskdb_event AS e WHERE {failed_event}
        AND (e.xid, e.id) > (SELECT xid, event_id FROM taskdb_alarm_cursor WHERE name = 'events'))
    OR EXISTS (SELECT 1 FROM taskdb_alarm WHERE state = 'open' AND count > reported
        AND (window_until IS NULL OR window_until <= (SELECT {now})))
    OR EXISTS (SELECT 1 FROM taskdb_alarm WHERE state = 'snoozed'
        AND snoozed_until <= (SELECT {now}))

-- query waiting
-- The oldest tasks that wait for longer than `age`, by queue and type.
SELECT queue, type, min(since) AS since, count(*) AS number FROM (
    SELECT * FROM (SELECT queue, type, queued_at AS since FROM taskdb_task
        WHERE status = 'QUEUED' AND status <> 'COMPLETED'
        AND created_at < (SELECT {later -:age}) AND queued_at < (SELECT {later -:age})
        ORDER BY created_at LIMIT {integer most}) AS q
    UNION ALL SELECT * FROM (SELECT queue, type, relay_at AS since FROM taskdb_task
        WHERE status IN ('CREATED','SCHEDULED','ERRORED') AND held_by IS NULL
        AND relay_at < (SELECT {later -:age}) ORDER BY relay_at LIMIT {integer most}) AS r
    ) AS waiting GROUP BY queue, type

-- query declare_policy
-- Processes that start together write the same row: the last write stays.
INSERT INTO taskdb_alarm_policy
    (type, sources, severity, channels, group_by_tenant, backlog_seconds, declared_at)
    VALUES ({text type}, {json sources}, {text severity}, {json channels}, {truth group_by_tenant},
        {number backlog_seconds}, {now})
    ON CONFLICT (type) DO UPDATE SET sources = excluded.sources, severity = excluded.severity,
        channels = excluded.channels, group_by_tenant = excluded.group_by_tenant,
        backlog_seconds = excluded.backlog_seconds, declared_at = excluded.declared_at
    RETURNING type

-- query now
SELECT {now} AS now
