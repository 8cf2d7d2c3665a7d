-- move answer
WITH old AS (
  SELECT old.id, old.status, old.worker, old.waits_for, old.called_back, old.is_adopted
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = old.status, waits_for = old.waits_for, called_back = CAST(:called_back AS TEXT),
      result = CAST(:result AS JSONB), result_ref = CAST(:result_ref AS TEXT), updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('STARTED', 'PROCESSING') AND NOT old.waits_for IS NOT NULL
      AND old.called_back IS NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move ask_anew
WITH old AS (
  SELECT old.id, old.status, old.worker, old.is_adopted, old.tenant, old.type, old.unique_key,
      old.waits_for
  FROM taskdb_task AS old
  WHERE old.id IN (
    SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET tenant = old.tenant, type = old.type, unique_key = old.unique_key, mutex_key =
      draft.mutex_key, status = old.status, waits_for = old.waits_for, name = draft.name, queue =
      draft.queue, priority = draft.priority, attributes = CAST(draft.attributes AS JSONB), tags =
      CAST(draft.tags AS JSONB), request_id = draft.request_id, created_by = draft.created_by,
      created_ip = draft.created_ip, deadline_at = draft.deadline_at, notify_id = draft.notify_id,
      trace = draft.trace, updated_at = clock_timestamp()
  FROM old
  JOIN jsonb_to_recordset(CAST(:given AS JSONB)) AS draft(name TEXT, queue TEXT, priority BIGINT,
      attributes TEXT, tags TEXT, mutex_key TEXT, request_id TEXT, created_by TEXT, created_ip TEXT,
      deadline_at TIMESTAMPTZ, notify_id TEXT, trace TEXT, id UUID) ON draft.id = old.id
  WHERE t.id = old.id AND (old.status IN ('SCHEDULED', 'FAILED', 'HALTED')) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move await_callback
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.cancel_requested_at, old.called_back, old.attributes, old.progress_current,
      old.progress_total, old.progress_message, old.result
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL AND old.called_back IS NULL THEN
      'CANCELED' ELSE 'PROCESSING' END, waits_for = CASE WHEN old.cancel_requested_at IS NOT NULL
      AND old.called_back IS NULL THEN NULL ELSE 'callback' END, ended_at = CASE WHEN
      old.cancel_requested_at IS NOT NULL AND old.called_back IS NULL THEN clock_timestamp() END,
      attributes = COALESCE(CAST(:attributes AS JSONB), old.attributes), progress_current =
      COALESCE(CAST(:current AS BIGINT), old.progress_current), progress_total =
      COALESCE(CAST(:total AS BIGINT), old.progress_total), progress_message =
      COALESCE(CAST(:message AS TEXT), old.progress_message), spec = CAST(:spec AS JSONB), result =
      CASE WHEN old.called_back = 'FAILED' THEN NULL ELSE old.result END, error = NULL, worker =
      NULL, chunk = NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move cancel
WITH old AS (
  SELECT old.id, old.status, old.worker, old.waits_for, old.parent_id, old.is_adopted,
      old.cancel_requested_at
  FROM taskdb_task AS old
  WHERE old.id IN (
    SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN (old.status IN ('STARTED', 'PROCESSING') AND old.worker IS NOT NULL OR
      old.waits_for <> 'callback') THEN old.status ELSE 'CANCELED' END, waits_for =
      NULLIF(old.waits_for, 'callback'), cancel_requested_at = COALESCE(old.cancel_requested_at,
      clock_timestamp()), ended_at = CASE WHEN (old.status IN ('STARTED', 'PROCESSING') AND
      old.worker IS NOT NULL OR old.waits_for <> 'callback') THEN NULL ELSE clock_timestamp() END,
      held_by = NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING',
      'FINISHED', 'ERRORED', 'HALTED')) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.waits_for, CAST(old.parent_id AS TEXT) AS
    parent_id, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move cancel_own
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.attributes, old.progress_current, old.progress_total, old.progress_message
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'CANCELED', waits_for = old.waits_for, attributes = COALESCE(CAST(:attributes AS
      JSONB), old.attributes), progress_current = COALESCE(CAST(:current AS BIGINT),
      old.progress_current), progress_total = COALESCE(CAST(:total AS BIGINT), old.progress_total),
      progress_message = COALESCE(CAST(:message AS TEXT), old.progress_message), ended_at =
      clock_timestamp(), error = CAST(:error AS JSONB), updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move claim
WITH old AS (
  SELECT old.id, old.status, old.worker, old.attempt, old.spared, old.crashes, old.tenant, old.type,
      old.input, old.input_ref, old.result, old.result_ref, old.error, old.attributes, old.role,
      old.parent_id, old.position, old.needs_admission, old.queue, old.trace, old.claim_token,
      old.called_back, old.mutex_key, old.held_by, old.run_at, old.started_at, old.deadline_at,
      old.is_adopted, old.waits_for
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'STARTED', waits_for = old.waits_for, attempt = old.attempt + 1, spared = old.spared,
      worker = CAST(:worker AS TEXT), claim_token = CAST(:token AS TEXT), max_attempts =
      CAST(:max_attempts AS BIGINT), may_rerun = CAST(:may_rerun AS BOOLEAN), started_at =
      clock_timestamp(), ended_at = NULL, deadline_at = NULL, progress_current = NULL,
      progress_total = NULL, progress_message = NULL, callback_hash = NULL, updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND ((old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at, clock_timestamp()) <=
      clock_timestamp()))) AND NOT (old.started_at IS NULL AND COALESCE(old.deadline_at <=
      clock_timestamp(), false)) AND NOT (old.mutex_key IS NOT NULL AND NOT old.needs_admission OR
      EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE (g.is_paused OR NOT old.needs_admission) AND (g.target IN ('queue') AND g.name =
            old.queue OR g.target IN ('type') AND g.name = old.type OR g.target IN ('tenant', 'own')
            AND g.name = old.tenant))) AND (CAST(:type AS TEXT) IS NULL OR old.type = CAST(:type AS
            TEXT)) AND (CAST(:attempt AS BIGINT) IS NULL OR old.attempt = CAST(:attempt AS BIGINT)))
            AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.attempt, old.spared, old.crashes, old.tenant,
    old.type, CAST(old.input AS TEXT) AS input, old.input_ref, CAST(old.result AS TEXT) AS result,
    old.result_ref, CAST(old.error AS TEXT) AS error, CAST(old.attributes AS TEXT) AS attributes,
    old.role, CAST(old.parent_id AS TEXT) AS parent_id, old.position, old.needs_admission,
    old.queue, old.trace, old.claim_token, old.called_back, old.mutex_key, moved.status AS moved_to,
    set_config('synchronous_commit', 'off', true)
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move claim, tried first
WITH moved AS (
  UPDATE taskdb_task AS old
  SET status = 'STARTED', attempt = old.attempt + 1, worker = CAST(:worker AS TEXT), claim_token =
      CAST(:token AS TEXT), max_attempts = CAST(:max_attempts AS BIGINT), may_rerun =
      CAST(:may_rerun AS BOOLEAN), started_at = clock_timestamp(), ended_at = NULL, deadline_at =
      NULL, progress_current = NULL, progress_total = NULL, progress_message = NULL, callback_hash =
      NULL, updated_at = clock_timestamp()
  WHERE old.id = :id AND CASE WHEN ((old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at, clock_timestamp()) <=
      clock_timestamp()))) AND NOT (old.started_at IS NULL AND COALESCE(old.deadline_at <=
      clock_timestamp(), false)) AND NOT (old.mutex_key IS NOT NULL AND NOT old.needs_admission OR
      EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE (g.is_paused OR NOT old.needs_admission) AND (g.target IN ('queue') AND g.name =
            old.queue OR g.target IN ('type') AND g.name = old.type OR g.target IN ('tenant', 'own')
            AND g.name = old.tenant))) AND (CAST(:type AS TEXT) IS NULL OR old.type = CAST(:type AS
            TEXT)) AND (CAST(:attempt AS BIGINT) IS NULL OR old.attempt = CAST(:attempt AS BIGINT)))
            AND NOT old.is_adopted THEN true ELSE false END
  RETURNING
  WITH (OLD AS was) old.id AS moved_id, old.tenant AS moved_tenant, old.status AS moved_to,
      old.attempt AS moved_attempt, COALESCE(old.worker, was.worker) AS moved_worker, was.status,
      was.attempt, was.spared, was.crashes, was.tenant, was.type, CAST(was.input AS TEXT) AS input,
      was.input_ref, CAST(was.result AS TEXT) AS result, was.result_ref, CAST(was.error AS TEXT) AS
      error, CAST(was.attributes AS TEXT) AS attributes, was.role, CAST(was.parent_id AS TEXT) AS
      parent_id, was.position, was.needs_admission, was.queue, was.trace, was.claim_token,
      was.called_back, was.mutex_key), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved_id, moved_tenant, status, moved_to, moved_attempt, moved_worker, clock_timestamp(),
      CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(moved_id AS TEXT) AS id, status, attempt, spared, crashes, tenant, type, input,
    input_ref, result, result_ref, error, attributes, role, parent_id, position, needs_admission,
    queue, trace, claim_token, called_back, mutex_key, moved_to, set_config('synchronous_commit',
    'off', true)
FROM moved

-- move claim_chunk
WITH old AS (
  SELECT old.id, old.status, old.worker, old.attempt, old.spared, old.crashes, old.tenant, old.type,
      old.input, old.input_ref, old.result, old.result_ref, old.error, old.attributes, old.role,
      old.parent_id, old.position, old.needs_admission, old.queue, old.trace, old.claim_token,
      old.called_back, old.mutex_key, old.held_by, old.run_at, old.started_at, old.deadline_at,
      old.is_adopted, old.waits_for
  FROM taskdb_task AS old
  WHERE old.id IN (
    WITH taken AS (
      SELECT t.id
      FROM taskdb_task AS t
      WHERE t.chunk = :id AND (t.status IN ('CREATED', 'QUEUED') OR t.claim_token = CAST(:token AS
          TEXT) AND t.status IN ('STARTED', 'PROCESSING'))
      ORDER BY t.id
      LIMIT :count FOR UPDATE)
    SELECT id
    FROM taken)
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'STARTED', waits_for = old.waits_for, attempt = old.attempt + 1, spared = old.spared,
      worker = CAST(:worker AS TEXT), claim_token = CAST(:token AS TEXT), max_attempts =
      CAST(:max_attempts AS BIGINT), may_rerun = CAST(:may_rerun AS BOOLEAN), started_at =
      clock_timestamp(), ended_at = NULL, deadline_at = NULL, progress_current = NULL,
      progress_total = NULL, progress_message = NULL, callback_hash = NULL, updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND ((old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at, clock_timestamp()) <=
      clock_timestamp()))) AND NOT (old.started_at IS NULL AND COALESCE(old.deadline_at <=
      clock_timestamp(), false)) AND NOT (old.mutex_key IS NOT NULL AND NOT old.needs_admission OR
      EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE (g.is_paused OR NOT old.needs_admission) AND (g.target IN ('queue') AND g.name =
            old.queue OR g.target IN ('type') AND g.name = old.type OR g.target IN ('tenant', 'own')
            AND g.name = old.tenant))) AND (CAST(:type AS TEXT) IS NULL OR old.type = CAST(:type AS
            TEXT)) AND (CAST(:attempt AS BIGINT) IS NULL OR old.attempt = CAST(:attempt AS BIGINT)))
            AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.attempt, old.spared, old.crashes, old.tenant,
    old.type, CAST(old.input AS TEXT) AS input, old.input_ref, CAST(old.result AS TEXT) AS result,
    old.result_ref, CAST(old.error AS TEXT) AS error, CAST(old.attributes AS TEXT) AS attributes,
    old.role, CAST(old.parent_id AS TEXT) AS parent_id, old.position, old.needs_admission,
    old.queue, old.trace, old.claim_token, old.called_back, old.mutex_key, moved.status AS moved_to,
    set_config('synchronous_commit', 'off', true)
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move complete
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.attributes, old.progress_current, old.progress_total, old.progress_message
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'COMPLETED', waits_for = old.waits_for, attributes = COALESCE(CAST(:attributes AS
      JSONB), old.attributes), progress_current = COALESCE(CAST(:current AS BIGINT),
      old.progress_current), progress_total = COALESCE(CAST(:total AS BIGINT), old.progress_total),
      progress_message = COALESCE(CAST(:message AS TEXT), old.progress_message), ended_at =
      clock_timestamp(), result = CAST(:result AS JSONB), result_ref = CAST(:result_ref AS TEXT),
      error = NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move complete, tried first
WITH moved AS (
  UPDATE taskdb_task AS old
  SET status = 'COMPLETED', attributes = COALESCE(CAST(:attributes AS JSONB), old.attributes),
      progress_current = COALESCE(CAST(:current AS BIGINT), old.progress_current), progress_total =
      COALESCE(CAST(:total AS BIGINT), old.progress_total), progress_message =
      COALESCE(CAST(:message AS TEXT), old.progress_message), ended_at = clock_timestamp(), result =
      CAST(:result AS JSONB), result_ref = CAST(:result_ref AS TEXT), error = NULL, updated_at =
      clock_timestamp()
  WHERE old.id = :id AND CASE WHEN (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted THEN true ELSE false
      END
  RETURNING
  WITH (OLD AS was) old.id AS moved_id, old.tenant AS moved_tenant, old.status AS moved_to,
      old.attempt AS moved_attempt, COALESCE(old.worker, was.worker) AS moved_worker, was.status,
      was.claim_token), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved_id, moved_tenant, status, moved_to, moved_attempt, moved_worker, clock_timestamp(),
      CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(moved_id AS TEXT) AS id, status, claim_token, moved_to
FROM moved

-- move complete_many
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted
  FROM taskdb_task AS old
  WHERE old.id IN (
    SELECT draft.id
    FROM jsonb_to_recordset(CAST(:given AS JSONB)) AS draft(id UUID, result TEXT, result_ref TEXT))
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'COMPLETED', waits_for = old.waits_for, ended_at = clock_timestamp(), result =
      CAST(draft.result AS JSONB), result_ref = draft.result_ref, error = NULL, updated_at =
      clock_timestamp()
  FROM old
  JOIN jsonb_to_recordset(CAST(:given AS JSONB)) AS draft(id UUID, result TEXT, result_ref TEXT) ON
      draft.id = old.id
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move complete_silent
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'COMPLETED', waits_for = old.waits_for, ended_at = clock_timestamp(), result =
      CAST(:result AS JSONB), result_ref = CAST(:result_ref AS TEXT), error = NULL, updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move complete_silent, tried first
WITH moved AS (
  UPDATE taskdb_task AS old
  SET status = 'COMPLETED', ended_at = clock_timestamp(), result = CAST(:result AS JSONB),
      result_ref = CAST(:result_ref AS TEXT), error = NULL, updated_at = clock_timestamp()
  WHERE old.id = :id AND CASE WHEN (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted THEN true ELSE false
      END
  RETURNING
  WITH (OLD AS was) old.id AS moved_id, old.tenant AS moved_tenant, old.status AS moved_to,
      old.attempt AS moved_attempt, COALESCE(old.worker, was.worker) AS moved_worker, was.status,
      was.claim_token), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved_id, moved_tenant, status, moved_to, moved_attempt, moved_worker, clock_timestamp(),
      CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(moved_id AS TEXT) AS id, status, claim_token, moved_to
FROM moved

-- move crash
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.cancel_requested_at, old.may_rerun, old.called_back, old.crashes, old.attempt,
      old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' WHEN NOT old.may_rerun
      AND old.called_back IS NULL THEN 'FAILED' WHEN old.crashes + 1 >= CAST(:max_crashes AS BIGINT)
      THEN 'HALTED' ELSE 'ERRORED' END, waits_for = old.waits_for, crashes = old.crashes + 1, chunk
      = NULL, error = ((CAST(:error AS JSONB) || jsonb_build_object('attempt', old.attempt)) || CASE
      WHEN old.crashes + 1 >= CAST(:max_crashes AS BIGINT) THEN jsonb_build_object('message',
      (CAST(:error AS JSONB) #>> '{message}') || '; its runs were on ' || (
        SELECT string_agg(DISTINCT e.worker, ',')
        FROM taskdb_event AS e
        WHERE e.task_id = old.id AND e.to_status = 'STARTED')) ELSE CAST('{}' AS JSONB) END), run_at
            = (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))),
            relay_at = (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE
            PRECISION))), ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL OR NOT
            old.may_rerun AND old.called_back IS NULL THEN clock_timestamp() END, held_by = CASE
            WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT NULL THEN
            'CANCELED' WHEN NOT old.may_rerun AND old.called_back IS NULL THEN 'FAILED' WHEN
            old.crashes + 1 >= CAST(:max_crashes AS BIGINT) THEN 'HALTED' ELSE 'ERRORED' END IN
            ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move crash_chunk
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.cancel_requested_at, old.chunk, old.may_rerun, old.called_back, old.crashes, old.attempt,
      old.spared, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.chunk = :id
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' WHEN NOT (old.chunk IS
      NULL OR NOT old.may_rerun AND old.called_back IS NULL) THEN 'CREATED' WHEN NOT old.may_rerun
      AND old.called_back IS NULL THEN 'FAILED' WHEN old.crashes + 1 >= CAST(:max_crashes AS BIGINT)
      THEN 'HALTED' ELSE 'ERRORED' END, waits_for = old.waits_for, attempt = old.attempt, spared =
      old.spared + CASE WHEN (old.chunk IS NULL OR NOT old.may_rerun AND old.called_back IS NULL)
      THEN 0 ELSE 1 END, crashes = old.crashes + CASE WHEN (old.chunk IS NULL OR NOT old.may_rerun
      AND old.called_back IS NULL) THEN 1 ELSE 0 END, chunk = NULL, error = ((CAST(:error AS JSONB)
      || jsonb_build_object('attempt', old.attempt)) || CASE WHEN old.crashes + 1 >=
      CAST(:max_crashes AS BIGINT) THEN jsonb_build_object('message', (CAST(:error AS JSONB) #>>
      '{message}') || '; its runs were on ' || (
        SELECT string_agg(DISTINCT e.worker, ',')
        FROM taskdb_event AS e
        WHERE e.task_id = old.id AND e.to_status = 'STARTED')) ELSE CAST('{}' AS JSONB) END), run_at
            = (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))),
            relay_at = (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE
            PRECISION))), ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL OR NOT
            old.may_rerun AND old.called_back IS NULL THEN clock_timestamp() END, held_by = CASE
            WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT NULL THEN
            'CANCELED' WHEN NOT (old.chunk IS NULL OR NOT old.may_rerun AND old.called_back IS NULL)
            THEN 'CREATED' WHEN NOT old.may_rerun AND old.called_back IS NULL THEN 'FAILED' WHEN
            old.crashes + 1 >= CAST(:max_crashes AS BIGINT) THEN 'HALTED' ELSE 'ERRORED' END IN
            ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END, claim_token = NULL, worker =
            NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move doom
WITH old AS (
  SELECT old.id, old.status, old.worker, old.waits_for, old.error, old.is_adopted
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = old.status, waits_for = old.waits_for, error = CAST(:error AS JSONB), updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.waits_for IS NOT NULL AND old.status = 'PROCESSING' AND old.error IS
      NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move error
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.cancel_requested_at, old.attributes, old.progress_current, old.progress_total,
      old.progress_message, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'ERRORED' END,
      waits_for = old.waits_for, ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN
      clock_timestamp() END, attributes = COALESCE(CAST(:attributes AS JSONB), old.attributes),
      progress_current = COALESCE(CAST(:current AS BIGINT), old.progress_current), progress_total =
      COALESCE(CAST(:total AS BIGINT), old.progress_total), progress_message =
      COALESCE(CAST(:message AS TEXT), old.progress_message), error = CAST(:error AS JSONB), run_at
      = (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), relay_at =
      (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), worker = NULL,
      chunk = NULL, held_by = CASE WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS
      NOT NULL THEN 'CANCELED' ELSE 'ERRORED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN
      'admission' END, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move expire
WITH old AS (
  SELECT old.id, old.status, old.worker, old.started_at, old.deadline_at, old.is_adopted,
      old.waits_for, old.attempt
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'FAILED', waits_for = old.waits_for, error = (CAST(:error AS JSONB) ||
      jsonb_build_object('attempt', old.attempt)), ended_at = clock_timestamp(), held_by = NULL,
      updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND
      old.started_at IS NULL AND COALESCE(old.deadline_at <= clock_timestamp(), false)) AND NOT
      old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move expire_chunk
WITH old AS (
  SELECT old.id, old.status, old.worker, old.started_at, old.deadline_at, old.is_adopted,
      old.waits_for, old.attempt
  FROM taskdb_task AS old
  WHERE old.chunk = :id
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'FAILED', waits_for = old.waits_for, error = (CAST(:error AS JSONB) ||
      jsonb_build_object('attempt', old.attempt)), ended_at = clock_timestamp(), held_by = NULL,
      updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND
      old.started_at IS NULL AND COALESCE(old.deadline_at <= clock_timestamp(), false)) AND NOT
      old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move expire_due
WITH old AS (
  SELECT old.id, old.status, old.worker, old.parent_id, old.started_at, old.deadline_at,
      old.is_adopted, old.waits_for, old.attempt
  FROM taskdb_task AS old
  WHERE old.id IN (
    SELECT id
    FROM taskdb_task
    WHERE deadline_at <= (
      SELECT clock_timestamp()) AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND NOT
          is_adopted AND started_at IS NULL AND status IN
          ('CREATED','SCHEDULED','QUEUED','PROCESSING','ERRORED') AND CAST(id AS TEXT) NOT IN (
      SELECT a.key
      FROM taskdb_set_aside AS a
      WHERE a.loop = 'expire' AND a.next_try_at > (
        SELECT clock_timestamp()))
    ORDER BY deadline_at
    LIMIT :limit)
  ORDER BY old.id FOR UPDATE SKIP LOCKED), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'FAILED', waits_for = old.waits_for, error = (CAST(:error AS JSONB) ||
      jsonb_build_object('attempt', old.attempt)), ended_at = clock_timestamp(), held_by = NULL,
      updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND
      old.started_at IS NULL AND COALESCE(old.deadline_at <= clock_timestamp(), false)) AND NOT
      old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, CAST(old.parent_id AS TEXT) AS parent_id,
    moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move fail
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.called_back, old.cancel_requested_at, old.run_at, old.relay_at, old.needs_admission,
      old.held_by, old.attributes, old.progress_current, old.progress_total, old.progress_message
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.called_back IS NOT NULL THEN 'ERRORED' WHEN old.cancel_requested_at IS
      NOT NULL THEN 'CANCELED' ELSE 'FAILED' END, waits_for = old.waits_for, ended_at = CASE WHEN
      NOT (old.called_back IS NOT NULL) THEN clock_timestamp() END, run_at = CASE WHEN
      old.called_back IS NOT NULL THEN clock_timestamp() ELSE old.run_at END, relay_at = CASE WHEN
      old.called_back IS NOT NULL THEN clock_timestamp() ELSE old.relay_at END, worker = CASE WHEN
      NOT (old.called_back IS NOT NULL) THEN old.worker END, held_by = CASE WHEN old.called_back IS
      NOT NULL AND old.needs_admission THEN 'admission' ELSE old.held_by END, attributes =
      COALESCE(CAST(:attributes AS JSONB), old.attributes), progress_current =
      COALESCE(CAST(:current AS BIGINT), old.progress_current), progress_total =
      COALESCE(CAST(:total AS BIGINT), old.progress_total), progress_message =
      COALESCE(CAST(:message AS TEXT), old.progress_message), error = CAST(:error AS JSONB),
      updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move fan_out
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.cancel_requested_at,
      old.is_adopted, old.deadline_at
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'PROCESSING', waits_for = CAST(:waits_for AS TEXT), spec = CAST(:spec AS JSONB),
      deadline_at = CASE WHEN CAST(:timeout AS DOUBLE PRECISION) IS NULL THEN old.deadline_at ELSE
      (clock_timestamp() + make_interval(secs => CAST(CAST(:timeout AS DOUBLE PRECISION) AS DOUBLE
      PRECISION))) END, worker = NULL, kind = 'FAN_OUT', error = NULL, progress_current = NULL,
      progress_total = NULL, progress_message = NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL AND old.cancel_requested_at IS NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, old.waits_for, moved.status AS
    moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move finish
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.attributes, old.progress_current, old.progress_total, old.progress_message,
      old.deadline_at
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'FINISHED', waits_for = CAST(:waits_for AS TEXT), attributes =
      COALESCE(CAST(:attributes AS JSONB), old.attributes), progress_current =
      COALESCE(CAST(:current AS BIGINT), old.progress_current), progress_total =
      COALESCE(CAST(:total AS BIGINT), old.progress_total), progress_message =
      COALESCE(CAST(:message AS TEXT), old.progress_message), spec = CAST(:spec AS JSONB),
      deadline_at = CASE WHEN CAST(:timeout AS DOUBLE PRECISION) IS NULL THEN old.deadline_at ELSE
      (clock_timestamp() + make_interval(secs => CAST(CAST(:timeout AS DOUBLE PRECISION) AS DOUBLE
      PRECISION))) END, worker = NULL, result = CAST(:result AS JSONB), result_ref =
      CAST(:result_ref AS TEXT), error = NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move halt
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.cancel_requested_at, old.attributes, old.progress_current, old.progress_total,
      old.progress_message
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'HALTED' END,
      waits_for = old.waits_for, ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN
      clock_timestamp() END, attributes = COALESCE(CAST(:attributes AS JSONB), old.attributes),
      progress_current = COALESCE(CAST(:current AS BIGINT), old.progress_current), progress_total =
      COALESCE(CAST(:total AS BIGINT), old.progress_total), progress_message =
      COALESCE(CAST(:message AS TEXT), old.progress_message), error = CAST(:error AS JSONB),
      updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move hand_back
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.cancel_requested_at, old.attempt, old.spared, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
      waits_for = old.waits_for, attempt = old.attempt, spared = old.spared + 1, ended_at = CASE
      WHEN old.cancel_requested_at IS NOT NULL THEN clock_timestamp() END, run_at = NULL, relay_at =
      (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), held_by = CASE
      WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED'
      ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END, worker = NULL,
      chunk = NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move hand_back_chunk
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.cancel_requested_at, old.attempt, old.spared, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.chunk = :id
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
      waits_for = old.waits_for, attempt = old.attempt, spared = old.spared + 1, ended_at = CASE
      WHEN old.cancel_requested_at IS NOT NULL THEN clock_timestamp() END, run_at = NULL, relay_at =
      (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), held_by = CASE
      WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED'
      ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END, worker = NULL,
      chunk = NULL, claim_token = NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move hand_back_lost
WITH old AS (
  SELECT old.id, old.status, old.worker, old.queued_at, old.is_adopted, old.cancel_requested_at,
      old.waits_for, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id IN (
    SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
      waits_for = old.waits_for, ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN
      clock_timestamp() END, run_at = NULL, relay_at = (clock_timestamp() + make_interval(secs =>
      CAST(:delay AS DOUBLE PRECISION))), held_by = CASE WHEN old.needs_admission AND CASE WHEN
      old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END IN ('CREATED',
      'SCHEDULED', 'ERRORED') THEN 'admission' END, worker = NULL, claim_token = NULL, updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status = 'QUEUED' AND old.queued_at <= CAST(:seen AS TIMESTAMPTZ))
      AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move hand_back_unclaimed
WITH old AS (
  SELECT old.id, old.status, old.worker, old.type, old.is_adopted, old.cancel_requested_at,
      old.waits_for, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
      waits_for = old.waits_for, ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN
      clock_timestamp() END, run_at = NULL, relay_at = (clock_timestamp() + make_interval(secs =>
      CAST(:delay AS DOUBLE PRECISION))), held_by = CASE WHEN old.needs_admission AND CASE WHEN
      old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END IN ('CREATED',
      'SCHEDULED', 'ERRORED') THEN 'admission' END, worker = NULL, claim_token = NULL, updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status = 'QUEUED' AND (CAST(:type AS TEXT) IS NULL OR old.type =
      CAST(:type AS TEXT))) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move hand_back_unclaimed_chunk
WITH old AS (
  SELECT old.id, old.status, old.worker, old.type, old.is_adopted, old.cancel_requested_at,
      old.waits_for, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.chunk = :id
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
      waits_for = old.waits_for, ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN
      clock_timestamp() END, run_at = NULL, relay_at = (clock_timestamp() + make_interval(secs =>
      CAST(:delay AS DOUBLE PRECISION))), held_by = CASE WHEN old.needs_admission AND CASE WHEN
      old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END IN ('CREATED',
      'SCHEDULED', 'ERRORED') THEN 'admission' END, worker = NULL, claim_token = NULL, updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status = 'QUEUED' AND (CAST(:type AS TEXT) IS NULL OR old.type =
      CAST(:type AS TEXT))) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move hand_back_worker
WITH old AS (
  SELECT old.id, old.status, old.worker, old.parent_id, old.waits_for, old.is_adopted,
      old.cancel_requested_at, old.attempt, old.spared, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.worker = :worker AND old.status IN ('STARTED', 'PROCESSING')
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
      waits_for = old.waits_for, attempt = old.attempt, spared = old.spared + 1, ended_at = CASE
      WHEN old.cancel_requested_at IS NOT NULL THEN clock_timestamp() END, run_at = NULL, relay_at =
      (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), held_by = CASE
      WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED'
      ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END, worker = NULL,
      chunk = NULL, claim_token = NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, CAST(old.parent_id AS TEXT) AS parent_id,
    moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move hold
WITH old AS (
  SELECT old.id, old.status, old.worker, old.held_by, old.run_at, old.mutex_key,
      old.needs_admission, old.queue, old.type, old.tenant, old.is_adopted, old.waits_for
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'CREATED', waits_for = old.waits_for, needs_admission = true, held_by = 'admission',
      relay_at = clock_timestamp(), worker = NULL, claim_token = NULL, chunk = NULL, updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at, clock_timestamp()) <=
      clock_timestamp())) AND (old.mutex_key IS NOT NULL AND NOT old.needs_admission OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE (g.is_paused OR NOT old.needs_admission) AND (g.target IN ('queue') AND g.name =
            old.queue OR g.target IN ('type') AND g.name = old.type OR g.target IN ('tenant', 'own')
            AND g.name = old.tenant)))) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move hold_chunk
WITH old AS (
  SELECT old.id, old.status, old.worker, old.held_by, old.run_at, old.mutex_key,
      old.needs_admission, old.queue, old.type, old.tenant, old.is_adopted, old.waits_for
  FROM taskdb_task AS old
  WHERE old.chunk = :id
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'CREATED', waits_for = old.waits_for, needs_admission = true, held_by = 'admission',
      relay_at = clock_timestamp(), worker = NULL, claim_token = NULL, chunk = NULL, updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at, clock_timestamp()) <=
      clock_timestamp())) AND (old.mutex_key IS NOT NULL AND NOT old.needs_admission OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE (g.is_paused OR NOT old.needs_admission) AND (g.target IN ('queue') AND g.name =
            old.queue OR g.target IN ('type') AND g.name = old.type OR g.target IN ('tenant', 'own')
            AND g.name = old.tenant)))) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move join_cancel
WITH old AS (
  SELECT old.id, old.status, old.worker, old.waits_for, old.is_adopted
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'CANCELED', waits_for = NULL, ended_at = clock_timestamp(), worker = NULL, updated_at
      = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.waits_for IS NOT NULL AND old.status IN ('PROCESSING', 'FINISHED')
      AND NOT EXISTS (
      SELECT 1
      FROM taskdb_task AS s
      WHERE s.parent_id = old.id AND s.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
          'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED'))) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move join_complete
WITH old AS (
  SELECT old.id, old.status, old.worker, old.waits_for, old.is_adopted
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'COMPLETED', waits_for = NULL, ended_at = clock_timestamp(), worker = NULL, result =
      CAST(:result AS JSONB), result_ref = CAST(:result_ref AS TEXT), error = NULL, updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.waits_for IS NOT NULL AND old.status IN ('PROCESSING', 'FINISHED')
      AND NOT EXISTS (
      SELECT 1
      FROM taskdb_task AS s
      WHERE s.parent_id = old.id AND s.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
          'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED'))) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move join_fail
WITH old AS (
  SELECT old.id, old.status, old.worker, old.waits_for, old.is_adopted
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'FAILED', waits_for = NULL, ended_at = clock_timestamp(), worker = NULL, error =
      CAST(:error AS JSONB), updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.waits_for IS NOT NULL AND old.status IN ('PROCESSING', 'FINISHED')
      AND NOT EXISTS (
      SELECT 1
      FROM taskdb_task AS s
      WHERE s.parent_id = old.id AND s.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
          'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED'))) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move join_finish
WITH old AS (
  SELECT old.id, old.status, old.worker, old.waits_for, old.is_adopted, old.deadline_at
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'FINISHED', waits_for = CAST(:waits_for AS TEXT), spec = CAST(:spec AS JSONB),
      deadline_at = CASE WHEN CAST(:timeout AS DOUBLE PRECISION) IS NULL THEN old.deadline_at ELSE
      (clock_timestamp() + make_interval(secs => CAST(CAST(:timeout AS DOUBLE PRECISION) AS DOUBLE
      PRECISION))) END, result = CAST(:result AS JSONB), result_ref = CAST(:result_ref AS TEXT),
      updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.waits_for IS NOT NULL AND old.status = 'PROCESSING') AND NOT
      old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move progress
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.is_adopted, old.waits_for,
      old.attributes, old.progress_current, old.progress_total, old.progress_message
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'PROCESSING', waits_for = old.waits_for, attributes = COALESCE(CAST(:attributes AS
      JSONB), old.attributes), progress_current = COALESCE(CAST(:current AS BIGINT),
      old.progress_current), progress_total = COALESCE(CAST(:total AS BIGINT), old.progress_total),
      progress_message = COALESCE(CAST(:message AS TEXT), old.progress_message), updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status = 'STARTED') AND NOT
      old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to,
    set_config('synchronous_commit', 'off', true)
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move queue
WITH old AS (
  SELECT old.id, old.status, old.worker, old.is_adopted, old.waits_for
  FROM taskdb_task AS old
  WHERE (old.id, old.relay_at) IN (
    SELECT draft.id, draft.relay_at
    FROM jsonb_to_recordset(CAST(:marks AS JSONB)) AS draft(id UUID, relay_at TIMESTAMPTZ))
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'QUEUED', waits_for = old.waits_for, queued_at = clock_timestamp(), updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('CREATED', 'SCHEDULED', 'ERRORED')) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to,
    set_config('synchronous_commit', 'off', true)
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move reopen
WITH old AS (
  SELECT old.id, old.status, old.worker, old.is_adopted, old.waits_for
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'CREATED', waits_for = old.waits_for, worker = NULL, claim_token = NULL, error =
      NULL, ended_at = NULL, cancel_requested_at = NULL, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('COMPLETED', 'FAILED', 'HALTED', 'CANCELED')) AND NOT
      old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move rescue
WITH old AS (
  SELECT old.id, old.status, old.worker, old.waits_for, old.is_adopted, old.cancel_requested_at,
      old.chunk, old.may_rerun, old.called_back, old.crashes, old.attempt, old.spared,
      old.needs_admission
  FROM taskdb_task AS old
  WHERE (old.id, COALESCE(old.claim_token, '')) IN (
    SELECT t.id, COALESCE(t.claim_token, '')
    FROM taskdb_task AS t
    LEFT JOIN LATERAL (
      SELECT *
      FROM taskdb_worker AS w
      WHERE w.id = t.worker OFFSET 0) AS w ON true
    WHERE t.status IN ('STARTED', 'PROCESSING') AND t.status <> 'COMPLETED' AND t.waits_for IS NULL
        AND NOT t.is_adopted AND ((w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR
        w.seen_at < (
          SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) OR
              (t.started_at < w.listed_before_at AND NOT jsonb_exists(w.claims, CAST(t.claim_token
              AS TEXT)) AND NOT jsonb_exists(w.claims_before, CAST(t.claim_token AS TEXT)))) AND
              CAST(t.id AS TEXT) NOT IN (
      SELECT a.key
      FROM taskdb_set_aside AS a
      WHERE a.loop = 'rescue' AND a.next_try_at > (
        SELECT clock_timestamp()))
    ORDER BY t.id
    LIMIT :limit)
  ORDER BY old.id FOR UPDATE SKIP LOCKED), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' WHEN NOT (old.chunk IS
      NULL OR NOT old.may_rerun AND old.called_back IS NULL) THEN 'CREATED' WHEN NOT old.may_rerun
      AND old.called_back IS NULL THEN 'FAILED' WHEN old.crashes + 1 >= CAST(:max_crashes AS BIGINT)
      THEN 'HALTED' ELSE 'ERRORED' END, waits_for = old.waits_for, attempt = old.attempt, spared =
      old.spared + CASE WHEN (old.chunk IS NULL OR NOT old.may_rerun AND old.called_back IS NULL)
      THEN 0 ELSE 1 END, crashes = old.crashes + CASE WHEN (old.chunk IS NULL OR NOT old.may_rerun
      AND old.called_back IS NULL) THEN 1 ELSE 0 END, chunk = NULL, error = ((CAST(:error AS JSONB)
      || jsonb_build_object('attempt', old.attempt)) || CASE WHEN old.crashes + 1 >=
      CAST(:max_crashes AS BIGINT) THEN jsonb_build_object('message', (CAST(:error AS JSONB) #>>
      '{message}') || '; its runs were on ' || (
        SELECT string_agg(DISTINCT e.worker, ',')
        FROM taskdb_event AS e
        WHERE e.task_id = old.id AND e.to_status = 'STARTED')) ELSE CAST('{}' AS JSONB) END), run_at
            = (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))),
            relay_at = (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE
            PRECISION))), ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL OR NOT
            old.may_rerun AND old.called_back IS NULL THEN clock_timestamp() END, held_by = CASE
            WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT NULL THEN
            'CANCELED' WHEN NOT (old.chunk IS NULL OR NOT old.may_rerun AND old.called_back IS NULL)
            THEN 'CREATED' WHEN NOT old.may_rerun AND old.called_back IS NULL THEN 'FAILED' WHEN
            old.crashes + 1 >= CAST(:max_crashes AS BIGINT) THEN 'HALTED' ELSE 'ERRORED' END IN
            ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END, claim_token = NULL, updated_at
            = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('STARTED', 'PROCESSING') AND NOT old.waits_for IS NOT
      NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move resubmit
WITH old AS (
  SELECT old.id, old.status, old.worker, old.spec, old.is_adopted, old.tenant, old.type,
      old.unique_key, old.waits_for, old.attempt, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.tenant = :tenant AND old.type = :type AND old.unique_key = :unique_key FOR UPDATE),
      moved AS (
  UPDATE taskdb_task AS t
  SET tenant = old.tenant, type = old.type, unique_key = old.unique_key, mutex_key = CAST(:mutex_key
      AS TEXT), status = CASE WHEN COALESCE((clock_timestamp() + make_interval(secs =>
      CAST(CAST(:delay AS DOUBLE PRECISION) AS DOUBLE PRECISION))), CAST(:run_at AS TIMESTAMPTZ)) >
      clock_timestamp() THEN 'SCHEDULED' ELSE 'CREATED' END, waits_for = old.waits_for, attempt =
      old.attempt, spared = old.attempt, crashes = 0, unregistered = 0, result = NULL, result_ref =
      NULL, error = NULL, ended_at = NULL, cancel_requested_at = NULL, called_back = NULL, worker =
      NULL, claim_token = NULL, spec = NULL, started_at = NULL, run_at = COALESCE((clock_timestamp()
      + make_interval(secs => CAST(CAST(:delay AS DOUBLE PRECISION) AS DOUBLE PRECISION))),
      CAST(:run_at AS TIMESTAMPTZ)), needs_admission = (old.needs_admission OR (CAST(:mutex_key AS
      TEXT) IS NOT NULL OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = CAST(:queue AS TEXT)) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))), held_by = CASE WHEN
            (old.needs_admission OR (CAST(:mutex_key AS TEXT) IS NOT NULL OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = CAST(:queue AS TEXT)) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))) THEN 'admission' END,
            relay_at = CASE WHEN COALESCE((clock_timestamp() + make_interval(secs =>
            CAST(CAST(:delay AS DOUBLE PRECISION) AS DOUBLE PRECISION))), CAST(:run_at AS
            TIMESTAMPTZ)) > clock_timestamp() THEN COALESCE((clock_timestamp() + make_interval(secs
            => CAST(CAST(:delay AS DOUBLE PRECISION) AS DOUBLE PRECISION))), CAST(:run_at AS
            TIMESTAMPTZ)) WHEN (old.needs_admission OR (CAST(:mutex_key AS TEXT) IS NOT NULL OR
            EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = CAST(:queue AS TEXT)) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))) THEN clock_timestamp() ELSE
            (clock_timestamp() + make_interval(secs => CAST(:grace AS DOUBLE PRECISION))) END, name
            = CAST(:name AS TEXT), queue = CAST(:queue AS TEXT), priority = CAST(:priority AS
            BIGINT), input = CAST(:input AS JSONB), input_ref = CAST(:input_ref AS TEXT), attributes
            = CAST(:attributes AS JSONB), tags = CAST(:tags AS JSONB), request_id = CAST(:request_id
            AS TEXT), created_by = CAST(:created_by AS TEXT), created_ip = CAST(:created_ip AS
            TEXT), deadline_at = CAST(:deadline_at AS TIMESTAMPTZ), notify_id = CAST(:notify_id AS
            TEXT), trace = CAST(:trace AS TEXT), updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('SCHEDULED', 'FAILED', 'HALTED') AND CAST(:kind AS TEXT) =
      'TASK' AND NOT ((old.spec #>> '{fan_out}') IS NOT NULL OR (old.spec #>> '{sequence}') IS NOT
      NULL)) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move resubmit_part
WITH old AS (
  SELECT old.id, old.status, old.worker, old.is_adopted, old.tenant, old.type, old.unique_key,
      old.waits_for, old.attempt, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id IN (
    SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET tenant = old.tenant, type = old.type, unique_key = old.unique_key, mutex_key =
      draft.mutex_key, status = CASE WHEN COALESCE((clock_timestamp() + make_interval(secs =>
      CAST(draft.delay AS DOUBLE PRECISION))), draft.run_at) > clock_timestamp() AND old.status <>
      'CANCELED' THEN 'SCHEDULED' ELSE 'CREATED' END, waits_for = old.waits_for, attempt =
      old.attempt, spared = old.attempt, crashes = 0, unregistered = 0, result = NULL, result_ref =
      NULL, error = NULL, ended_at = NULL, cancel_requested_at = NULL, called_back = NULL, worker =
      NULL, claim_token = NULL, spec = NULL, started_at = NULL, chunk = NULL, run_at =
      COALESCE((clock_timestamp() + make_interval(secs => CAST(draft.delay AS DOUBLE PRECISION))),
      draft.run_at), needs_admission = (old.needs_admission OR (draft.mutex_key IS NOT NULL OR
      EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))), held_by =
            COALESCE(CAST(:held_by AS TEXT), CASE WHEN (old.needs_admission OR (draft.mutex_key IS
            NOT NULL OR EXISTS (
          SELECT 1
          FROM taskdb_limit AS g
          WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
          SELECT 1
          FROM taskdb_limit AS g
          WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
          SELECT 1
          FROM taskdb_limit AS g
          WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))) THEN 'admission' END),
              relay_at = CASE WHEN CAST(:held_by AS TEXT) IS NOT NULL THEN TIMESTAMPTZ '9999-01-01
              00:00:00Z' WHEN COALESCE((clock_timestamp() + make_interval(secs => CAST(draft.delay
              AS DOUBLE PRECISION))), draft.run_at) > clock_timestamp() THEN
              COALESCE((clock_timestamp() + make_interval(secs => CAST(draft.delay AS DOUBLE
              PRECISION))), draft.run_at) WHEN (old.needs_admission OR (draft.mutex_key IS NOT NULL
              OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))) THEN clock_timestamp() ELSE
            (clock_timestamp() + make_interval(secs => CAST(:grace AS DOUBLE PRECISION))) END, name
            = draft.name, queue = draft.queue, priority = draft.priority, attributes =
            CAST(draft.attributes AS JSONB), tags = CAST(draft.tags AS JSONB), request_id =
            draft.request_id, created_by = draft.created_by, created_ip = draft.created_ip,
            deadline_at = draft.deadline_at, notify_id = draft.notify_id, trace = draft.trace,
            updated_at = clock_timestamp()
  FROM old
  JOIN jsonb_to_recordset(CAST(:given AS JSONB)) AS draft(name TEXT, queue TEXT, priority BIGINT,
      attributes TEXT, tags TEXT, mutex_key TEXT, request_id TEXT, created_by TEXT, created_ip TEXT,
      deadline_at TIMESTAMPTZ, notify_id TEXT, trace TEXT, run_at TIMESTAMPTZ, delay DOUBLE
      PRECISION, id UUID) ON draft.id = old.id
  WHERE t.id = old.id AND (old.status IN ('SCHEDULED', 'FAILED', 'HALTED', 'CANCELED')) AND NOT
      old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move retry
WITH old AS (
  SELECT old.id, old.status, old.worker, old.is_adopted, old.waits_for, old.attempt,
      old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id IN (
    SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'CREATED', waits_for = old.waits_for, attempt = old.attempt, spared = old.attempt,
      crashes = 0, unregistered = 0, result = NULL, result_ref = NULL, error = NULL, ended_at =
      NULL, cancel_requested_at = NULL, called_back = NULL, worker = NULL, claim_token = NULL, chunk
      = NULL, run_at = NULL, deadline_at = NULL, spec = NULL, held_by = CASE WHEN CAST(:held_by AS
      TEXT) IS NOT NULL THEN CAST(:held_by AS TEXT) WHEN old.needs_admission THEN 'admission' END,
      relay_at = CASE WHEN CAST(:held_by AS TEXT) IS NOT NULL THEN TIMESTAMPTZ '9999-01-01
      00:00:00Z' WHEN old.needs_admission THEN clock_timestamp() ELSE (clock_timestamp() +
      make_interval(secs => CAST(:delay AS DOUBLE PRECISION))) END, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('SCHEDULED', 'COMPLETED', 'ERRORED', 'FAILED', 'HALTED',
      'CANCELED')) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move retry_ended_badly
WITH old AS (
  SELECT old.id, old.status, old.worker, old.is_adopted, old.waits_for, old.attempt,
      old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id IN (
    SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'CREATED', waits_for = old.waits_for, attempt = old.attempt, spared = old.attempt,
      crashes = 0, unregistered = 0, result = NULL, result_ref = NULL, error = NULL, ended_at =
      NULL, cancel_requested_at = NULL, called_back = NULL, worker = NULL, claim_token = NULL, chunk
      = NULL, run_at = NULL, deadline_at = NULL, spec = NULL, held_by = CASE WHEN CAST(:held_by AS
      TEXT) IS NOT NULL THEN CAST(:held_by AS TEXT) WHEN old.needs_admission THEN 'admission' END,
      relay_at = CASE WHEN CAST(:held_by AS TEXT) IS NOT NULL THEN TIMESTAMPTZ '9999-01-01
      00:00:00Z' WHEN old.needs_admission THEN clock_timestamp() ELSE (clock_timestamp() +
      make_interval(secs => CAST(:delay AS DOUBLE PRECISION))) END, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status IN ('FAILED', 'HALTED', 'CANCELED')) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move revoke
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.cancel_requested_at,
      old.is_adopted, old.attempt
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'CANCELED', waits_for = old.waits_for, error = (CAST(:error AS JSONB) ||
      jsonb_build_object('attempt', old.attempt)), ended_at = clock_timestamp(), updated_at =
      clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL AND old.cancel_requested_at IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move snooze
WITH old AS (
  SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for, old.is_adopted,
      old.cancel_requested_at, old.attempt, old.spared, old.attributes, old.progress_current,
      old.progress_total, old.progress_message, old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'SCHEDULED' END,
      waits_for = old.waits_for, attempt = old.attempt, spared = old.spared + 1, ended_at = CASE
      WHEN old.cancel_requested_at IS NOT NULL THEN clock_timestamp() END, attributes =
      COALESCE(CAST(:attributes AS JSONB), old.attributes), progress_current =
      COALESCE(CAST(:current AS BIGINT), old.progress_current), progress_total =
      COALESCE(CAST(:total AS BIGINT), old.progress_total), progress_message =
      COALESCE(CAST(:message AS TEXT), old.progress_message), run_at = (clock_timestamp() +
      make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), relay_at = (clock_timestamp() +
      make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), worker = NULL, chunk = NULL, held_by
      = CASE WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT NULL THEN
      'CANCELED' ELSE 'SCHEDULED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END,
      updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
      NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, old.claim_token, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move stray
WITH old AS (
  SELECT old.id, old.status, old.worker, old.held_by, old.run_at, old.type, old.queue,
      old.unregistered, old.updated_at, old.is_adopted, old.waits_for, old.attempt,
      old.needs_admission
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.unregistered + 1 >= CAST(:strays AS BIGINT) AND NOT EXISTS (
    SELECT 1
    FROM taskdb_worker AS w
    WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
        SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) AND
            jsonb_exists(w.queues, CAST(old.queue AS TEXT)) AND jsonb_exists(w.types, CAST(old.type
            AS TEXT))) THEN 'FAILED' ELSE 'CREATED' END, waits_for = old.waits_for, unregistered =
            old.unregistered + 1, ended_at = CASE WHEN old.unregistered + 1 >= CAST(:strays AS
            BIGINT) AND NOT EXISTS (
    SELECT 1
    FROM taskdb_worker AS w
    WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
        SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) AND
            jsonb_exists(w.queues, CAST(old.queue AS TEXT)) AND jsonb_exists(w.types, CAST(old.type
            AS TEXT))) THEN clock_timestamp() END, error = (CAST(:error AS JSONB) ||
            jsonb_build_object('attempt', old.attempt)), relay_at = (clock_timestamp() +
            make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), worker = NULL, claim_token =
            NULL, held_by = CASE WHEN old.needs_admission AND CASE WHEN old.unregistered + 1 >=
            CAST(:strays AS BIGINT) AND NOT EXISTS (
    SELECT 1
    FROM taskdb_worker AS w
    WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
        SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) AND
            jsonb_exists(w.queues, CAST(old.queue AS TEXT)) AND jsonb_exists(w.types, CAST(old.type
            AS TEXT))) THEN 'FAILED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN
            'admission' END, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND ((old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at, clock_timestamp()) <=
      clock_timestamp())) AND old.type = CAST(:type AS TEXT) AND jsonb_exists(CAST(:queues AS
      JSONB), CAST(old.queue AS TEXT)) AND (old.status = 'QUEUED' OR old.unregistered = 0 OR
      old.updated_at <= (clock_timestamp() + make_interval(secs => CAST(-:delay AS DOUBLE
      PRECISION)))))) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move stray_chunk
WITH old AS (
  SELECT old.id, old.status, old.worker, old.held_by, old.run_at, old.type, old.queue,
      old.unregistered, old.updated_at, old.is_adopted, old.waits_for, old.attempt,
      old.needs_admission
  FROM taskdb_task AS old
  WHERE old.chunk = :id
  ORDER BY old.id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = CASE WHEN old.unregistered + 1 >= CAST(:strays AS BIGINT) AND NOT EXISTS (
    SELECT 1
    FROM taskdb_worker AS w
    WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
        SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) AND
            jsonb_exists(w.queues, CAST(old.queue AS TEXT)) AND jsonb_exists(w.types, CAST(old.type
            AS TEXT))) THEN 'FAILED' ELSE 'CREATED' END, waits_for = old.waits_for, unregistered =
            old.unregistered + 1, ended_at = CASE WHEN old.unregistered + 1 >= CAST(:strays AS
            BIGINT) AND NOT EXISTS (
    SELECT 1
    FROM taskdb_worker AS w
    WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
        SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) AND
            jsonb_exists(w.queues, CAST(old.queue AS TEXT)) AND jsonb_exists(w.types, CAST(old.type
            AS TEXT))) THEN clock_timestamp() END, error = (CAST(:error AS JSONB) ||
            jsonb_build_object('attempt', old.attempt)), relay_at = (clock_timestamp() +
            make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), worker = NULL, claim_token =
            NULL, held_by = CASE WHEN old.needs_admission AND CASE WHEN old.unregistered + 1 >=
            CAST(:strays AS BIGINT) AND NOT EXISTS (
    SELECT 1
    FROM taskdb_worker AS w
    WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
        SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) AND
            jsonb_exists(w.queues, CAST(old.queue AS TEXT)) AND jsonb_exists(w.types, CAST(old.type
            AS TEXT))) THEN 'FAILED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN
            'admission' END, updated_at = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND ((old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at, clock_timestamp()) <=
      clock_timestamp())) AND old.type = CAST(:type AS TEXT) AND jsonb_exists(CAST(:queues AS
      JSONB), CAST(old.queue AS TEXT)) AND (old.status = 'QUEUED' OR old.unregistered = 0 OR
      old.updated_at <= (clock_timestamp() + make_interval(secs => CAST(-:delay AS DOUBLE
      PRECISION)))))) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- move wait
WITH old AS (
  SELECT old.id, old.status, old.worker, old.waits_for, old.is_adopted, old.deadline_at
  FROM taskdb_task AS old
  WHERE old.id = :id FOR UPDATE), moved AS (
  UPDATE taskdb_task AS t
  SET status = 'PROCESSING', waits_for = CAST(:waits_for AS TEXT), spec = CAST(:spec AS JSONB),
      deadline_at = CASE WHEN CAST(:timeout AS DOUBLE PRECISION) IS NULL THEN old.deadline_at ELSE
      (clock_timestamp() + make_interval(secs => CAST(CAST(:timeout AS DOUBLE PRECISION) AS DOUBLE
      PRECISION))) END, worker = NULL, claim_token = NULL, error = CAST(:error AS JSONB), updated_at
      = clock_timestamp()
  FROM old
  WHERE t.id = old.id AND (old.status = 'CREATED' OR (old.waits_for IS NOT NULL AND old.status =
      'PROCESSING')) AND NOT old.is_adopted
  RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt, COALESCE(t.worker,
      old.worker) AS worker), event AS (
  INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
  SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt, moved.worker,
      clock_timestamp(), CAST(:detail AS JSONB)
  FROM moved)
SELECT CAST(old.id AS TEXT) AS id, old.status, moved.status AS moved_to
FROM old
LEFT JOIN moved ON moved.id = old.id

-- admission arrivals
SELECT id, tenant, type, queue, mutex_key, held_by
FROM taskdb_task
WHERE held_by = 'admission' AND relay_at <= (
  SELECT clock_timestamp()) AND status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND CAST(id AS TEXT)
      NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'release' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY relay_at, id
LIMIT :limit FOR UPDATE SKIP LOCKED

-- admission clear_limit
UPDATE taskdb_limit
SET max_running = NULL, max_starts = NULL, window_seconds = NULL, origin = 'person', set_by =
    CAST(:set_by AS TEXT), set_at = clock_timestamp()
WHERE target = :target AND name = :name AND (max_running IS NOT NULL OR max_starts IS NOT NULL) AND
    (CAST(:origin AS TEXT) IS NULL OR origin = CAST(:origin AS TEXT))
RETURNING name

-- admission declare
INSERT INTO taskdb_limit AS old (target, name, is_paused, max_running, max_starts, window_seconds,
    origin, reason, set_by, set_at)
VALUES (:target, :name, false, CAST(:max_running AS BIGINT), CAST(:max_starts AS BIGINT),
    CAST(:window_seconds AS DOUBLE PRECISION), :origin, NULL, CAST(:set_by AS TEXT),
    clock_timestamp())
ON CONFLICT (target, name) DO UPDATE
SET max_running = excluded.max_running, max_starts = excluded.max_starts, window_seconds =
    excluded.window_seconds, origin = excluded.origin, set_by = excluded.set_by, set_at =
    excluded.set_at
WHERE old.origin = 'code' OR old.max_running IS NULL AND old.max_starts IS NULL

-- admission drop_empty
DELETE
FROM taskdb_limit
WHERE target = :target AND name = :name AND NOT is_paused AND max_running IS NULL AND max_starts IS
    NULL

-- admission end_windows
DELETE
FROM taskdb_slot
WHERE (key, n) IN (
  SELECT s.key, s.n
  FROM taskdb_slot AS s
  WHERE s.key IN (
    SELECT draft.key
    FROM jsonb_to_recordset(CAST(:keys AS JSONB)) AS draft(key TEXT)) AND s.until <= (
    SELECT clock_timestamp()) FOR UPDATE SKIP LOCKED)

-- admission let_go
UPDATE taskdb_task
SET held_by = NULL, relay_at = (clock_timestamp() + make_interval(secs => CAST(:lease AS DOUBLE
    PRECISION))), updated_at = clock_timestamp()
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))
RETURNING id, type, queue, priority, relay_at, deadline_at, role, parent_id, chunk, trace, attempt,
    created_at

-- admission limits
SELECT g.target, g.name, g.is_paused, g.max_running, g.max_starts, g.window_seconds, g.origin,
    g.reason, g.set_by, g.set_at
FROM taskdb_limit AS g
ORDER BY target, name

-- admission look
SELECT draft.key, g.target, g.name, g.is_paused, g.max_running, g.max_starts, g.window_seconds,
    g.origin, g.reason, g.set_by, g.set_at, (
  SELECT CAST(id AS TEXT)
  FROM taskdb_task AS t
  WHERE held_by IS NOT NULL AND held_by NOT IN ('window', 'admission') AND held_by = draft.key
  ORDER BY t.id
  LIMIT 1) AS head, (
  SELECT string_agg(DISTINCT CAST(r.task_id AS TEXT), ',')
  FROM taskdb_reservation AS r
  JOIN taskdb_task AS t ON t.id = r.task_id
  WHERE r.key = draft.key AND t.held_by IS NOT NULL AND t.held_by NOT IN ('window', 'admission') AND
      t.status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND NOT EXISTS (
    SELECT 1
    FROM taskdb_limit AS p
    WHERE p.is_paused AND (p.target IN ('queue') AND p.name = t.queue OR p.target IN ('type') AND
        p.name = t.type OR p.target IN ('tenant', 'own') AND p.name = t.tenant))) AS reserved, (
  SELECT string_agg(DISTINCT CAST(s.n AS TEXT), ',')
  FROM taskdb_slot AS s
  WHERE s.key = draft.key) AS taken
FROM jsonb_to_recordset(CAST(:wait_queues AS JSONB)) AS draft(key TEXT, target TEXT, name TEXT)
LEFT JOIN taskdb_limit AS g ON g.target = draft.target AND g.name = draft.name

-- admission pause
INSERT INTO taskdb_limit (target, name, is_paused, reason, set_by, set_at)
VALUES (:target, :name, true, CAST(:reason AS TEXT), CAST(:set_by AS TEXT), clock_timestamp())
ON CONFLICT (target, name) DO UPDATE
SET is_paused = true, reason = excluded.reason, set_by = excluded.set_by, set_at = excluded.set_at

-- admission queue_up
UPDATE taskdb_task AS old
SET held_by = draft.held_by, relay_at = TIMESTAMPTZ '9999-01-01 00:00:00Z'
FROM jsonb_to_recordset(CAST(:holds AS JSONB)) AS draft(id UUID, held_by TEXT)
WHERE old.id = draft.id

-- admission reserve
INSERT INTO taskdb_reservation (key, task_id)
SELECT draft.key, draft.task_id
FROM jsonb_to_recordset(CAST(:reservations AS JSONB)) AS draft(key TEXT, task_id UUID)
WHERE true
ON CONFLICT DO NOTHING

-- admission resume
UPDATE taskdb_limit
SET is_paused = false, reason = NULL, set_by = CAST(:set_by AS TEXT), set_at = clock_timestamp()
WHERE target = :target AND name = :name AND is_paused
RETURNING name

-- admission rules
SELECT g.target, g.name, g.is_paused, g.max_running, g.max_starts, g.window_seconds, g.origin,
    g.reason, g.set_by, g.set_at
FROM taskdb_limit AS g
JOIN jsonb_to_recordset(CAST(:places AS JSONB)) AS draft(target TEXT, name TEXT) ON draft.target =
    g.target AND draft.name = g.name

-- admission set_limit
INSERT INTO taskdb_limit AS old (target, name, is_paused, max_running, max_starts, window_seconds,
    origin, reason, set_by, set_at)
VALUES (:target, :name, false, CAST(:max_running AS BIGINT), CAST(:max_starts AS BIGINT),
    CAST(:window_seconds AS DOUBLE PRECISION), :origin, NULL, CAST(:set_by AS TEXT),
    clock_timestamp())
ON CONFLICT (target, name) DO UPDATE
SET max_running = excluded.max_running, max_starts = excluded.max_starts, window_seconds =
    excluded.window_seconds, origin = excluded.origin, set_by = excluded.set_by, set_at =
    excluded.set_at

-- admission someone_waits
SELECT EXISTS (
  SELECT 1
  FROM taskdb_task
  WHERE held_by = 'admission' AND relay_at <= (
    SELECT clock_timestamp())) OR EXISTS (
  SELECT 1
  FROM taskdb_task
  WHERE held_by IS NOT NULL AND held_by NOT IN ('window', 'admission')) AS holds

-- admission sweep
DELETE
FROM taskdb_slot
WHERE (key, n) IN (
  SELECT s.key, s.n
  FROM taskdb_slot AS s
  LEFT JOIN taskdb_task AS t ON t.id = s.task_id
  WHERE s.until <= (
    SELECT clock_timestamp()) OR s.until IS NULL AND (t.id IS NULL OR NOT (t.waits_for IS NULL AND
        (t.status IN ('QUEUED', 'STARTED', 'PROCESSING') OR t.status IN ('CREATED', 'SCHEDULED',
        'ERRORED') AND t.held_by IS NULL)))
  LIMIT :limit FOR UPDATE OF s SKIP LOCKED)
RETURNING key

-- admission sweep_reservations
DELETE
FROM taskdb_reservation
WHERE (key, task_id) IN (
  SELECT r.key, r.task_id
  FROM taskdb_reservation AS r
  LEFT JOIN LATERAL (
    SELECT id, held_by, status, queue, type, tenant
    FROM taskdb_task AS found
    WHERE found.id = r.task_id OFFSET 0) AS found ON true
  WHERE found.id IS NULL OR NOT (found.held_by IS NOT NULL AND found.held_by NOT IN ('window',
      'admission') AND found.status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND NOT EXISTS (
      SELECT 1
      FROM taskdb_limit AS p
      WHERE p.is_paused AND (p.target IN ('queue') AND p.name = found.queue OR p.target IN ('type')
          AND p.name = found.type OR p.target IN ('tenant', 'own') AND p.name = found.tenant)))
  LIMIT :limit FOR UPDATE OF r SKIP LOCKED)

-- admission take
INSERT INTO taskdb_slot (key, n, task_id, seconds, taken_at)
SELECT draft.key, draft.n, draft.task_id, draft.seconds, clock_timestamp()
FROM jsonb_to_recordset(CAST(:slots AS JSONB)) AS draft(key TEXT, n BIGINT, task_id UUID, seconds
    DOUBLE PRECISION)

-- admission unreserve
DELETE
FROM taskdb_reservation
WHERE task_id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))

-- admission wait_queues
WITH RECURSIVE wait_queue(key) AS (
  SELECT *
  FROM (
    SELECT held_by
    FROM taskdb_task
    WHERE held_by IS NOT NULL AND held_by NOT IN ('window', 'admission') AND held_by > CAST(:after
        AS TEXT)
    ORDER BY held_by
    LIMIT 1) AS head
  UNION ALL
  SELECT (
    SELECT held_by
    FROM taskdb_task
    WHERE held_by IS NOT NULL AND held_by NOT IN ('window', 'admission') AND held_by >
        wait_queue.key
    ORDER BY held_by
    LIMIT 1)
  FROM wait_queue
  WHERE wait_queue.key IS NOT NULL)
SELECT key
FROM wait_queue
WHERE key IS NOT NULL
LIMIT :limit

-- admission waiting_tasks
SELECT id, tenant, type, queue, mutex_key, held_by
FROM taskdb_task
WHERE held_by IS NOT NULL AND held_by NOT IN ('window', 'admission') AND held_by = :key AND status
    IN ('CREATED', 'SCHEDULED', 'ERRORED') AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'release' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY id
LIMIT :limit FOR UPDATE SKIP LOCKED

-- adopted begin
SELECT 1 AS one, set_config('synchronous_commit', 'off', true)

-- adopted expired
SELECT CAST(id AS TEXT) AS id, attempt, claim_token, NULL AS worker, clock_timestamp() AS now
FROM taskdb_task
WHERE is_adopted AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND status IN
    ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED') AND updated_at < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:grace AS DOUBLE PRECISION)))) AND
      deadline_at < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:grace AS DOUBLE PRECISION)))) AND CAST(id
      AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'adopt' AND a.next_try_at > (
    SELECT clock_timestamp()))
LIMIT :limit

-- adopted insert
INSERT INTO taskdb_task (id, type, status, queue, priority, input, result, error, attributes,
    attempt, worker, claim_token, created_at, run_at, deadline_at, queued_at, started_at, ended_at,
    tenant, is_adopted, relay_at, updated_at)
SELECT draft.id, draft.type, draft.status, draft.queue, draft.priority, CAST(draft.input AS JSONB),
    CAST(draft.result AS JSONB), CAST(draft.error AS JSONB), COALESCE(CAST(draft.attributes AS
    JSONB), CAST('{}' AS JSONB)), draft.attempt, draft.worker, draft.claim_token, draft.created_at,
    draft.run_at, draft.deadline_at, draft.queued_at, draft.started_at, draft.ended_at,
    draft.tenant, true, TIMESTAMPTZ '9999-01-01 00:00:00Z', clock_timestamp()
FROM jsonb_to_recordset(CAST(:drafts AS JSONB)) AS draft(id UUID, type TEXT, status TEXT, queue
    TEXT, priority BIGINT, input TEXT, result TEXT, error TEXT, attributes TEXT, attempt BIGINT,
    worker TEXT, claim_token TEXT, created_at TIMESTAMPTZ, run_at TIMESTAMPTZ, deadline_at
    TIMESTAMPTZ, queued_at TIMESTAMPTZ, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, tenant TEXT)
WHERE true
ON CONFLICT DO NOTHING
RETURNING CAST(id AS TEXT) AS id

-- adopted locked
SELECT CAST(id AS TEXT) AS id, tenant, is_adopted, type, status, queue, priority, attempt, worker,
    claim_token, created_at, run_at, deadline_at, queued_at, started_at, ended_at, input IS NOT NULL
    AS has_input, attributes <> '{}' AS has_attributes, (error #>> '{type}') AS error_type, (error
    #>> '{attempt}') AS error_attempt
FROM taskdb_task
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))
ORDER BY id FOR UPDATE

-- adopted missing_runs
SELECT CAST(t.id AS TEXT) AS id, t.attempt, t.claim_token, t.worker, clock_timestamp() AS now
FROM taskdb_task AS t
LEFT JOIN LATERAL (
  SELECT *
  FROM taskdb_worker AS w
  WHERE w.id = t.worker OFFSET 0) AS w ON true
WHERE t.is_adopted AND t.status = 'STARTED' AND t.status IN
    ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED') AND t.worker IS NOT NULL AND (w.stopped_at
    IS NOT NULL OR t.updated_at < w.listed_before_at AND NOT jsonb_exists(w.claims, CAST(CAST(t.id
    AS TEXT) AS TEXT)) AND NOT jsonb_exists(w.claims_before, CAST(CAST(t.id AS TEXT) AS TEXT)) OR
    w.id IS NULL AND t.updated_at < (
    SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION)))) OR
        w.seen_at < (
    SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) AND
        CAST(t.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'adopt' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY t.id
LIMIT :limit

-- adopted remark
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT draft.task_id, draft.tenant, draft.from_status, draft.to_status, draft.attempt, draft.worker,
    draft.at, CAST(draft.detail AS JSONB)
FROM jsonb_to_recordset(CAST(:drafts AS JSONB)) AS draft(task_id UUID, tenant TEXT, from_status
    TEXT, to_status TEXT, attempt BIGINT, worker TEXT, at TIMESTAMPTZ, detail TEXT)
WHERE NOT EXISTS (
  SELECT 1
  FROM taskdb_event AS e
  WHERE e.task_id = draft.task_id AND e.attempt = draft.attempt AND e.at = draft.at AND e.detail IS
      NOT NULL)
RETURNING attempt

-- adopted remember
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT draft.task_id, draft.tenant, draft.from_status, draft.to_status, draft.attempt, draft.worker,
    COALESCE(draft.at, clock_timestamp()), CAST(draft.detail AS JSONB)
FROM jsonb_to_recordset(CAST(:drafts AS JSONB)) AS draft(task_id UUID, tenant TEXT, from_status
    TEXT, to_status TEXT, attempt BIGINT, worker TEXT, at TIMESTAMPTZ, detail TEXT)

-- adopted unseen
SELECT CAST(id AS TEXT) AS id, attempt, claim_token, NULL AS worker, clock_timestamp() AS now
FROM taskdb_task
WHERE is_adopted AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND status IN
    ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED') AND updated_at < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:patience AS DOUBLE PRECISION)))) AND
      (run_at IS NULL OR run_at < (
    SELECT (clock_timestamp() + make_interval(secs => CAST(-:patience AS DOUBLE PRECISION))))) AND
        CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'adopt' AND a.next_try_at > (
    SELECT clock_timestamp()))
LIMIT :limit

-- adopted update
UPDATE taskdb_task AS old
SET type = draft.type, status = draft.status, queue = draft.queue, priority = draft.priority,
    attempt = draft.attempt, worker = draft.worker, claim_token = draft.claim_token, created_at =
    draft.created_at, run_at = draft.run_at, deadline_at = draft.deadline_at, queued_at =
    draft.queued_at, started_at = draft.started_at, ended_at = draft.ended_at, input =
    COALESCE(CAST(draft.input AS JSONB), old.input), result = COALESCE(CAST(draft.result AS JSONB),
    old.result), attributes = COALESCE(CAST(draft.attributes AS JSONB), old.attributes), error =
    CASE WHEN draft.status = 'COMPLETED' THEN NULL ELSE COALESCE(CAST(draft.error AS JSONB),
    old.error) END, updated_at = clock_timestamp()
FROM jsonb_to_recordset(CAST(:drafts AS JSONB)) AS draft(id UUID, type TEXT, status TEXT, queue
    TEXT, priority BIGINT, input TEXT, result TEXT, error TEXT, attributes TEXT, attempt BIGINT,
    worker TEXT, claim_token TEXT, created_at TIMESTAMPTZ, run_at TIMESTAMPTZ, deadline_at
    TIMESTAMPTZ, queued_at TIMESTAMPTZ, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ)
WHERE old.id = draft.id

-- doctor/count alarms
SELECT state, severity, count(*) AS number, count(CASE WHEN NOT is_routed THEN 1 END) AS unrouted
FROM taskdb_alarm
WHERE state <> 'resolved'
GROUP BY state, severity

-- doctor/count aside
SELECT loop, count(*) AS number
FROM taskdb_set_aside
GROUP BY loop

-- doctor/count lag
WITH furthest AS (
  SELECT cursor_xid, cursor_id
  FROM taskdb_subscription
  WHERE state = 'active'
  ORDER BY cursor_xid, cursor_id
  LIMIT 1)
SELECT CAST(EXTRACT(EPOCH
    FROM clock_timestamp() - min(at)) AS DOUBLE PRECISION) AS lag
FROM (
  SELECT e.at
  FROM taskdb_event AS e
  WHERE (e.xid, e.id) > ((
      SELECT cursor_xid
      FROM furthest), (
      SELECT cursor_id
      FROM furthest)) AND e.xid < 1152921504606846976
  ORDER BY e.xid, e.id
  LIMIT 1) AS next_event

-- doctor/count messages
SELECT channel, count(*) AS number, CAST(EXTRACT(EPOCH
    FROM clock_timestamp() - min(created_at)) AS DOUBLE PRECISION) AS oldest
FROM taskdb_delivery
WHERE sent_at IS NULL
GROUP BY channel

-- doctor/count open_tasks
SELECT status, type, queue, tenant, rule, is_waiting, count(*) AS number, count(since) AS ready,
    CAST(EXTRACT(EPOCH
    FROM (
      SELECT clock_timestamp()) - min(since)) AS DOUBLE PRECISION) AS oldest
FROM (
  SELECT status, type, queue, CASE WHEN CAST(:by_tenant AS BOOLEAN) THEN tenant ELSE '' END AS
      tenant, CASE WHEN held_by IS NULL THEN '' WHEN substr(held_by, 1, 6) = 'mutex:' THEN 'mutex'
      WHEN substr(held_by, 1, 8) = 'running:' THEN 'running' WHEN substr(held_by, 1, 7) = 'starts:'
      THEN 'starts' WHEN substr(held_by, 1, 7) = 'paused:' THEN 'paused' ELSE held_by END AS rule,
      waits_for IS NOT NULL AS is_waiting, CASE WHEN held_by IS NOT NULL OR is_adopted THEN NULL
      WHEN status = 'QUEUED' THEN queued_at WHEN status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND
      (run_at IS NULL OR run_at <= (
      SELECT clock_timestamp())) THEN GREATEST(updated_at, COALESCE(run_at, updated_at)) END AS
          since
  FROM taskdb_task
  WHERE status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING', 'FINISHED', 'ERRORED',
      'HALTED') AND status <> 'COMPLETED') AS one
GROUP BY status, type, queue, tenant, rule, is_waiting

-- doctor/count schedules
SELECT count(*) AS enabled, count(last_error) AS broken, max(CAST(EXTRACT(EPOCH
      FROM clock_timestamp() - next_due_at) AS DOUBLE PRECISION)) AS lag
FROM taskdb_schedule
WHERE is_enabled

-- doctor/count sizes
SELECT 'taskdb_task' AS name, pg_total_relation_size('taskdb_task') AS size
UNION ALL
SELECT 'taskdb_event', (
  SELECT sum(pg_total_relation_size(relid))
  FROM pg_partition_tree('taskdb_event'))

-- doctor/count subscriptions
SELECT state, count(*) AS number, count(failing_since) AS failing
FROM taskdb_subscription
GROUP BY state

-- doctor/count workers
SELECT CAST(queues AS TEXT) AS queues, CAST(EXTRACT(EPOCH
    FROM clock_timestamp() - seen_at) AS DOUBLE PRECISION) AS unseen
FROM taskdb_worker
WHERE stopped_at IS NULL AND seen_at >= (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:recent AS DOUBLE PRECISION))))

-- doctor/drift adopted_lost
SELECT t.id AS example
FROM taskdb_task AS t
LEFT JOIN taskdb_worker AS w ON w.id = t.worker
WHERE t.is_adopted AND t.status = 'STARTED' AND t.worker IS NOT NULL AND t.updated_at < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION)))) AND (w.id
      IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
    SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION)))))
ORDER BY t.id
LIMIT :limit

-- doctor/drift callback_late
SELECT id AS example
FROM taskdb_task
WHERE waits_for = 'callback' AND callback_until < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:late AS DOUBLE PRECISION))))
ORDER BY callback_until
LIMIT :limit

-- doctor/drift claim_unlisted
SELECT t.id AS example
FROM taskdb_task AS t
LEFT JOIN LATERAL (
  SELECT *
  FROM taskdb_worker AS w
  WHERE w.id = t.worker OFFSET 0) AS w ON true
WHERE t.status IN ('STARTED', 'PROCESSING') AND t.status <> 'COMPLETED' AND t.waits_for IS NULL AND
    NOT t.is_adopted AND (NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR
    w.seen_at < (
      SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) AND
          (t.started_at < w.listed_before_at AND NOT jsonb_exists(w.claims, CAST(t.claim_token AS
          TEXT)) AND NOT jsonb_exists(w.claims_before, CAST(t.claim_token AS TEXT))))
ORDER BY t.id
LIMIT :limit

-- doctor/drift event_without_order
SELECT task_id AS example
FROM taskdb_event
WHERE NOT xid < 1152921504606846976
ORDER BY xid
LIMIT :limit

-- doctor/drift finished_alone
SELECT id AS example
FROM taskdb_task
WHERE status = 'FINISHED' AND waits_for IS NULL
ORDER BY id
LIMIT :limit

-- doctor/drift held_for_nothing
SELECT t.id AS example
FROM taskdb_task AS t
WHERE t.held_by IS NOT NULL AND t.updated_at < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:late AS DOUBLE PRECISION)))) AND t.status
      IN ('CREATED', 'SCHEDULED', 'ERRORED') AND (substr(t.held_by, 1, 6) = 'mutex:' AND NOT EXISTS
      (
    SELECT 1
    FROM taskdb_slot AS s
    WHERE s.key = t.held_by) OR substr(t.held_by, 1, 7) = 'paused:' AND NOT EXISTS (
    SELECT 1
    FROM taskdb_limit AS g
    WHERE t.held_by = 'paused:' || g.target || ':' || g.name AND g.is_paused) OR substr(t.held_by,
        1, 8) = 'running:' AND NOT EXISTS (
    SELECT 1
    FROM taskdb_limit AS g
    WHERE t.held_by = 'running:' || g.target || ':' || g.name AND g.max_running <= (
      SELECT count(*)
      FROM taskdb_slot AS s
      WHERE s.key = t.held_by)) OR t.held_by = 'admission')
ORDER BY t.id
LIMIT :limit

-- doctor/drift publish_refused
SELECT t.id AS example
FROM taskdb_task AS t
WHERE t.status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND t.held_by IS NULL AND NOT t.is_adopted AND
    COALESCE(t.run_at, t.created_at) <= (
  SELECT clock_timestamp()) AND EXISTS (
  SELECT 1
  FROM taskdb_event AS e
  WHERE e.task_id = t.id AND e.from_status = e.to_status AND e.at >= t.updated_at AND (e.detail #>>
      '{refused}') IS NOT NULL)
ORDER BY t.id
LIMIT :limit

-- doctor/drift schedule_broken
SELECT name AS example
FROM taskdb_schedule
WHERE is_enabled AND last_error IS NOT NULL
ORDER BY name
LIMIT :limit

-- doctor/drift schedule_refused
SELECT name || ' (' || origin || '): ' || reason AS example
FROM taskdb_schedule_refusal
ORDER BY origin, name
LIMIT :limit

-- doctor/drift slot_stale
SELECT s.key AS example
FROM taskdb_slot AS s
LEFT JOIN taskdb_task AS t ON t.id = s.task_id
WHERE s.task_id IS NOT NULL AND (t.id IS NULL OR t.waits_for IS NOT NULL OR t.status IN
    ('COMPLETED', 'FAILED', 'CANCELED', 'HALTED', 'FINISHED', 'ERRORED'))
ORDER BY s.key
LIMIT :limit

-- doctor/drift subscription_dead
SELECT name AS example
FROM taskdb_subscription
WHERE state = 'dead'
ORDER BY name
LIMIT :limit

-- doctor/drift unpublished
SELECT id AS example
FROM taskdb_task
WHERE status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND held_by IS NULL AND NOT is_adopted AND
    relay_at < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:late AS DOUBLE PRECISION))))
ORDER BY relay_at
LIMIT :limit

-- doctor/drift worker_lost
SELECT t.id AS example
FROM taskdb_task AS t
LEFT JOIN LATERAL (
  SELECT *
  FROM taskdb_worker AS w
  WHERE w.id = t.worker OFFSET 0) AS w ON true
WHERE t.status IN ('STARTED', 'PROCESSING') AND t.status <> 'COMPLETED' AND t.waits_for IS NULL AND
    NOT t.is_adopted AND ((w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR
    w.seen_at < (
      SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))))
ORDER BY t.id
LIMIT :limit

-- doctor/drift worker_stale
SELECT name AS example
FROM taskdb_worker AS w
WHERE stopped_at IS NULL AND (seen_at IS NULL OR seen_at < (
    SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))) AND
        EXISTS (
  SELECT 1
  FROM taskdb_task AS t
  WHERE t.worker = w.id AND t.status IN ('STARTED', 'PROCESSING') AND NOT t.is_adopted)
ORDER BY started_at
LIMIT :limit

-- doctor/drift worker_waits
SELECT name || ': ' || waiting AS example
FROM taskdb_worker
WHERE waiting IS NOT NULL AND stopped_at IS NULL AND seen_at >= (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))
ORDER BY name
LIMIT :limit

-- doctor before
SELECT count(*) AS number
FROM (
  SELECT 1 AS one
  FROM taskdb_task
  WHERE status = 'QUEUED' AND NOT is_adopted AND queue = :queue AND (queued_at, id) <
      (CAST(:queued_at AS TIMESTAMPTZ), :id)
  LIMIT :limit) AS few

-- doctor beside
SELECT clock_timestamp() AS now, relay_at, callback_until, unregistered
FROM taskdb_task
WHERE id = :id

-- doctor busy
SELECT count(*) AS number
FROM taskdb_task
WHERE status IN ('STARTED', 'PROCESSING') AND waits_for IS NULL AND NOT is_adopted

-- doctor first_open_below
SELECT id, tenant
FROM taskdb_task
WHERE parent_id = :id AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING',
    'FINISHED', 'ERRORED', 'HALTED') AND (held_by IS NULL OR held_by <> 'window')
ORDER BY position
LIMIT 1

-- doctor forget_dead_beats
DELETE
FROM taskdb_reporter
WHERE substr(name, 1, 5) = 'beat/' AND until < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:kept AS DOUBLE PRECISION))))

-- doctor holders
SELECT s.task_id, s.until, t.tenant
FROM taskdb_slot AS s
LEFT JOIN taskdb_task AS t ON t.id = s.task_id
WHERE s.key = :key
ORDER BY s.n
LIMIT :limit

-- doctor leave_beat
DELETE
FROM taskdb_reporter
WHERE name = :key

-- doctor limit
SELECT reason, set_by, set_at, max_running, max_starts, window_seconds, is_paused
FROM taskdb_limit
WHERE target = :target AND name = :name

-- doctor live_beats
SELECT holder
FROM taskdb_reporter
WHERE substr(name, 1, 5) = 'beat/' AND until >= (
  SELECT clock_timestamp())
ORDER BY holder

-- doctor live_workers
SELECT clock_timestamp() AS now, CAST(w.queues AS TEXT) AS queues, CAST(w.messages AS TEXT) AS
    messages
FROM (
  SELECT 1 AS one) AS always
LEFT JOIN taskdb_worker AS w ON w.stopped_at IS NULL AND w.seen_at >= (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:lease AS DOUBLE PRECISION))))

-- doctor missing_partitions
SELECT 'taskdb_event_' || to_char(day, 'YYYYMMDD') AS example
FROM generate_series((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date +
    CAST(:ahead AS INTEGER), interval '1 day') AS day
WHERE to_regclass('taskdb_event_' || to_char(day, 'YYYYMMDD')) IS NULL
ORDER BY day

-- doctor needs_a_beat
SELECT *
FROM (
  SELECT 'task ' || id AS example
  FROM taskdb_task
  WHERE status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING', 'FINISHED', 'ERRORED',
      'HALTED') AND NOT is_adopted
  LIMIT 1) AS a
UNION ALL
SELECT *
FROM (
  SELECT 'worker ' || name AS example
  FROM taskdb_worker
  WHERE stopped_at IS NULL AND CAST(queues AS TEXT) <> '[]'
  LIMIT 1) AS b
UNION ALL
SELECT *
FROM (
  SELECT 'schedule ' || name AS example
  FROM taskdb_schedule
  WHERE is_enabled
  LIMIT 1) AS c

-- doctor open_below
SELECT count(*) AS number
FROM taskdb_task
WHERE parent_id = :id AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING',
    'FINISHED', 'ERRORED', 'HALTED')

-- doctor payload_references
SELECT input_ref, result_ref
FROM taskdb_task
WHERE id IN (
  SELECT id
  FROM taskdb_task
  WHERE input_ref IS NOT NULL OR result_ref IS NOT NULL
  ORDER BY id DESC
  LIMIT :limit)

-- doctor queued
SELECT id, chunk, queue, priority, queued_at, created_at
FROM taskdb_task
WHERE status = 'QUEUED' AND status <> 'COMPLETED' AND NOT is_adopted AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'requeue' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY created_at, id
LIMIT :limit

-- doctor queued_behind
SELECT id, chunk, queue, priority, queued_at, created_at
FROM taskdb_task
WHERE (created_at, id) > (CAST(:created_at AS TIMESTAMPTZ), :id) AND status = 'QUEUED' AND status <>
    'COMPLETED' AND NOT is_adopted AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'requeue' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY created_at, id
LIMIT :limit

-- doctor queues_of_queued
SELECT DISTINCT queue AS name
FROM taskdb_task
WHERE status IN ('QUEUED') AND NOT is_adopted
LIMIT :limit

-- doctor refusal
SELECT at, (detail #>> '{refused}') AS reason
FROM taskdb_event
WHERE task_id = :id
ORDER BY id DESC
LIMIT 1

-- doctor renew_beat
INSERT INTO taskdb_reporter (name, holder, until)
VALUES (CAST(:key AS TEXT), CAST(:name AS TEXT), (clock_timestamp() + make_interval(secs =>
    CAST(:lease AS DOUBLE PRECISION))))
ON CONFLICT (name) DO UPDATE
SET until = excluded.until
RETURNING name, set_config('synchronous_commit', 'off', true)

-- doctor taken
SELECT queue, priority, max(queued_at) AS newest
FROM taskdb_task
WHERE (status IN ('STARTED', 'PROCESSING') AND worker IS NOT NULL) AND status <> 'COMPLETED' AND
    queued_at IS NOT NULL AND NOT is_adopted
GROUP BY queue, priority

-- doctor taken_within
SELECT queue, priority, max(queued_at) AS newest
FROM taskdb_task
WHERE (status IN ('STARTED', 'PROCESSING') AND worker IS NOT NULL OR started_at >=
    (clock_timestamp() + make_interval(secs => CAST(-:within AS DOUBLE PRECISION)))) AND queued_at
    IS NOT NULL AND NOT is_adopted
GROUP BY queue, priority

-- doctor types_of_waiting
SELECT DISTINCT type AS name
FROM taskdb_task
WHERE status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND NOT is_adopted
LIMIT :limit

-- doctor/statistics begin
INSERT INTO taskdb_reporter AS old (name, holder, until)
VALUES ('metrics', :holder, (clock_timestamp() + make_interval(secs => CAST(:lease AS DOUBLE
    PRECISION))))
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, until = excluded.until, xid = CASE WHEN old.until >=
    (clock_timestamp() + make_interval(secs => CAST(-:grace AS DOUBLE PRECISION))) THEN old.xid END,
    event_id = CASE WHEN old.until >= (clock_timestamp() + make_interval(secs => CAST(-:grace AS
    DOUBLE PRECISION))) THEN old.event_id END
WHERE old.holder = excluded.holder OR old.until < clock_timestamp()
RETURNING xid, event_id

-- doctor/statistics end
SELECT (CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) + (
    SELECT shift
    FROM taskdb_history_cluster)) - 1 AS xid, 9223372036854775807 AS id

-- doctor/statistics give_up
UPDATE taskdb_reporter
SET until = clock_timestamp()
WHERE name = 'metrics' AND holder = :holder

-- doctor/statistics keep
UPDATE taskdb_reporter
SET until = (clock_timestamp() + make_interval(secs => CAST(:lease AS DOUBLE PRECISION))), xid =
    CAST(:xid AS BIGINT), event_id = CAST(:event_id AS BIGINT)
WHERE name = 'metrics' AND holder = :holder
RETURNING name, set_config('synchronous_commit', 'off', true)

-- doctor/statistics lag
SELECT CAST(EXTRACT(EPOCH
    FROM clock_timestamp() - at) AS DOUBLE PRECISION) AS age
FROM taskdb_event
WHERE (xid, id) > (CAST(:xid AS BIGINT), CAST(:id AS BIGINT)) AND xid < 1152921504606846976
ORDER BY xid, id
LIMIT 1

-- doctor/statistics page
WITH page AS (
  SELECT xid, id, task_id, from_status, to_status, attempt, worker, at, CASE WHEN (detail #>>
      '{error}') IN ('WorkerLost') THEN 'rescued' WHEN (detail #>> '{error}') IN ('WorkerLostError',
      'billiard.exceptions.WorkerLostError', 'taskdb_worker.run.execution.TaskExited',
      'taskdb_worker.run.execution.TaskMemoryError') THEN 'crashed' ELSE '' END AS loss
  FROM taskdb_event
  WHERE (xid, id) > (CAST(:xid AS BIGINT), CAST(:id AS BIGINT)) AND taskdb_event.xid <
      (CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) + (
      SELECT shift
      FROM taskdb_history_cluster))
  ORDER BY xid, id
  LIMIT :limit), each AS (
  SELECT found.type, found.queue, CASE WHEN CAST(:by_tenant AS BOOLEAN) THEN found.tenant ELSE ''
      END AS tenant, page.from_status, page.to_status, page.loss, CASE WHEN page.to_status <>
      'STARTED' THEN NULL WHEN page.from_status = 'QUEUED' THEN CAST(EXTRACT(EPOCH
      FROM page.at - (CASE WHEN found.queued_at <= page.at THEN found.queued_at ELSE (
          SELECT max(e.at)
          FROM taskdb_event AS e
          WHERE e.task_id = page.task_id AND e.to_status = 'QUEUED' AND e.attempt = page.attempt - 1
              AND e.id < page.id) END)) AS DOUBLE PRECISION) WHEN page.attempt = 1 THEN
              CAST(EXTRACT(EPOCH
      FROM page.at - GREATEST(found.created_at, COALESCE(found.run_at, found.created_at))) AS DOUBLE
          PRECISION) END AS wait, CASE WHEN page.worker IS NOT NULL AND page.loss <> 'rescued' AND
          page.from_status IN ('STARTED', 'PROCESSING') AND page.to_status NOT IN ('STARTED',
          'PROCESSING') THEN CAST(EXTRACT(EPOCH
      FROM page.at - (CASE WHEN found.attempt = page.attempt THEN found.started_at ELSE (
          SELECT max(e.at)
          FROM taskdb_event AS e
          WHERE e.task_id = page.task_id AND e.to_status = 'STARTED' AND e.attempt = page.attempt
              AND e.id < page.id) END)) AS DOUBLE PRECISION) END AS run
  FROM page
  LEFT JOIN LATERAL (
    SELECT type, queue, tenant, attempt, created_at, run_at, queued_at, started_at
    FROM taskdb_task AS found
    WHERE found.id = page.task_id OFFSET 0) AS found ON true)
SELECT type, queue, tenant, from_status, to_status, loss, count(*) AS number, count(wait) AS waits,
    COALESCE(sum(wait), 0) AS wait_seconds, count(CASE WHEN wait <= 0.1 THEN 1 END) AS wait_0,
    count(CASE WHEN wait <= 0.5 THEN 1 END) AS wait_1, count(CASE WHEN wait <= 1.0 THEN 1 END) AS
    wait_2, count(CASE WHEN wait <= 2.5 THEN 1 END) AS wait_3, count(CASE WHEN wait <= 5.0 THEN 1
    END) AS wait_4, count(CASE WHEN wait <= 10.0 THEN 1 END) AS wait_5, count(CASE WHEN wait <= 30.0
    THEN 1 END) AS wait_6, count(CASE WHEN wait <= 60.0 THEN 1 END) AS wait_7, count(CASE WHEN wait
    <= 300.0 THEN 1 END) AS wait_8, count(CASE WHEN wait <= 900.0 THEN 1 END) AS wait_9, count(CASE
    WHEN wait <= 3600.0 THEN 1 END) AS wait_10, count(CASE WHEN wait <= 14400.0 THEN 1 END) AS
    wait_11, count(run) AS runs, COALESCE(sum(run), 0) AS run_seconds, count(CASE WHEN run <= 0.01
    THEN 1 END) AS run_0, count(CASE WHEN run <= 0.05 THEN 1 END) AS run_1, count(CASE WHEN run <=
    0.1 THEN 1 END) AS run_2, count(CASE WHEN run <= 0.5 THEN 1 END) AS run_3, count(CASE WHEN run
    <= 1.0 THEN 1 END) AS run_4, count(CASE WHEN run <= 5.0 THEN 1 END) AS run_5, count(CASE WHEN
    run <= 10.0 THEN 1 END) AS run_6, count(CASE WHEN run <= 30.0 THEN 1 END) AS run_7, count(CASE
    WHEN run <= 60.0 THEN 1 END) AS run_8, count(CASE WHEN run <= 300.0 THEN 1 END) AS run_9,
    count(CASE WHEN run <= 900.0 THEN 1 END) AS run_10, count(CASE WHEN run <= 3600.0 THEN 1 END) AS
    run_11, (
  SELECT xid
  FROM page
  ORDER BY xid DESC, id DESC
  LIMIT 1) AS last_xid, (
  SELECT id
  FROM page
  ORDER BY xid DESC, id DESC
  LIMIT 1) AS last_id
FROM each
GROUP BY type, queue, tenant, from_status, to_status, loss

-- doctor/vacuum held_back
SELECT *
FROM (
  SELECT 'session ' || pid AS name, COALESCE(application_name, '') AS application, COALESCE(state,
      backend_type) AS state, CAST(EXTRACT(EPOCH
      FROM clock_timestamp() - xact_start) AS DOUBLE PRECISION) AS seconds
  FROM pg_stat_activity
  WHERE pid <> pg_backend_pid() AND xact_start IS NOT NULL AND backend_type NOT IN ('autovacuum
      worker', 'walsender', 'parallel worker') AND (backend_xid IS NOT NULL OR backend_xmin IS NOT
      NULL AND datname = current_database())
  UNION ALL
  SELECT 'prepared transaction ' || gid, '', 'prepared', CAST(EXTRACT(EPOCH
      FROM clock_timestamp() - prepared) AS DOUBLE PRECISION)
  FROM pg_prepared_xacts) AS held
WHERE seconds >= :seconds
ORDER BY seconds DESC

-- doctor/vacuum hidden
SELECT string_agg(CAST(pid AS TEXT), ', '
  ORDER BY pid) AS pids, max(behind) AS behind
FROM pg_stat_activity, (
  SELECT CAST(CAST(pg_snapshot_xmax(one) AS TEXT) AS BIGINT) - CAST(CAST(pg_snapshot_xmin(one) AS
      TEXT) AS BIGINT) AS behind
  FROM pg_current_snapshot() AS one) AS snapshot
WHERE backend_type IS NULL AND pid <> pg_backend_pid()

-- doctor/vacuum oldest
SELECT max(seconds) AS seconds
FROM (
  SELECT 'session ' || pid AS name, COALESCE(application_name, '') AS application, COALESCE(state,
      backend_type) AS state, CAST(EXTRACT(EPOCH
      FROM clock_timestamp() - xact_start) AS DOUBLE PRECISION) AS seconds
  FROM pg_stat_activity
  WHERE pid <> pg_backend_pid() AND xact_start IS NOT NULL AND backend_type NOT IN ('autovacuum
      worker', 'walsender', 'parallel worker') AND (backend_xid IS NOT NULL OR backend_xmin IS NOT
      NULL AND datname = current_database())
  UNION ALL
  SELECT 'prepared transaction ' || gid, '', 'prepared', CAST(EXTRACT(EPOCH
      FROM clock_timestamp() - prepared) AS DOUBLE PRECISION)
  FROM pg_prepared_xacts) AS held

-- doctor/vacuum options
SELECT relname AS name, array_to_string(reloptions, E'\n') AS options, reltuples AS rows
FROM pg_class
JOIN (
  SELECT to_regclass(name) AS relid
  FROM unnest(CAST(:tables AS TEXT[])) AS given(name) UNION
  SELECT inhrelid
  FROM pg_inherits
  WHERE inhparent = to_regclass('taskdb_event')) AS ours ON ours.relid = pg_class.oid
WHERE relkind = 'r'
ORDER BY 1

-- doctor/vacuum rows
SELECT stat.relname AS name, n_live_tup AS live, n_dead_tup AS dead
FROM pg_stat_user_tables AS stat
JOIN (
  SELECT to_regclass(name) AS relid
  FROM unnest(CAST(:tables AS TEXT[])) AS given(name) UNION
  SELECT inhrelid
  FROM pg_inherits
  WHERE inhparent = to_regclass('taskdb_event')) AS ours USING (relid)
ORDER BY n_dead_tup DESC, 1

-- doctor/vacuum settings
SELECT name, setting
FROM pg_settings
WHERE name IN ('track_counts', 'autovacuum', 'autovacuum_vacuum_threshold',
    'autovacuum_vacuum_scale_factor', 'autovacuum_naptime', 'autovacuum_vacuum_cost_delay',
    'autovacuum_vacuum_max_threshold')

-- doctor/vacuum slots
SELECT 'replication slot ' || slot_name AS name, COALESCE(plugin, slot_type) AS application,
    'inactive' AS state, GREATEST(age(xmin), age(catalog_xmin)) AS transactions
FROM pg_replication_slots
WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL)
UNION ALL
SELECT 'standby ' || pid, COALESCE(application_name, ''), state, age(backend_xmin)
FROM pg_stat_replication
WHERE age(backend_xmin) > :transactions

-- outgoing advance_alarm
UPDATE taskdb_delivery
SET sent_at = CASE WHEN :sent > 0 THEN clock_timestamp() END, attempts = attempts + :sent,
    last_error = CASE WHEN :sent > 0 THEN NULL ELSE last_error END, lease_token = NULL, lease_until
    = clock_timestamp()
WHERE id = :id AND lease_token = :token AND sent_at IS NULL
RETURNING id

-- outgoing advance_subscription
UPDATE taskdb_subscription
SET cursor_xid = :xid, cursor_id = :event, cursor_at = COALESCE(CAST(:at AS TIMESTAMPTZ),
    cursor_at), sent = sent + :sent, last_sent_at = CASE WHEN :sent > 0 THEN clock_timestamp() ELSE
    last_sent_at END, attempts = 0, failing_since = NULL, next_try_at = NULL, last_error = NULL,
    lease_token = CASE WHEN CAST(:ends AS BOOLEAN) THEN NULL ELSE lease_token END, lease_until =
    CASE WHEN CAST(:ends AS BOOLEAN) THEN clock_timestamp() ELSE (clock_timestamp() +
    make_interval(secs => CAST(:lease AS DOUBLE PRECISION))) END
WHERE id = :id AND lease_token = :token
RETURNING id

-- outgoing counted_ahead
SELECT e.xid, e.id
FROM taskdb_event AS e
WHERE e.to_status IN ('FAILED','HALTED') AND e.from_status <> e.to_status AND e.xid <
    1152921504606846976 AND (e.xid, e.id) > (CAST(:xid AS BIGINT), CAST(:event AS BIGINT)) AND e.id
    IN (
  SELECT draft.id
  FROM jsonb_to_recordset(CAST(:ahead AS JSONB)) AS draft(id BIGINT))

-- outgoing declare_policy
INSERT INTO taskdb_alarm_policy (type, sources, severity, channels, group_by_tenant,
    backlog_seconds, declared_at)
VALUES (CAST(:type AS TEXT), CAST(:sources AS JSONB), CAST(:severity AS TEXT), CAST(:channels AS
    JSONB), CAST(:group_by_tenant AS BOOLEAN), CAST(:backlog_seconds AS DOUBLE PRECISION),
    clock_timestamp())
ON CONFLICT (type) DO UPDATE
SET sources = excluded.sources, severity = excluded.severity, channels = excluded.channels,
    group_by_tenant = excluded.group_by_tenant, backlog_seconds = excluded.backlog_seconds,
    declared_at = excluded.declared_at
RETURNING type

-- outgoing due_alarm
SELECT one.channel AS target, 0 AS is_failing
FROM taskdb_delivery AS one
WHERE one.sent_at IS NULL AND (one.lease_until IS NULL OR one.lease_until <= (
    SELECT clock_timestamp())) AND (one.next_try_at IS NULL OR one.next_try_at <= (
    SELECT clock_timestamp())) AND CAST(one.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'deliver_alarms' AND a.next_try_at > (
    SELECT clock_timestamp())) AND NOT EXISTS (
  SELECT 1
  FROM taskdb_delivery AS earlier
  WHERE earlier.alarm_id = one.alarm_id AND earlier.channel = one.channel AND earlier.sequence <
      one.sequence AND earlier.sent_at IS NULL)
GROUP BY one.channel
ORDER BY min(one.next_try_at)
LIMIT :limit

-- outgoing due_subscription
SELECT CAST(s.id AS TEXT) AS target, s.attempts > 0 AS is_failing
FROM taskdb_subscription AS s, (
  SELECT xid, id
  FROM taskdb_event
  WHERE xid < (CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) + (
      SELECT shift
      FROM taskdb_history_cluster)) AND xid < 1152921504606846976
  ORDER BY xid DESC, id DESC
  LIMIT 1) AS head
WHERE s.state = 'active' AND (s.lease_until IS NULL OR s.lease_until <= (
    SELECT clock_timestamp())) AND (s.next_try_at IS NULL OR s.next_try_at <= (
    SELECT clock_timestamp())) AND CAST(s.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'deliver' AND a.next_try_at > (
    SELECT clock_timestamp())) AND (s.cursor_xid, s.cursor_id) < (head.xid, head.id)
ORDER BY COALESCE(s.lease_until, s.created_at)
LIMIT :limit

-- outgoing end_of_history
SELECT (CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) + (
    SELECT shift
    FROM taskdb_history_cluster)) - 1 AS xid, 9223372036854775807 AS id

-- outgoing fail_alarm
UPDATE taskdb_delivery
SET attempts = CASE WHEN :sent > 0 THEN 1 ELSE attempts + 1 END, failing_since = CASE WHEN :sent > 0
    THEN clock_timestamp() ELSE COALESCE(failing_since, clock_timestamp()) END, next_try_at =
    (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))), last_error =
    CAST(:reason AS TEXT), lease_token = NULL, lease_until = clock_timestamp()
WHERE id = :id AND lease_token = :token AND sent_at IS NULL
RETURNING 'active' AS state

-- outgoing fail_subscription
UPDATE taskdb_subscription
SET cursor_xid = :xid, cursor_id = :event, cursor_at = COALESCE(CAST(:at AS TIMESTAMPTZ),
    cursor_at), sent = sent + :sent, last_sent_at = CASE WHEN :sent > 0 THEN clock_timestamp() ELSE
    last_sent_at END, attempts = CASE WHEN :sent > 0 THEN 1 ELSE attempts + 1 END, failing_since =
    CASE WHEN :sent > 0 THEN clock_timestamp() ELSE COALESCE(failing_since, clock_timestamp()) END,
    next_try_at = (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))),
    last_error = CAST(:reason AS TEXT), lease_token = NULL, lease_until = clock_timestamp(), state =
    CASE WHEN CAST(:is_final AS BOOLEAN) OR CASE WHEN :sent > 0 THEN clock_timestamp() ELSE
    COALESCE(failing_since, clock_timestamp()) END <= (clock_timestamp() + make_interval(secs =>
    CAST(-:give_up AS DOUBLE PRECISION))) THEN 'dead' ELSE state END
WHERE id = :id AND lease_token = :token
RETURNING state

-- outgoing failures_again
SELECT e.id, e.xid, CAST(e.task_id AS TEXT) AS task_id, e.tenant, e.to_status, e.attempt, e.at,
    CAST(e.detail AS TEXT) AS detail, found.type
FROM taskdb_event AS e
LEFT JOIN LATERAL (
  SELECT type
  FROM taskdb_task AS found
  WHERE found.id = e.task_id OFFSET 0) AS found ON true
WHERE e.id IN (
  SELECT draft.id
  FROM jsonb_to_recordset(CAST(:again AS JSONB)) AS draft(id BIGINT))

-- outgoing first_alarm
SELECT one.id
FROM taskdb_delivery AS one
WHERE one.sent_at IS NULL AND (one.lease_until IS NULL OR one.lease_until <= (
    SELECT clock_timestamp())) AND (one.next_try_at IS NULL OR one.next_try_at <= (
    SELECT clock_timestamp())) AND CAST(one.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'deliver_alarms' AND a.next_try_at > (
    SELECT clock_timestamp())) AND NOT EXISTS (
  SELECT 1
  FROM taskdb_delivery AS earlier
  WHERE earlier.alarm_id = one.alarm_id AND earlier.channel = one.channel AND earlier.sequence <
      one.sequence AND earlier.sent_at IS NULL) AND one.channel = CAST(:target AS TEXT)
ORDER BY one.next_try_at, one.id
LIMIT 1

-- outgoing first_subscription
SELECT id
FROM taskdb_subscription
WHERE id = :target

-- outgoing has_work
SELECT 1 AS one
WHERE EXISTS (
  SELECT 1
  FROM taskdb_event AS e
  WHERE e.to_status IN ('FAILED','HALTED') AND e.from_status <> e.to_status AND e.xid <
      1152921504606846976 AND (e.xid, e.id) > (
    SELECT xid, event_id
    FROM taskdb_alarm_cursor
    WHERE name = 'events')) OR EXISTS (
  SELECT 1
  FROM taskdb_alarm
  WHERE state = 'open' AND count > reported AND (window_until IS NULL OR window_until <= (
      SELECT clock_timestamp()))) OR EXISTS (
  SELECT 1
  FROM taskdb_alarm
  WHERE state = 'snoozed' AND snoozed_until <= (
    SELECT clock_timestamp()))

-- outgoing horizon
SELECT (CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) + (
    SELECT shift
    FROM taskdb_history_cluster)) AS horizon

-- outgoing new_failures
SELECT e.id, e.xid, CAST(e.task_id AS TEXT) AS task_id, e.tenant, e.to_status, e.attempt, e.at,
    CAST(e.detail AS TEXT) AS detail, found.type
FROM taskdb_event AS e
LEFT JOIN LATERAL (
  SELECT type
  FROM taskdb_task AS found
  WHERE found.id = e.task_id OFFSET 0) AS found ON true
WHERE e.to_status IN ('FAILED','HALTED') AND e.from_status <> e.to_status AND e.xid <
    1152921504606846976 AND (e.xid, e.id) > (CAST(:xid AS BIGINT), CAST(:event AS BIGINT)) AND e.id
    NOT IN (
  SELECT draft.id
  FROM jsonb_to_recordset(CAST(:ahead AS JSONB)) AS draft(id BIGINT))
ORDER BY e.xid, e.id
LIMIT CAST(:limit AS BIGINT)

-- outgoing now
SELECT clock_timestamp() AS now

-- outgoing page_subscription
WITH window_of_events AS (
  SELECT *
  FROM taskdb_event
  WHERE (xid, id) > (CAST(:xid AS BIGINT), CAST(:event AS BIGINT)) AND xid <
      (CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) + (
      SELECT shift
      FROM taskdb_history_cluster)) AND xid < 1152921504606846976
  ORDER BY xid, id
  LIMIT :scan), fitting AS (
  SELECT w.xid AS place_xid, w.id AS place_id, e.id, CAST(e.task_id AS TEXT) AS task_id, e.tenant,
      e.from_status, e.to_status, e.attempt, e.worker, e.at, CAST(e.detail AS TEXT) AS detail,
      t.type, t.kind, CAST(t.parent_id AS TEXT) AS parent_id, t.position, t.notify_id, CASE WHEN
      length(CAST(t.attributes AS TEXT)) <= CAST(:most_attributes AS BIGINT) THEN CAST(t.attributes
      AS TEXT) END AS attributes, CASE WHEN e.to_status = 'COMPLETED' AND t.status = 'COMPLETED' AND
      t.attempt = e.attempt AND length(CAST(t.result AS TEXT)) <= CAST(:most_result AS BIGINT) THEN
      CAST(t.result AS TEXT) END AS result
  FROM window_of_events AS w
  JOIN taskdb_task AS t ON t.id = w.task_id
  JOIN taskdb_event AS e ON e.task_id = w.task_id AND e.at >= w.at - INTERVAL '1 day' AND e.at <=
      w.at + INTERVAL '1 day' AND e.id <= w.id AND (e.xid, e.id) >= (w.xid, w.id) AND NOT EXISTS (
    SELECT 1
    FROM taskdb_event AS later
    WHERE later.task_id = w.task_id AND later.at >= w.at - INTERVAL '1 day' AND later.at <= w.at +
        INTERVAL '1 day' AND later.id > e.id AND (later.xid, later.id) < (w.xid, w.id))
  WHERE (e.from_status IS NULL OR e.from_status <> e.to_status) AND (CAST(:tenant AS TEXT) IS NULL
      OR (e.tenant = CAST(:tenant AS TEXT) AND t.tenant = CAST(:tenant AS TEXT))) AND
      (CAST(:statuses AS TEXT) IS NULL OR jsonb_exists(CAST(:statuses AS JSONB), CAST(e.to_status AS
      TEXT))) AND (CAST(:kind AS TEXT) IS NULL OR t.kind = CAST(:kind AS TEXT)) AND
      (CAST(:with_sub_tasks AS BOOLEAN) OR t.parent_id IS NULL) AND (CAST(:type AS TEXT) IS NULL OR
      t.type = CAST(:type AS TEXT)) AND substr(t.type, 1, length(CAST(:prefix AS TEXT))) =
      CAST(:prefix AS TEXT)
  ORDER BY w.xid, w.id, e.id
  LIMIT :edge)
SELECT edge.xid AS edge_xid, edge.id AS edge_id, edge.at AS edge_at, (
  SELECT count(*)
  FROM window_of_events) AS scanned, fitting.*
FROM (
  SELECT xid, id, at
  FROM window_of_events
  ORDER BY xid DESC, id DESC
  LIMIT 1) AS edge
LEFT JOIN fitting ON true
ORDER BY place_xid, place_id, fitting.id

-- outgoing take_alarm
UPDATE taskdb_delivery
SET lease_token = :token, lease_until = (clock_timestamp() + make_interval(secs => CAST(:lease AS
    DOUBLE PRECISION)))
WHERE id = (
  SELECT one.id
  FROM taskdb_delivery AS one
  WHERE one.sent_at IS NULL AND (one.lease_until IS NULL OR one.lease_until <= (
      SELECT clock_timestamp())) AND (one.next_try_at IS NULL OR one.next_try_at <= (
      SELECT clock_timestamp())) AND CAST(one.id AS TEXT) NOT IN (
    SELECT a.key
    FROM taskdb_set_aside AS a
    WHERE a.loop = 'deliver_alarms' AND a.next_try_at > (
      SELECT clock_timestamp())) AND NOT EXISTS (
    SELECT 1
    FROM taskdb_delivery AS earlier
    WHERE earlier.alarm_id = one.alarm_id AND earlier.channel = one.channel AND earlier.sequence <
        one.sequence AND earlier.sent_at IS NULL) AND one.channel = CAST(:target AS TEXT)
  ORDER BY one.next_try_at, one.id
  LIMIT 1 FOR UPDATE SKIP LOCKED) AND sent_at IS NULL
RETURNING CAST(id AS TEXT) AS id, CAST(alarm_id AS TEXT) AS alarm_id, channel, attempts,
    CAST(message AS TEXT) AS message

-- outgoing take_subscription
UPDATE taskdb_subscription
SET lease_token = :token, lease_until = (clock_timestamp() + make_interval(secs => CAST(:lease AS
    DOUBLE PRECISION)))
WHERE id = (
  SELECT s.id
  FROM taskdb_subscription AS s, (
    SELECT xid, id
    FROM taskdb_event
    WHERE xid < (CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) + (
        SELECT shift
        FROM taskdb_history_cluster)) AND xid < 1152921504606846976
    ORDER BY xid DESC, id DESC
    LIMIT 1) AS head
  WHERE s.state = 'active' AND (s.lease_until IS NULL OR s.lease_until <= (
      SELECT clock_timestamp())) AND (s.next_try_at IS NULL OR s.next_try_at <= (
      SELECT clock_timestamp())) AND CAST(s.id AS TEXT) NOT IN (
    SELECT a.key
    FROM taskdb_set_aside AS a
    WHERE a.loop = 'deliver' AND a.next_try_at > (
      SELECT clock_timestamp())) AND (s.cursor_xid, s.cursor_id) < (head.xid, head.id) AND s.id =
          :target FOR UPDATE OF s SKIP LOCKED)
RETURNING id, tenant, is_for_all, name, transport, target, type, kind, statuses, with_sub_tasks,
    secret, previous_secret, previous_until, cursor_xid, cursor_id, attempts, clock_timestamp() AS
    now

-- outgoing waiting
SELECT queue, type, min(since) AS since, count(*) AS number
FROM (
  SELECT *
  FROM (
    SELECT queue, type, queued_at AS since
    FROM taskdb_task
    WHERE status = 'QUEUED' AND status <> 'COMPLETED' AND created_at < (
      SELECT (clock_timestamp() + make_interval(secs => CAST(-:age AS DOUBLE PRECISION)))) AND
          queued_at < (
      SELECT (clock_timestamp() + make_interval(secs => CAST(-:age AS DOUBLE PRECISION))))
    ORDER BY created_at
    LIMIT CAST(:most AS BIGINT)) AS q
  UNION ALL
  SELECT *
  FROM (
    SELECT queue, type, relay_at AS since
    FROM taskdb_task
    WHERE status IN ('CREATED','SCHEDULED','ERRORED') AND held_by IS NULL AND relay_at < (
      SELECT (clock_timestamp() + make_interval(secs => CAST(-:age AS DOUBLE PRECISION))))
    ORDER BY relay_at
    LIMIT CAST(:most AS BIGINT)) AS r ) AS waiting
GROUP BY queue, type

-- retention delete_history
DELETE
FROM taskdb_event
WHERE task_id = ANY(ARRAY(
    SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))) AND at >= CAST(:since AS
        TIMESTAMPTZ)

-- retention delete_runs
DELETE
FROM taskdb_schedule_run
WHERE (schedule_id, due_at) IN (
  SELECT draft.schedule_id, draft.due_at
  FROM jsonb_to_recordset(CAST(:gone AS JSONB)) AS draft(schedule_id UUID, due_at TIMESTAMPTZ))
RETURNING 1 AS one

-- retention delete_tasks
DELETE
FROM taskdb_task
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))

-- retention delete_workers
DELETE
FROM taskdb_worker
WHERE id IN (
  SELECT draft.id
  FROM jsonb_to_recordset(CAST(:gone AS JSONB)) AS draft(id TEXT))
RETURNING 1 AS one

-- retention in_default
SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, count(*) AS number
FROM (
  SELECT at
  FROM taskdb_event_default
  LIMIT 10000) AS few
GROUP BY 1
ORDER BY 1

-- retention lock_below
SELECT CAST(id AS TEXT) AS id, parent_id, tenant, type, status, created_at, COALESCE(ended_at,
    updated_at) AS ended_at, input_ref, result_ref, (
  SELECT sub.id
  FROM taskdb_task AS sub
  WHERE sub.parent_id = t.id
  ORDER BY sub.position
  LIMIT 1) IS NOT NULL AS has_sub_tasks, clock_timestamp() AS now
FROM taskdb_task AS t
WHERE parent_id = :node
ORDER BY t.position
LIMIT :limit FOR UPDATE OF t SKIP LOCKED

-- retention lock_roots
SELECT CAST(id AS TEXT) AS id, parent_id, tenant, type, status, created_at, COALESCE(ended_at,
    updated_at) AS ended_at, input_ref, result_ref, (
  SELECT sub.id
  FROM taskdb_task AS sub
  WHERE sub.parent_id = t.id
  ORDER BY sub.position
  LIMIT 1) IS NOT NULL AS has_sub_tasks, clock_timestamp() AS now
FROM taskdb_task AS t
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID)) AND parent_id IS NULL
ORDER BY t.id
LIMIT :limit FOR UPDATE OF t SKIP LOCKED

-- retention look
SELECT CAST(id AS TEXT) AS id, created_at, tenant, type, status, parent_id, COALESCE(ended_at,
    updated_at) AS ended_at, clock_timestamp() AS now
FROM taskdb_task AS t
WHERE created_at <= (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:shortest AS DOUBLE PRECISION)))) AND
      CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'prune' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY t.created_at, t.id
LIMIT :limit

-- retention look_behind
SELECT CAST(id AS TEXT) AS id, created_at, tenant, type, status, parent_id, COALESCE(ended_at,
    updated_at) AS ended_at, clock_timestamp() AS now
FROM taskdb_task AS t
WHERE created_at <= (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:shortest AS DOUBLE PRECISION)))) AND
      (created_at, id) > (CAST(:created_at AS TIMESTAMPTZ), :id) AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'prune' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY t.created_at, t.id
LIMIT :limit

-- retention lost_workers
SELECT old.id
FROM taskdb_worker AS old
WHERE old.stopped_at IS NULL AND old.started_at < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:kept AS DOUBLE PRECISION)))) AND
      COALESCE(old.seen_at, old.started_at) < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:kept AS DOUBLE PRECISION)))) AND old.id
      NOT IN (
  SELECT t.worker
  FROM taskdb_task AS t
  WHERE t.worker IS NOT NULL AND t.status <> 'COMPLETED' AND t.status IN ('STARTED','PROCESSING'))
      AND CAST(old.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'sweep' AND a.next_try_at > (
    SELECT clock_timestamp()))
LIMIT :limit

-- retention mark
UPDATE taskdb_task
SET spec = (COALESCE(spec, CAST('{}' AS JSONB)) || jsonb_build_object('pruned', true))
WHERE id = :id AND (spec #>> '{pruned}') IS NULL

-- retention named_as_input
SELECT draft.ref
FROM jsonb_to_recordset(CAST(:given AS JSONB)) AS draft(ref TEXT)
JOIN taskdb_task AS t ON t.input_ref = draft.ref
WHERE t.input_ref IS NOT NULL

-- retention named_as_result
SELECT CAST(id AS TEXT) AS id, CAST(parent_id AS TEXT) AS parent_id, result_ref
FROM taskdb_task
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID))

-- retention old_runs
SELECT CAST(r.schedule_id AS TEXT) AS schedule_id, CAST(r.due_at AS TEXT) AS due_at
FROM taskdb_schedule_run AS r
LEFT JOIN LATERAL (
  SELECT id
  FROM taskdb_schedule AS s
  WHERE s.id = r.schedule_id OFFSET 0) AS s ON true
WHERE r.due_at < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:kept AS DOUBLE PRECISION)))) AND (s.id IS
      NULL OR EXISTS (
    SELECT 1
    FROM taskdb_schedule_run AS n
    WHERE n.schedule_id = r.schedule_id AND n.due_at > r.due_at)) AND CAST(r.schedule_id AS TEXT)
        NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'sweep' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY r.due_at
LIMIT :limit

-- retention stopped_workers
SELECT old.id
FROM taskdb_worker AS old
WHERE old.stopped_at < (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:kept AS DOUBLE PRECISION)))) AND old.id
      NOT IN (
  SELECT t.worker
  FROM taskdb_task AS t
  WHERE t.worker IS NOT NULL AND t.status <> 'COMPLETED' AND t.status IN ('STARTED','PROCESSING'))
      AND CAST(old.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'sweep' AND a.next_try_at > (
    SELECT clock_timestamp()))
LIMIT :limit

-- schedule add_runs
INSERT INTO taskdb_schedule_run (schedule_id, due_at, outcome, task_id, reason, number, last_due_at,
    at)
SELECT draft.schedule_id, draft.due_at, draft.outcome, draft.task_id, draft.reason, draft.number,
    draft.last_due_at, clock_timestamp()
FROM jsonb_to_recordset(CAST(:runs AS JSONB)) AS draft(schedule_id UUID, due_at TIMESTAMPTZ, outcome
    TEXT, task_id UUID, reason TEXT, number BIGINT, last_due_at TIMESTAMPTZ)
WHERE true
ON CONFLICT DO NOTHING
RETURNING schedule_id, due_at

-- schedule advance
UPDATE taskdb_schedule AS old
SET next_due_at = COALESCE(draft.next_due_at, old.next_due_at), last_due_at =
    COALESCE(draft.last_due_at, old.last_due_at), last_task_id = COALESCE(draft.last_task_id,
    old.last_task_id), last_error = NULL, retry_at = NULL
FROM jsonb_to_recordset(CAST(:rows AS JSONB)) AS draft(id UUID, next_due_at TIMESTAMPTZ, last_due_at
    TIMESTAMPTZ, last_task_id UUID)
WHERE old.id = draft.id

-- schedule exclude_creators
SELECT pg_advisory_xact_lock(7303014, 3)

-- schedule known_runs
SELECT schedule_id, due_at
FROM taskdb_schedule_run
WHERE (schedule_id, due_at) IN (
  SELECT draft.schedule_id, draft.due_at
  FROM jsonb_to_recordset(CAST(:runs AS JSONB)) AS draft(schedule_id UUID, due_at TIMESTAMPTZ,
      outcome TEXT, task_id UUID, reason TEXT, number BIGINT, last_due_at TIMESTAMPTZ))

-- schedule lease
UPDATE taskdb_schedule
SET retry_at = (clock_timestamp() + make_interval(secs => CAST(:seconds AS DOUBLE PRECISION)))
WHERE id = :id

-- schedule open_among
SELECT id
FROM taskdb_task
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID)) AND status IN ('CREATED',
      'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED')

-- schedule refuse
UPDATE taskdb_schedule AS old
SET last_error = draft.reason, retry_at = (clock_timestamp() + make_interval(secs => CAST(:seconds
    AS DOUBLE PRECISION)))
FROM jsonb_to_recordset(CAST(:rows AS JSONB)) AS draft(id UUID, reason TEXT)
WHERE old.id = draft.id

-- schedule skip_run
UPDATE taskdb_schedule_run
SET outcome = 'skipped', task_id = :task, reason = :reason
WHERE schedule_id = :schedule AND due_at = CAST(:due AS TIMESTAMPTZ)

-- task/permission below
WITH RECURSIVE below AS (
  SELECT id, kind, type, queue, priority
  FROM taskdb_task
  WHERE parent_id = :id
  UNION ALL
  SELECT one.id, one.kind, one.type, one.queue, one.priority
  FROM taskdb_task AS one
  JOIN below ON one.parent_id = below.id)
SELECT DISTINCT kind, type, queue, priority
FROM below

-- task awaiting
SELECT id, tenant, type, role, parent_id, attempt
FROM taskdb_task
WHERE callback_hash = :hash AND (callback_until IS NULL OR callback_until > clock_timestamp()) AND
    status IN ('STARTED', 'PROCESSING') AND (waits_for = 'callback' OR waits_for IS NULL AND
    called_back IS NULL)

-- task called_back
SELECT 1 AS holds
FROM taskdb_task
WHERE id = :id AND called_back IS NOT NULL

-- task cancel_wanted
SELECT 1 AS holds
FROM taskdb_task
WHERE id = :id AND claim_token = :token AND status IN ('STARTED', 'PROCESSING') AND
    cancel_requested_at IS NULL

-- task counts
SELECT status, count(*) AS number, count(CASE WHEN held_by = 'window' THEN 1 END) AS held
FROM taskdb_task
WHERE parent_id = :parent AND role = 'part'
GROUP BY status

-- task due
SELECT id
FROM taskdb_task
WHERE status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND held_by IS NULL AND NOT is_adopted AND
    relay_at <= (
  SELECT clock_timestamp()) AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'relay' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY relay_at
LIMIT :limit

-- task existing
SELECT id, status, CASE WHEN relay_at IS NOT NULL THEN CAST(EXTRACT(EPOCH
    FROM GREATEST(LEAST(relay_at, TIMESTAMPTZ '10000-01-01 00:00:00Z'), TIMESTAMPTZ '0001-01-01
        00:00:00Z BC')) * 1000000 AS BIGINT) END AS relay_at, CASE WHEN created_at IS NOT NULL THEN
        CAST(EXTRACT(EPOCH
    FROM GREATEST(LEAST(created_at, TIMESTAMPTZ '10000-01-01 00:00:00Z'), TIMESTAMPTZ '0001-01-01
        00:00:00Z BC')) * 1000000 AS BIGINT) END AS created_at, CASE WHEN run_at IS NOT NULL THEN
        CAST(EXTRACT(EPOCH
    FROM GREATEST(LEAST(run_at, TIMESTAMPTZ '10000-01-01 00:00:00Z'), TIMESTAMPTZ '0001-01-01
        00:00:00Z BC')) * 1000000 AS BIGINT) END AS run_at, held_by
FROM taskdb_task
WHERE id = :id OR (tenant = :tenant AND type = :type AND unique_key = CAST(:unique_key AS TEXT))
ORDER BY CASE WHEN id = :id THEN 0 ELSE 1 END
LIMIT 1

-- task expect_callback
UPDATE taskdb_task AS old
SET callback_hash = :hash, updated_at = clock_timestamp(), callback_until = COALESCE(CAST(:until AS
    TIMESTAMPTZ), (clock_timestamp() + make_interval(secs => CAST(CAST(:timeout AS DOUBLE PRECISION)
    AS DOUBLE PRECISION))))
WHERE old.id = :id AND old.claim_token = :token AND old.status IN ('STARTED', 'PROCESSING') AND
    old.waits_for IS NULL AND old.called_back IS NULL AND old.cancel_requested_at IS NULL
RETURNING id

-- task family
SELECT id, type, queue, priority, relay_at, deadline_at, role, parent_id, chunk, trace, attempt,
    created_at
FROM taskdb_task
WHERE parent_id = :parent AND id > :after AND status = 'CREATED' AND held_by IS NULL
ORDER BY id
LIMIT :limit

-- task free_key
UPDATE taskdb_task
SET unique_key = NULL
WHERE tenant = :tenant AND type = :type AND unique_key = :unique_key AND status IN ('COMPLETED',
    'FAILED', 'CANCELED') AND id <> :id

-- task going_on
SELECT id
FROM taskdb_task
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID)) AND claim_token = :token AND
      status IN ('STARTED', 'PROCESSING') AND cancel_requested_at IS NULL

-- task handlers
SELECT id, status, position, name, CAST(result AS TEXT) AS result, result_ref, CAST(error AS TEXT)
    AS error
FROM taskdb_task
WHERE parent_id = :parent AND role = 'handler' AND position BETWEEN :first AND :last
ORDER BY position

-- task insert
INSERT INTO taskdb_task (id, tenant, type, kind, role, name, queue, priority, input, input_ref,
    attributes, tags, unique_key, parent_id, position, chunk, spec, held_by, mutex_key, request_id,
    created_by, created_ip, deadline_at, notify_id, needs_admission, status, run_at, relay_at,
    created_at, updated_at)
WITH draft AS MATERIALIZED (
  SELECT draft.*, COALESCE((clock_timestamp() + make_interval(secs => CAST(draft.delay AS DOUBLE
      PRECISION))), draft.run_at) AS due, (
    SELECT clock_timestamp()) AS now, (draft.kind = 'TASK' AND (draft.mutex_key IS NOT NULL OR
        EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = draft.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = draft.tenant))) AS limited
  FROM jsonb_to_recordset(CAST(:drafts AS JSONB)) AS draft(id UUID, tenant TEXT, type TEXT, kind
      TEXT, role TEXT, name TEXT, queue TEXT, priority BIGINT, input TEXT, input_ref TEXT,
      attributes TEXT, tags TEXT, unique_key TEXT, parent_id UUID, position BIGINT, chunk UUID, spec
      TEXT, held_by TEXT, mutex_key TEXT, request_id TEXT, created_by TEXT, created_ip TEXT,
      deadline_at TIMESTAMPTZ, notify_id TEXT, run_at TIMESTAMPTZ, delay DOUBLE PRECISION))
SELECT draft.id, draft.tenant, draft.type, draft.kind, draft.role, draft.name, draft.queue,
    draft.priority, CAST(draft.input AS JSONB), draft.input_ref, CAST(draft.attributes AS JSONB),
    CAST(draft.tags AS JSONB), draft.unique_key, draft.parent_id, draft.position, CASE WHEN NOT
    draft.limited THEN draft.chunk END, CAST(draft.spec AS JSONB), COALESCE(draft.held_by, CASE WHEN
    draft.limited THEN 'admission' END), draft.mutex_key, draft.request_id, draft.created_by,
    draft.created_ip, draft.deadline_at, draft.notify_id, draft.limited, CASE WHEN draft.due >
    draft.now THEN 'SCHEDULED' ELSE 'CREATED' END, draft.due, CASE WHEN draft.held_by IS NOT NULL
    THEN TIMESTAMPTZ '9999-01-01 00:00:00Z' WHEN draft.due > draft.now THEN draft.due WHEN
    draft.limited THEN draft.now ELSE (clock_timestamp() + make_interval(secs => CAST(:grace + CASE
    WHEN draft.role = 'part' THEN COALESCE(draft.position, 0) / 2000.0 ELSE 0 END AS DOUBLE
    PRECISION))) END, draft.now, draft.now
FROM draft
WHERE true
ON CONFLICT DO NOTHING

-- task insert_traced
INSERT INTO taskdb_task (id, tenant, type, kind, role, name, queue, priority, input, input_ref,
    attributes, tags, unique_key, parent_id, position, chunk, spec, held_by, mutex_key, request_id,
    created_by, created_ip, deadline_at, notify_id, trace, needs_admission, status, run_at,
    relay_at, created_at, updated_at)
WITH draft AS MATERIALIZED (
  SELECT draft.*, COALESCE((clock_timestamp() + make_interval(secs => CAST(draft.delay AS DOUBLE
      PRECISION))), draft.run_at) AS due, (
    SELECT clock_timestamp()) AS now, (draft.kind = 'TASK' AND (draft.mutex_key IS NOT NULL OR
        EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = draft.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = draft.tenant))) AS limited
  FROM jsonb_to_recordset(CAST(:drafts AS JSONB)) AS draft(id UUID, tenant TEXT, type TEXT, kind
      TEXT, role TEXT, name TEXT, queue TEXT, priority BIGINT, input TEXT, input_ref TEXT,
      attributes TEXT, tags TEXT, unique_key TEXT, parent_id UUID, position BIGINT, chunk UUID, spec
      TEXT, held_by TEXT, mutex_key TEXT, request_id TEXT, created_by TEXT, created_ip TEXT,
      deadline_at TIMESTAMPTZ, notify_id TEXT, trace TEXT, run_at TIMESTAMPTZ, delay DOUBLE
      PRECISION))
SELECT draft.id, draft.tenant, draft.type, draft.kind, draft.role, draft.name, draft.queue,
    draft.priority, CAST(draft.input AS JSONB), draft.input_ref, CAST(draft.attributes AS JSONB),
    CAST(draft.tags AS JSONB), draft.unique_key, draft.parent_id, draft.position, CASE WHEN NOT
    draft.limited THEN draft.chunk END, CAST(draft.spec AS JSONB), COALESCE(draft.held_by, CASE WHEN
    draft.limited THEN 'admission' END), draft.mutex_key, draft.request_id, draft.created_by,
    draft.created_ip, draft.deadline_at, draft.notify_id, draft.trace, draft.limited, CASE WHEN
    draft.due > draft.now THEN 'SCHEDULED' ELSE 'CREATED' END, draft.due, CASE WHEN draft.held_by IS
    NOT NULL THEN TIMESTAMPTZ '9999-01-01 00:00:00Z' WHEN draft.due > draft.now THEN draft.due WHEN
    draft.limited THEN draft.now ELSE (clock_timestamp() + make_interval(secs => CAST(:grace + CASE
    WHEN draft.role = 'part' THEN COALESCE(draft.position, 0) / 2000.0 ELSE 0 END AS DOUBLE
    PRECISION))) END, draft.now, draft.now
FROM draft
WHERE true
ON CONFLICT DO NOTHING

-- task late_callback
SELECT 1 AS holds
FROM taskdb_task
WHERE id = :id AND waits_for = 'callback' AND callback_until <= clock_timestamp()

-- task late_callbacks
SELECT id, role, parent_id
FROM taskdb_task
WHERE waits_for = 'callback' AND callback_until <= (
  SELECT clock_timestamp()) AND NOT is_adopted AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'callbacks' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY callback_until
LIMIT :limit

-- task lease_due
WITH due AS (
  SELECT id
  FROM taskdb_task
  WHERE status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND held_by IS NULL AND NOT is_adopted AND
      relay_at <= (
    SELECT clock_timestamp()) AND CAST(id AS TEXT) NOT IN (
    SELECT a.key
    FROM taskdb_set_aside AS a
    WHERE a.loop = 'relay' AND a.next_try_at > (
      SELECT clock_timestamp()))
  ORDER BY relay_at
  LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE taskdb_task
SET relay_at = (clock_timestamp() + make_interval(secs => CAST(:lease AS DOUBLE PRECISION)))
WHERE id IN (
  SELECT id
  FROM due)
RETURNING id, type, queue, priority, relay_at, deadline_at, role, parent_id, chunk, trace, attempt,
    created_at, set_config('synchronous_commit', 'off', true)

-- task lease_these
UPDATE taskdb_task
SET relay_at = (clock_timestamp() + make_interval(secs => CAST(:lease AS DOUBLE PRECISION)))
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID)) AND status IN ('CREATED',
      'SCHEDULED', 'ERRORED') AND held_by IS NULL AND NOT is_adopted AND relay_at <= (
  SELECT clock_timestamp())
RETURNING id, type, queue, priority, relay_at, deadline_at, role, parent_id, chunk, trace, attempt,
    created_at

-- task lock
SELECT id, tenant, type, name, kind, role, status, CAST(spec AS TEXT) AS spec, waits_for, parent_id,
    position, CAST(input AS TEXT) AS input, input_ref, CAST(result AS TEXT) AS result, result_ref,
    CAST(error AS TEXT) AS error, attempt, claim_token, queue, priority, request_id, created_by,
    created_ip, cancel_requested_at, called_back, trace
FROM taskdb_task
WHERE id = :id FOR UPDATE

-- task neglected
SELECT p.id
FROM taskdb_task AS p
WHERE p.waits_for <> 'callback' AND NOT p.is_adopted AND p.id > :after AND (NOT EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED')) OR (p.cancel_requested_at IS NOT NULL OR
        p.error IS NOT NULL) AND EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED') AND t.cancel_requested_at IS NULL) OR (p.spec
        #>> '{fan_out,join}') = 'fail_fast' AND EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.role = 'part' AND t.status IN ('FAILED', 'CANCELED')) AND EXISTS
        (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED') AND t.cancel_requested_at IS NULL) AND (
    SELECT count(*)
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.role = 'part' AND t.status IN ('FAILED', 'CANCELED')) > CASE WHEN
        CASE WHEN jsonb_typeof(p.spec #> '{fan_out,tolerate}') = 'number' THEN CAST(p.spec #>>
        '{fan_out,tolerate}' AS DOUBLE PRECISION) END IS NULL THEN 0 WHEN CASE WHEN
        jsonb_typeof(p.spec #> '{fan_out,tolerate}') = 'number' THEN CAST(p.spec #>>
        '{fan_out,tolerate}' AS DOUBLE PRECISION) END < 1 THEN CASE WHEN jsonb_typeof(p.spec #>
        '{fan_out,tolerate}') = 'number' THEN CAST(p.spec #>> '{fan_out,tolerate}' AS DOUBLE
        PRECISION) END * (
    SELECT count(*)
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.role = 'part') + 1e-9 ELSE CASE WHEN jsonb_typeof(p.spec #>
        '{fan_out,tolerate}') = 'number' THEN CAST(p.spec #>> '{fan_out,tolerate}' AS DOUBLE
        PRECISION) END END OR EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.held_by = 'window') AND (CASE WHEN jsonb_typeof(p.spec #>
        '{fan_out,max_concurrency}') = 'number' THEN CAST(p.spec #>> '{fan_out,max_concurrency}' AS
        DOUBLE PRECISION) END IS NULL OR CASE WHEN jsonb_typeof(p.spec #>
        '{fan_out,max_concurrency}') = 'number' THEN CAST(p.spec #>> '{fan_out,max_concurrency}' AS
        DOUBLE PRECISION) END > (
      SELECT count(*)
      FROM taskdb_task AS t
      WHERE t.parent_id = p.id AND t.role = 'part' AND (t.held_by IS NULL OR t.held_by <> 'window')
          AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING', 'ERRORED'))))
          AND CAST(p.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'reconcile' AND a.next_try_at > (
    SELECT clock_timestamp()))
ORDER BY p.id
LIMIT :limit

-- task neglected_page
WITH page AS (
  SELECT p.id, p.spec, p.error, p.cancel_requested_at
  FROM taskdb_task AS p
  WHERE p.waits_for <> 'callback' AND NOT p.is_adopted AND p.id > :after
  ORDER BY p.id
  LIMIT :look)
SELECT p.id, false AS is_last
FROM page AS p
WHERE (NOT EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED')) OR (p.cancel_requested_at IS NOT NULL OR
        p.error IS NOT NULL) AND EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED') AND t.cancel_requested_at IS NULL) OR (p.spec
        #>> '{fan_out,join}') = 'fail_fast' AND EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.role = 'part' AND t.status IN ('FAILED', 'CANCELED')) AND EXISTS
        (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED') AND t.cancel_requested_at IS NULL) AND (
    SELECT count(*)
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.role = 'part' AND t.status IN ('FAILED', 'CANCELED')) > CASE WHEN
        CASE WHEN jsonb_typeof(p.spec #> '{fan_out,tolerate}') = 'number' THEN CAST(p.spec #>>
        '{fan_out,tolerate}' AS DOUBLE PRECISION) END IS NULL THEN 0 WHEN CASE WHEN
        jsonb_typeof(p.spec #> '{fan_out,tolerate}') = 'number' THEN CAST(p.spec #>>
        '{fan_out,tolerate}' AS DOUBLE PRECISION) END < 1 THEN CASE WHEN jsonb_typeof(p.spec #>
        '{fan_out,tolerate}') = 'number' THEN CAST(p.spec #>> '{fan_out,tolerate}' AS DOUBLE
        PRECISION) END * (
    SELECT count(*)
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.role = 'part') + 1e-9 ELSE CASE WHEN jsonb_typeof(p.spec #>
        '{fan_out,tolerate}') = 'number' THEN CAST(p.spec #>> '{fan_out,tolerate}' AS DOUBLE
        PRECISION) END END OR EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.held_by = 'window') AND (CASE WHEN jsonb_typeof(p.spec #>
        '{fan_out,max_concurrency}') = 'number' THEN CAST(p.spec #>> '{fan_out,max_concurrency}' AS
        DOUBLE PRECISION) END IS NULL OR CASE WHEN jsonb_typeof(p.spec #>
        '{fan_out,max_concurrency}') = 'number' THEN CAST(p.spec #>> '{fan_out,max_concurrency}' AS
        DOUBLE PRECISION) END > (
      SELECT count(*)
      FROM taskdb_task AS t
      WHERE t.parent_id = p.id AND t.role = 'part' AND (t.held_by IS NULL OR t.held_by <> 'window')
          AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING', 'ERRORED'))))
          AND CAST(p.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'reconcile' AND a.next_try_at > (
    SELECT clock_timestamp()))
UNION ALL
SELECT *
FROM (
  SELECT id, true AS is_last
  FROM page
  ORDER BY id
  LIMIT 1 OFFSET :look - 1) AS edge

-- task newest_step
SELECT id, status, position, name, CAST(result AS TEXT) AS result, result_ref, CAST(error AS TEXT)
    AS error
FROM taskdb_task
WHERE parent_id = :parent AND role = 'step' AND position >= :base
ORDER BY position DESC
LIMIT 1

-- task note_refusal
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT t.id, t.tenant, t.status, t.status, t.attempt, t.worker, clock_timestamp(),
    jsonb_build_object('refused', draft.reason)
FROM taskdb_task AS t
JOIN jsonb_to_recordset(CAST(:marks AS JSONB)) AS draft(id UUID, relay_at TIMESTAMPTZ, reason TEXT)
    ON draft.id = t.id AND draft.relay_at = t.relay_at
WHERE t.status IN ('CREATED', 'SCHEDULED', 'ERRORED') FOR UPDATE OF t

-- task open_ids
SELECT id
FROM taskdb_task
WHERE parent_id = :parent AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING',
    'FINISHED', 'ERRORED', 'HALTED') AND cancel_requested_at IS NULL AND id > :after
ORDER BY id
LIMIT :limit

-- task overdue
SELECT id
FROM taskdb_task
WHERE waits_for IN ('parts', 'steps', 'on_start') AND status = 'PROCESSING' AND NOT is_adopted AND
    CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'reconcile' AND a.next_try_at > (
    SELECT clock_timestamp())) AND deadline_at <= (
  SELECT clock_timestamp()) AND error IS NULL AND ((spec #>> '{fan_out,timeout}') IS NOT NULL OR
      (spec #>> '{sequence,timeout}') IS NOT NULL)
ORDER BY id
LIMIT :limit

-- task parts
SELECT id, position, status, CAST(input AS TEXT) AS input, input_ref, spec IS NOT NULL AS is_parent
FROM taskdb_task
WHERE parent_id = :parent AND role = 'part' AND position > :after
ORDER BY position
LIMIT :limit

-- task parts_left
SELECT (
  SELECT count(*)
  FROM (
    SELECT 1 AS one
    FROM taskdb_task
    WHERE parent_id = :parent AND role = 'part' AND status IN ('CREATED', 'SCHEDULED', 'QUEUED',
        'STARTED', 'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED')
    LIMIT 17) AS few) AS open, EXISTS (
  SELECT 1
  FROM taskdb_task
  WHERE parent_id = :parent AND held_by = 'window') AS is_held, COALESCE((
    SELECT (spec #>> '{fan_out,join}') = 'fail_fast'
    FROM taskdb_task
    WHERE id = :parent), false) AS is_hasty

-- task place
SELECT id, role, parent_id, status
FROM taskdb_task
WHERE id = :id

-- task publications
SELECT id, type, queue, priority, CASE WHEN relay_at IS NOT NULL THEN CAST(EXTRACT(EPOCH
    FROM GREATEST(LEAST(relay_at, TIMESTAMPTZ '10000-01-01 00:00:00Z'), TIMESTAMPTZ '0001-01-01
        00:00:00Z BC')) * 1000000 AS BIGINT) END AS relay_at, CASE WHEN deadline_at IS NOT NULL THEN
        CAST(EXTRACT(EPOCH
    FROM GREATEST(LEAST(deadline_at, TIMESTAMPTZ '10000-01-01 00:00:00Z'), TIMESTAMPTZ '0001-01-01
        00:00:00Z BC')) * 1000000 AS BIGINT) END AS deadline_at, role, parent_id, chunk, trace,
        attempt, CASE WHEN created_at IS NOT NULL THEN CAST(EXTRACT(EPOCH
    FROM GREATEST(LEAST(created_at, TIMESTAMPTZ '10000-01-01 00:00:00Z'), TIMESTAMPTZ '0001-01-01
        00:00:00Z BC')) * 1000000 AS BIGINT) END AS created_at
FROM taskdb_task
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID)) AND held_by IS NULL
ORDER BY created_at, id

-- task refuse
UPDATE taskdb_task
SET relay_at = (clock_timestamp() + make_interval(secs => CAST(CASE WHEN CAST(EXTRACT(EPOCH
          FROM clock_timestamp() - GREATEST(updated_at, COALESCE(run_at, updated_at))) AS DOUBLE
              PRECISION) < 5.0 THEN 5.0 WHEN CAST(EXTRACT(EPOCH
          FROM clock_timestamp() - GREATEST(updated_at, COALESCE(run_at, updated_at))) AS DOUBLE
              PRECISION) > 300.0 THEN 300.0 ELSE CAST(EXTRACT(EPOCH
          FROM clock_timestamp() - GREATEST(updated_at, COALESCE(run_at, updated_at))) AS DOUBLE
              PRECISION) END AS DOUBLE PRECISION)))
WHERE (id, relay_at) IN (
  SELECT draft.id, draft.relay_at
  FROM jsonb_to_recordset(CAST(:marks AS JSONB)) AS draft(id UUID, relay_at TIMESTAMPTZ)) AND status
      IN ('CREATED', 'SCHEDULED', 'ERRORED')

-- task release
UPDATE taskdb_task
SET relay_at = COALESCE(run_at, created_at)
WHERE (id, relay_at) IN (
  SELECT draft.id, draft.relay_at
  FROM jsonb_to_recordset(CAST(:marks AS JSONB)) AS draft(id UUID, relay_at TIMESTAMPTZ)) AND status
      IN ('CREATED', 'SCHEDULED', 'ERRORED')

-- task release_held
UPDATE taskdb_task
SET held_by = CASE WHEN needs_admission THEN 'admission' END, relay_at = CASE WHEN run_at >
    clock_timestamp() THEN run_at WHEN needs_admission THEN clock_timestamp() ELSE
    (clock_timestamp() + make_interval(secs => CAST(:delay AS DOUBLE PRECISION))) END
WHERE id IN (
  SELECT id
  FROM taskdb_task
  WHERE parent_id = :parent AND held_by = 'window'
  ORDER BY position
  LIMIT :limit FOR UPDATE)
RETURNING id, held_by

-- task remark
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT id, tenant, status, status, attempt, worker, clock_timestamp(), CAST(:detail AS JSONB)
FROM taskdb_task
WHERE id = :id FOR SHARE
RETURNING task_id

-- task report
UPDATE taskdb_task AS old
SET attributes = COALESCE(CAST(:attributes AS JSONB), old.attributes), progress_current =
    COALESCE(CAST(:current AS BIGINT), old.progress_current), progress_total = COALESCE(CAST(:total
    AS BIGINT), old.progress_total), progress_message = COALESCE(CAST(:message AS TEXT),
    old.progress_message), updated_at = clock_timestamp()
WHERE old.id = :id AND old.claim_token = :token AND old.status = 'PROCESSING'
RETURNING id, set_config('synchronous_commit', 'off', true)

-- task retryable_ids
SELECT id, spec IS NOT NULL AS is_parent
FROM taskdb_task
WHERE parent_id = :parent AND role = 'part' AND (status IN ('FAILED', 'HALTED', 'CANCELED') OR
    status IN ('COMPLETED', 'FAILED', 'CANCELED') AND :force) AND id > :after
ORDER BY id
LIMIT :limit

-- task trees
SELECT id
FROM taskdb_task
WHERE id IN (
  SELECT CAST(jsonb_array_elements_text(CAST(:ids AS JSONB)) AS UUID)) AND (spec IS NOT NULL OR
      parent_id IS NOT NULL)

-- task window
SELECT EXISTS (
  SELECT 1
  FROM taskdb_task
  WHERE parent_id = :parent AND held_by = 'window') AS is_held, EXISTS (
  SELECT 1
  FROM taskdb_task
  WHERE parent_id = :parent AND role = 'part' AND status IN ('FAILED', 'CANCELED')) AS is_bad, (
  SELECT count(*)
  FROM taskdb_task
  WHERE parent_id = :parent AND role = 'part' AND (held_by IS NULL OR held_by <> 'window') AND
      status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING', 'ERRORED')) AS busy

-- task/worker alive
SELECT id
FROM taskdb_worker
WHERE stopped_at IS NULL AND seen_at >= (
  SELECT (clock_timestamp() + make_interval(secs => CAST(-:seconds AS DOUBLE PRECISION))))

-- task/worker announce
INSERT INTO taskdb_worker (id, name, host, pid, queues, types, release, started_at, seen_at)
VALUES (:id, :name, :host, :pid, CAST(:queues AS JSONB), CAST(:types AS JSONB), :release,
    clock_timestamp(), clock_timestamp())
ON CONFLICT (id) DO UPDATE
SET seen_at = clock_timestamp(), queues = excluded.queues, types = excluded.types, stopped_at = NULL

-- task/worker cancel_wishes
SELECT id, claim_token, CAST(EXTRACT(EPOCH
    FROM clock_timestamp() - cancel_requested_at) AS DOUBLE PRECISION) AS waited
FROM taskdb_task
WHERE worker = :worker AND status IN ('STARTED', 'PROCESSING') AND cancel_requested_at IS NOT NULL

-- task/worker has_running
SELECT 1 AS one
FROM taskdb_task
WHERE worker = :worker AND status IN ('STARTED', 'PROCESSING')
LIMIT 1

-- task/worker renew
UPDATE taskdb_worker
SET seen_at = clock_timestamp(), waiting = CAST(:waiting AS TEXT)
WHERE id = :id
RETURNING id, set_config('synchronous_commit', 'off', true)

-- task/worker renew_with_lists
UPDATE taskdb_worker
SET seen_at = clock_timestamp(), waiting = CAST(:waiting AS TEXT), claims_before = claims,
    listed_before_at = listed_at, claims = CAST(:claims AS JSONB), messages = CAST(:messages AS
    JSONB), listed_at = clock_timestamp()
WHERE id = :id
RETURNING id, set_config('synchronous_commit', 'off', true)

-- task/worker stop
UPDATE taskdb_worker
SET stopped_at = clock_timestamp()
WHERE id = :id
