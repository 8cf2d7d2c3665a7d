-- move answer, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move answer, 2
UPDATE taskdb_task AS old
SET status = old.status, called_back = :called_back, result = :result, result_ref = :result_ref,
    updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('STARTED', 'PROCESSING') AND NOT old.waits_for IS
      NOT NULL AND old.called_back IS NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move answer, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move ask_anew, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id IN (
  SELECT value
  FROM json_each(:ids))

-- move ask_anew, 2
UPDATE taskdb_task AS old
SET status = old.status, name = draft.name, queue = draft.queue, priority = draft.priority,
    attributes = draft.attributes, tags = draft.tags, mutex_key = draft.mutex_key, request_id =
    draft.request_id, created_by = draft.created_by, created_ip = draft.created_ip, deadline_at =
    draft.deadline_at, notify_id = draft.notify_id, trace = draft.trace, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
FROM (
  SELECT json_extract(value, '$.name') AS name, json_extract(value, '$.queue') AS queue,
      json_extract(value, '$.priority') AS priority, json_extract(value, '$.attributes') AS
      attributes, json_extract(value, '$.tags') AS tags, json_extract(value, '$.mutex_key') AS
      mutex_key, json_extract(value, '$.request_id') AS request_id, json_extract(value,
      '$.created_by') AS created_by, json_extract(value, '$.created_ip') AS created_ip,
      json_extract(value, '$.deadline_at') AS deadline_at, json_extract(value, '$.notify_id') AS
      notify_id, json_extract(value, '$.trace') AS trace, json_extract(value, '$.id') AS id
  FROM json_each(:given)) AS draft
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND draft.id = old.id AND (old.status IN ('SCHEDULED', 'FAILED',
      'HALTED')) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move ask_anew, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move await_callback, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move await_callback, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL AND old.called_back IS NULL THEN
    'CANCELED' ELSE 'PROCESSING' END, waits_for = CASE WHEN old.cancel_requested_at IS NOT NULL AND
    old.called_back IS NULL THEN NULL ELSE 'callback' END, ended_at = CASE WHEN
    old.cancel_requested_at IS NOT NULL AND old.called_back IS NULL THEN
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END, attributes = COALESCE(:attributes, old.attributes),
    progress_current = COALESCE(:current, old.progress_current), progress_total = COALESCE(:total,
    old.progress_total), progress_message = COALESCE(:message, old.progress_message), spec = :spec,
    result = CASE WHEN old.called_back = 'FAILED' THEN NULL ELSE old.result END, error = NULL,
    worker = NULL, chunk = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move await_callback, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move cancel, 1
SELECT old.id, old.status, old.worker, old.waits_for, old.parent_id
FROM taskdb_task AS old
WHERE old.id IN (
  SELECT value
  FROM json_each(:ids))

-- move cancel, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN (old.status IN ('STARTED', 'PROCESSING') AND old.worker IS NOT NULL OR
    old.waits_for <> 'callback') THEN old.status ELSE 'CANCELED' END, cancel_requested_at =
    COALESCE(old.cancel_requested_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), ended_at = CASE WHEN
    (old.status IN ('STARTED', 'PROCESSING') AND old.worker IS NOT NULL OR old.waits_for <>
    'callback') THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END, waits_for =
    NULLIF(old.waits_for, 'callback'), held_by = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ',
    'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
      'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED')) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move cancel, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move cancel_own, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move cancel_own, 2
UPDATE taskdb_task AS old
SET status = 'CANCELED', attributes = COALESCE(:attributes, old.attributes), progress_current =
    COALESCE(:current, old.progress_current), progress_total = COALESCE(:total, old.progress_total),
    progress_message = COALESCE(:message, old.progress_message), ended_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), error = :error, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move cancel_own, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move claim, 1
SELECT old.id, old.status, old.worker, old.attempt, old.spared, old.crashes, old.tenant, old.type,
    old.input, old.input_ref, old.result, old.result_ref, old.error, old.attributes, old.role,
    old.parent_id, old.position, old.needs_admission, old.queue, old.trace, old.claim_token,
    old.called_back, old.mutex_key
FROM taskdb_task AS old
WHERE old.id = :id

-- move claim, 2
UPDATE taskdb_task AS old
SET status = 'STARTED', attempt = old.attempt + 1, worker = :worker, claim_token = :token,
    max_attempts = :max_attempts, may_rerun = :may_rerun, started_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ended_at = NULL, deadline_at = NULL, progress_current =
    NULL, progress_total = NULL, progress_message = NULL, callback_hash = NULL, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND ((old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at,
      strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))) AND NOT
      (old.started_at IS NULL AND COALESCE(old.deadline_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
      false)) AND NOT (old.mutex_key IS NOT NULL AND NOT old.needs_admission OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE (g.is_paused OR NOT old.needs_admission) AND (g.target IN ('queue') AND g.name =
          old.queue OR g.target IN ('type') AND g.name = old.type OR g.target IN ('tenant', 'own')
          AND g.name = old.tenant))) AND (:type IS NULL OR old.type = :type) AND (:attempt IS NULL
          OR old.attempt = :attempt)) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move claim, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move claim_chunk, 1
SELECT old.id, old.status, old.worker, old.attempt, old.spared, old.crashes, old.tenant, old.type,
    old.input, old.input_ref, old.result, old.result_ref, old.error, old.attributes, old.role,
    old.parent_id, old.position, old.needs_admission, old.queue, old.trace, old.claim_token,
    old.called_back, old.mutex_key
FROM taskdb_task AS old
WHERE old.id IN (
  WITH taken AS (
    SELECT t.id
    FROM taskdb_task AS t
    WHERE t.chunk = :id AND (t.status IN ('CREATED', 'QUEUED') OR t.claim_token = :token AND
        t.status IN ('STARTED', 'PROCESSING'))
    ORDER BY t.id
    LIMIT :count)
  SELECT id
  FROM taken)

-- move claim_chunk, 2
UPDATE taskdb_task AS old
SET status = 'STARTED', attempt = old.attempt + 1, worker = :worker, claim_token = :token,
    max_attempts = :max_attempts, may_rerun = :may_rerun, started_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ended_at = NULL, deadline_at = NULL, progress_current =
    NULL, progress_total = NULL, progress_message = NULL, callback_hash = NULL, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND ((old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at,
      strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))) AND NOT
      (old.started_at IS NULL AND COALESCE(old.deadline_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
      false)) AND NOT (old.mutex_key IS NOT NULL AND NOT old.needs_admission OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE (g.is_paused OR NOT old.needs_admission) AND (g.target IN ('queue') AND g.name =
          old.queue OR g.target IN ('type') AND g.name = old.type OR g.target IN ('tenant', 'own')
          AND g.name = old.tenant))) AND (:type IS NULL OR old.type = :type) AND (:attempt IS NULL
          OR old.attempt = :attempt)) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move claim_chunk, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move complete, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move complete, 2
UPDATE taskdb_task AS old
SET status = 'COMPLETED', attributes = COALESCE(:attributes, old.attributes), progress_current =
    COALESCE(:current, old.progress_current), progress_total = COALESCE(:total, old.progress_total),
    progress_message = COALESCE(:message, old.progress_message), ended_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), result = :result, result_ref = :result_ref, error = NULL,
    updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move complete, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move complete_many, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id IN (
  SELECT draft.id
  FROM (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.result') AS result,
        json_extract(value, '$.result_ref') AS result_ref
    FROM json_each(:given)) AS draft)

-- move complete_many, 2
UPDATE taskdb_task AS old
SET status = 'COMPLETED', ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), result = draft.result,
    result_ref = draft.result_ref, error = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
FROM (
  SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.result') AS result,
      json_extract(value, '$.result_ref') AS result_ref
  FROM json_each(:given)) AS draft
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND draft.id = old.id AND (old.claim_token = :token AND old.status IN
      ('STARTED', 'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move complete_many, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move complete_silent, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move complete_silent, 2
UPDATE taskdb_task AS old
SET status = 'COMPLETED', ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), result = :result,
    result_ref = :result_ref, error = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move complete_silent, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move crash, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move crash, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' WHEN NOT old.may_rerun
    AND old.called_back IS NULL THEN 'FAILED' WHEN old.crashes + 1 >= :max_crashes THEN 'HALTED'
    ELSE 'ERRORED' END, crashes = old.crashes + 1, chunk = NULL, error =
    json_patch(json_patch(:error, json_object('attempt', old.attempt)), CASE WHEN old.crashes + 1 >=
    :max_crashes THEN json_object('message', CASE WHEN json_valid(:error) THEN json_extract(:error,
    '$.message') END || '; its runs were on ' || (
      SELECT group_concat(DISTINCT e.worker)
      FROM taskdb_event AS e
      WHERE e.task_id = old.id AND e.to_status = 'STARTED')) ELSE '{}' END), run_at =
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), relay_at =
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), ended_at = CASE WHEN
          old.cancel_requested_at IS NOT NULL OR NOT old.may_rerun AND old.called_back IS NULL THEN
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END, held_by = CASE WHEN old.needs_admission AND
          CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' WHEN NOT old.may_rerun AND
          old.called_back IS NULL THEN 'FAILED' WHEN old.crashes + 1 >= :max_crashes THEN 'HALTED'
          ELSE 'ERRORED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END, updated_at
          = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move crash, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move crash_chunk, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.chunk = :id

-- move crash_chunk, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' WHEN NOT (old.chunk IS
    NULL OR NOT old.may_rerun AND old.called_back IS NULL) THEN 'CREATED' WHEN NOT old.may_rerun AND
    old.called_back IS NULL THEN 'FAILED' WHEN old.crashes + 1 >= :max_crashes THEN 'HALTED' ELSE
    'ERRORED' END, crashes = old.crashes + CASE WHEN (old.chunk IS NULL OR NOT old.may_rerun AND
    old.called_back IS NULL) THEN 1 ELSE 0 END, chunk = NULL, error = json_patch(json_patch(:error,
    json_object('attempt', old.attempt)), CASE WHEN old.crashes + 1 >= :max_crashes THEN
    json_object('message', CASE WHEN json_valid(:error) THEN json_extract(:error, '$.message') END
    || '; its runs were on ' || (
      SELECT group_concat(DISTINCT e.worker)
      FROM taskdb_event AS e
      WHERE e.task_id = old.id AND e.to_status = 'STARTED')) ELSE '{}' END), run_at =
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), relay_at =
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), ended_at = CASE WHEN
          old.cancel_requested_at IS NOT NULL OR NOT old.may_rerun AND old.called_back IS NULL THEN
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END, held_by = CASE WHEN old.needs_admission AND
          CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' WHEN NOT (old.chunk IS NULL
          OR NOT old.may_rerun AND old.called_back IS NULL) THEN 'CREATED' WHEN NOT old.may_rerun
          AND old.called_back IS NULL THEN 'FAILED' WHEN old.crashes + 1 >= :max_crashes THEN
          'HALTED' ELSE 'ERRORED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END,
          spared = old.spared + CASE WHEN (old.chunk IS NULL OR NOT old.may_rerun AND
          old.called_back IS NULL) THEN 0 ELSE 1 END, claim_token = NULL, worker = NULL, updated_at
          = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move crash_chunk, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move doom, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move doom, 2
UPDATE taskdb_task AS old
SET status = old.status, error = :error, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.waits_for IS NOT NULL AND old.status = 'PROCESSING' AND
      old.error IS NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move doom, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move error, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move error, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'ERRORED' END,
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') END, attributes = COALESCE(:attributes, old.attributes), progress_current =
    COALESCE(:current, old.progress_current), progress_total = COALESCE(:total, old.progress_total),
    progress_message = COALESCE(:message, old.progress_message), error = :error, run_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), relay_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), worker = NULL, chunk = NULL,
    held_by = CASE WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT NULL THEN
    'CANCELED' ELSE 'ERRORED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END,
    updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move error, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move expire, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move expire, 2
UPDATE taskdb_task AS old
SET status = 'FAILED', error = json_patch(:error, json_object('attempt', old.attempt)), ended_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), held_by = NULL, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND
      old.started_at IS NULL AND COALESCE(old.deadline_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
      false)) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move expire, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move expire_chunk, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.chunk = :id

-- move expire_chunk, 2
UPDATE taskdb_task AS old
SET status = 'FAILED', error = json_patch(:error, json_object('attempt', old.attempt)), ended_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), held_by = NULL, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND
      old.started_at IS NULL AND COALESCE(old.deadline_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
      false)) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move expire_chunk, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move expire_due, 1
SELECT old.id, old.status, old.worker, old.parent_id
FROM taskdb_task AS old
WHERE old.id IN (
  SELECT id
  FROM taskdb_task
  WHERE deadline_at <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AND status IN ('CREATED', 'SCHEDULED', 'QUEUED',
        'ERRORED') AND NOT is_adopted AND started_at IS NULL AND status IN
        ('CREATED','SCHEDULED','QUEUED','PROCESSING','ERRORED') AND CAST(id AS TEXT) NOT IN (
    SELECT a.key
    FROM taskdb_set_aside AS a
    WHERE a.loop = 'expire' AND a.next_try_at > (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
  ORDER BY deadline_at
  LIMIT :limit)

-- move expire_due, 2
UPDATE taskdb_task AS old
SET status = 'FAILED', error = json_patch(:error, json_object('attempt', old.attempt)), ended_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), held_by = NULL, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND
      old.started_at IS NULL AND COALESCE(old.deadline_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
      false)) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move expire_due, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move fail, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move fail, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.called_back IS NOT NULL THEN 'ERRORED' WHEN old.cancel_requested_at IS
    NOT NULL THEN 'CANCELED' ELSE 'FAILED' END, ended_at = CASE WHEN NOT (old.called_back IS NOT
    NULL) THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END, run_at = CASE WHEN old.called_back IS NOT
    NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE old.run_at END, relay_at = CASE WHEN
    old.called_back IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE old.relay_at END,
    worker = CASE WHEN NOT (old.called_back IS NOT NULL) THEN old.worker END, held_by = CASE WHEN
    old.called_back IS NOT NULL AND old.needs_admission THEN 'admission' ELSE old.held_by END,
    attributes = COALESCE(:attributes, old.attributes), progress_current = COALESCE(:current,
    old.progress_current), progress_total = COALESCE(:total, old.progress_total), progress_message =
    COALESCE(:message, old.progress_message), error = :error, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move fail, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move fan_out, 1
SELECT old.id, old.status, old.worker, old.claim_token, old.waits_for
FROM taskdb_task AS old
WHERE old.id = :id

-- move fan_out, 2
UPDATE taskdb_task AS old
SET status = 'PROCESSING', waits_for = :waits_for, spec = :spec, deadline_at = CASE WHEN :timeout IS
    NULL THEN old.deadline_at ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:timeout) || ' seconds')
    END, worker = NULL, kind = 'FAN_OUT', error = NULL, progress_current = NULL, progress_total =
    NULL, progress_message = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL AND old.cancel_requested_at IS NULL) AND NOT
      old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move fan_out, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move finish, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move finish, 2
UPDATE taskdb_task AS old
SET status = 'FINISHED', attributes = COALESCE(:attributes, old.attributes), progress_current =
    COALESCE(:current, old.progress_current), progress_total = COALESCE(:total, old.progress_total),
    progress_message = COALESCE(:message, old.progress_message), waits_for = :waits_for, spec =
    :spec, deadline_at = CASE WHEN :timeout IS NULL THEN old.deadline_at ELSE
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:timeout) || ' seconds') END, worker = NULL, result =
    :result, result_ref = :result_ref, error = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ',
    'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move finish, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move halt, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move halt, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'HALTED' END,
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') END, attributes = COALESCE(:attributes, old.attributes), progress_current =
    COALESCE(:current, old.progress_current), progress_total = COALESCE(:total, old.progress_total),
    progress_message = COALESCE(:message, old.progress_message), error = :error, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move halt, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move hand_back, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move hand_back, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') END, run_at = NULL, relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || '
    seconds'), held_by = CASE WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT
    NULL THEN 'CANCELED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission'
    END, worker = NULL, chunk = NULL, spared = old.spared + 1, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move hand_back, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move hand_back_chunk, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.chunk = :id

-- move hand_back_chunk, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') END, run_at = NULL, relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || '
    seconds'), held_by = CASE WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT
    NULL THEN 'CANCELED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission'
    END, worker = NULL, chunk = NULL, spared = old.spared + 1, claim_token = NULL, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move hand_back_chunk, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move hand_back_lost, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id IN (
  SELECT value
  FROM json_each(:ids))

-- move hand_back_lost, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') END, run_at = NULL, relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || '
    seconds'), held_by = CASE WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT
    NULL THEN 'CANCELED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission'
    END, worker = NULL, claim_token = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status = 'QUEUED' AND old.queued_at <= :seen) AND NOT
      old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move hand_back_lost, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move hand_back_unclaimed, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move hand_back_unclaimed, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') END, run_at = NULL, relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || '
    seconds'), held_by = CASE WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT
    NULL THEN 'CANCELED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission'
    END, worker = NULL, claim_token = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status = 'QUEUED' AND (:type IS NULL OR old.type = :type)) AND
      NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move hand_back_unclaimed, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move hand_back_unclaimed_chunk, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.chunk = :id

-- move hand_back_unclaimed_chunk, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') END, run_at = NULL, relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || '
    seconds'), held_by = CASE WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT
    NULL THEN 'CANCELED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission'
    END, worker = NULL, claim_token = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status = 'QUEUED' AND (:type IS NULL OR old.type = :type)) AND
      NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move hand_back_unclaimed_chunk, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move hand_back_worker, 1
SELECT old.id, old.status, old.worker, old.parent_id
FROM taskdb_task AS old
WHERE old.worker = :worker AND old.status IN ('STARTED', 'PROCESSING')

-- move hand_back_worker, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'CREATED' END,
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') END, run_at = NULL, relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || '
    seconds'), held_by = CASE WHEN old.needs_admission AND CASE WHEN old.cancel_requested_at IS NOT
    NULL THEN 'CANCELED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission'
    END, worker = NULL, chunk = NULL, spared = old.spared + 1, claim_token = NULL, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move hand_back_worker, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move hold, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move hold, 2
UPDATE taskdb_task AS old
SET status = 'CREATED', needs_admission = true, held_by = 'admission', relay_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), worker = NULL, claim_token = NULL, chunk = NULL,
    updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at,
      strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND
      (old.mutex_key IS NOT NULL AND NOT old.needs_admission OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE (g.is_paused OR NOT old.needs_admission) AND (g.target IN ('queue') AND g.name =
          old.queue OR g.target IN ('type') AND g.name = old.type OR g.target IN ('tenant', 'own')
          AND g.name = old.tenant)))) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move hold, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move hold_chunk, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.chunk = :id

-- move hold_chunk, 2
UPDATE taskdb_task AS old
SET status = 'CREATED', needs_admission = true, held_by = 'admission', relay_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), worker = NULL, claim_token = NULL, chunk = NULL,
    updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at,
      strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND
      (old.mutex_key IS NOT NULL AND NOT old.needs_admission OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE (g.is_paused OR NOT old.needs_admission) AND (g.target IN ('queue') AND g.name =
          old.queue OR g.target IN ('type') AND g.name = old.type OR g.target IN ('tenant', 'own')
          AND g.name = old.tenant)))) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move hold_chunk, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move join_cancel, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move join_cancel, 2
UPDATE taskdb_task AS old
SET status = 'CANCELED', waits_for = NULL, ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), worker
    = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.waits_for IS NOT NULL AND old.status IN ('PROCESSING',
      'FINISHED') AND NOT EXISTS (
    SELECT 1
    FROM taskdb_task AS s
    WHERE s.parent_id = old.id AND s.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED'))) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move join_cancel, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move join_complete, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move join_complete, 2
UPDATE taskdb_task AS old
SET status = 'COMPLETED', waits_for = NULL, ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), worker
    = NULL, result = :result, result_ref = :result_ref, error = NULL, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.waits_for IS NOT NULL AND old.status IN ('PROCESSING',
      'FINISHED') AND NOT EXISTS (
    SELECT 1
    FROM taskdb_task AS s
    WHERE s.parent_id = old.id AND s.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED'))) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move join_complete, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move join_fail, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move join_fail, 2
UPDATE taskdb_task AS old
SET status = 'FAILED', waits_for = NULL, ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), worker =
    NULL, error = :error, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.waits_for IS NOT NULL AND old.status IN ('PROCESSING',
      'FINISHED') AND NOT EXISTS (
    SELECT 1
    FROM taskdb_task AS s
    WHERE s.parent_id = old.id AND s.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED',
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED'))) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move join_fail, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move join_finish, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move join_finish, 2
UPDATE taskdb_task AS old
SET status = 'FINISHED', waits_for = :waits_for, spec = :spec, deadline_at = CASE WHEN :timeout IS
    NULL THEN old.deadline_at ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:timeout) || ' seconds')
    END, result = :result, result_ref = :result_ref, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ',
    'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.waits_for IS NOT NULL AND old.status = 'PROCESSING') AND NOT
      old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move join_finish, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move progress, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move progress, 2
UPDATE taskdb_task AS old
SET status = 'PROCESSING', attributes = COALESCE(:attributes, old.attributes), progress_current =
    COALESCE(:current, old.progress_current), progress_total = COALESCE(:total, old.progress_total),
    progress_message = COALESCE(:message, old.progress_message), updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status = 'STARTED') AND NOT
      old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move progress, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move queue, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE (old.id, old.relay_at) IN (
  SELECT draft.id, draft.relay_at
  FROM (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.relay_at') AS relay_at
    FROM json_each(:marks)) AS draft)

-- move queue, 2
UPDATE taskdb_task AS old
SET status = 'QUEUED', queued_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('CREATED', 'SCHEDULED', 'ERRORED')) AND NOT
      old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move queue, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move reopen, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move reopen, 2
UPDATE taskdb_task AS old
SET status = 'CREATED', worker = NULL, claim_token = NULL, error = NULL, ended_at = NULL,
    cancel_requested_at = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('COMPLETED', 'FAILED', 'HALTED', 'CANCELED')) AND
      NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move reopen, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move rescue, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE (old.id, COALESCE(old.claim_token, '')) IN (
  SELECT t.id, COALESCE(t.claim_token, '')
  FROM taskdb_task AS t
  LEFT JOIN taskdb_worker AS w ON w.id = t.worker
  WHERE t.status IN ('STARTED', 'PROCESSING') AND t.status <> 'COMPLETED' AND t.waits_for IS NULL
      AND NOT t.is_adopted AND ((w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR
      w.seen_at < (
        SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) OR (t.started_at <
            w.listed_before_at AND NOT EXISTS (
        SELECT 1
        FROM json_each(CASE WHEN json_valid(w.claims) THEN w.claims ELSE '[]' END)
        WHERE value = t.claim_token) AND NOT EXISTS (
        SELECT 1
        FROM json_each(CASE WHEN json_valid(w.claims_before) THEN w.claims_before ELSE '[]' END)
        WHERE value = t.claim_token))) AND CAST(t.id AS TEXT) NOT IN (
    SELECT a.key
    FROM taskdb_set_aside AS a
    WHERE a.loop = 'rescue' AND a.next_try_at > (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
  ORDER BY t.id
  LIMIT :limit)

-- move rescue, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' WHEN NOT (old.chunk IS
    NULL OR NOT old.may_rerun AND old.called_back IS NULL) THEN 'CREATED' WHEN NOT old.may_rerun AND
    old.called_back IS NULL THEN 'FAILED' WHEN old.crashes + 1 >= :max_crashes THEN 'HALTED' ELSE
    'ERRORED' END, crashes = old.crashes + CASE WHEN (old.chunk IS NULL OR NOT old.may_rerun AND
    old.called_back IS NULL) THEN 1 ELSE 0 END, chunk = NULL, error = json_patch(json_patch(:error,
    json_object('attempt', old.attempt)), CASE WHEN old.crashes + 1 >= :max_crashes THEN
    json_object('message', CASE WHEN json_valid(:error) THEN json_extract(:error, '$.message') END
    || '; its runs were on ' || (
      SELECT group_concat(DISTINCT e.worker)
      FROM taskdb_event AS e
      WHERE e.task_id = old.id AND e.to_status = 'STARTED')) ELSE '{}' END), run_at =
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), relay_at =
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), ended_at = CASE WHEN
          old.cancel_requested_at IS NOT NULL OR NOT old.may_rerun AND old.called_back IS NULL THEN
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END, held_by = CASE WHEN old.needs_admission AND
          CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' WHEN NOT (old.chunk IS NULL
          OR NOT old.may_rerun AND old.called_back IS NULL) THEN 'CREATED' WHEN NOT old.may_rerun
          AND old.called_back IS NULL THEN 'FAILED' WHEN old.crashes + 1 >= :max_crashes THEN
          'HALTED' ELSE 'ERRORED' END IN ('CREATED', 'SCHEDULED', 'ERRORED') THEN 'admission' END,
          spared = old.spared + CASE WHEN (old.chunk IS NULL OR NOT old.may_rerun AND
          old.called_back IS NULL) THEN 0 ELSE 1 END, claim_token = NULL, updated_at =
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('STARTED', 'PROCESSING') AND NOT old.waits_for IS
      NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move rescue, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move resubmit, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.tenant = :tenant AND old.type = :type AND old.unique_key = :unique_key

-- move resubmit, 2
UPDATE taskdb_task AS old
SET spared = old.attempt, crashes = 0, unregistered = 0, result = NULL, result_ref = NULL, error =
    NULL, ended_at = NULL, cancel_requested_at = NULL, called_back = NULL, worker = NULL,
    claim_token = NULL, spec = NULL, started_at = NULL, status = CASE WHEN
    COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), :run_at) >
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') THEN 'SCHEDULED' ELSE 'CREATED' END, run_at =
    COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), :run_at),
    needs_admission = (old.needs_admission OR (:mutex_key IS NOT NULL OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('queue') AND g.name = :queue) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))), held_by = CASE WHEN
          (old.needs_admission OR (:mutex_key IS NOT NULL OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('queue') AND g.name = :queue) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))) THEN 'admission' END, relay_at
          = CASE WHEN COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'),
          :run_at) > strftime('%Y-%m-%dT%H:%M:%fZ', 'now') THEN
          COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), :run_at) WHEN
          (old.needs_admission OR (:mutex_key IS NOT NULL OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('queue') AND g.name = :queue) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))) THEN
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:grace)
          || ' seconds') END, name = :name, queue = :queue, priority = :priority, input = :input,
          input_ref = :input_ref, attributes = :attributes, tags = :tags, mutex_key = :mutex_key,
          request_id = :request_id, created_by = :created_by, created_ip = :created_ip, deadline_at
          = :deadline_at, notify_id = :notify_id, trace = :trace, updated_at =
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('SCHEDULED', 'FAILED', 'HALTED') AND :kind = 'TASK'
      AND NOT (CASE WHEN json_valid(old.spec) THEN json_extract(old.spec, '$.fan_out') END IS NOT
      NULL OR CASE WHEN json_valid(old.spec) THEN json_extract(old.spec, '$.sequence') END IS NOT
      NULL)) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move resubmit, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move resubmit_part, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id IN (
  SELECT value
  FROM json_each(:ids))

-- move resubmit_part, 2
UPDATE taskdb_task AS old
SET spared = old.attempt, crashes = 0, unregistered = 0, result = NULL, result_ref = NULL, error =
    NULL, ended_at = NULL, cancel_requested_at = NULL, called_back = NULL, worker = NULL,
    claim_token = NULL, spec = NULL, started_at = NULL, chunk = NULL, status = CASE WHEN
    COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (draft.delay) || ' seconds'), draft.run_at) >
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AND old.status <> 'CANCELED' THEN 'SCHEDULED' ELSE
    'CREATED' END, run_at = COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (draft.delay) || '
    seconds'), draft.run_at), needs_admission = (old.needs_admission OR (draft.mutex_key IS NOT NULL
    OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))), held_by = COALESCE(:held_by,
          CASE WHEN (old.needs_admission OR (draft.mutex_key IS NOT NULL OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))) THEN 'admission' END),
            relay_at = CASE WHEN :held_by IS NOT NULL THEN '9999-01-01T00:00:00.000Z' WHEN
            COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (draft.delay) || ' seconds'),
            draft.run_at) > strftime('%Y-%m-%dT%H:%M:%fZ', 'now') THEN
            COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (draft.delay) || ' seconds'),
            draft.run_at) WHEN (old.needs_admission OR (draft.mutex_key IS NOT NULL OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('type') AND g.name = old.type) OR EXISTS (
      SELECT 1
      FROM taskdb_limit AS g
      WHERE g.target IN ('tenant', 'own') AND g.name = old.tenant))) THEN
          strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:grace)
          || ' seconds') END, name = draft.name, queue = draft.queue, priority = draft.priority,
          attributes = draft.attributes, tags = draft.tags, mutex_key = draft.mutex_key, request_id
          = draft.request_id, created_by = draft.created_by, created_ip = draft.created_ip,
          deadline_at = draft.deadline_at, notify_id = draft.notify_id, trace = draft.trace,
          updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
FROM (
  SELECT json_extract(value, '$.name') AS name, json_extract(value, '$.queue') AS queue,
      json_extract(value, '$.priority') AS priority, json_extract(value, '$.attributes') AS
      attributes, json_extract(value, '$.tags') AS tags, json_extract(value, '$.mutex_key') AS
      mutex_key, json_extract(value, '$.request_id') AS request_id, json_extract(value,
      '$.created_by') AS created_by, json_extract(value, '$.created_ip') AS created_ip,
      json_extract(value, '$.deadline_at') AS deadline_at, json_extract(value, '$.notify_id') AS
      notify_id, json_extract(value, '$.trace') AS trace, json_extract(value, '$.run_at') AS run_at,
      json_extract(value, '$.delay') AS delay, json_extract(value, '$.id') AS id
  FROM json_each(:given)) AS draft
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND draft.id = old.id AND (old.status IN ('SCHEDULED', 'FAILED',
      'HALTED', 'CANCELED')) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move resubmit_part, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move retry, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id IN (
  SELECT value
  FROM json_each(:ids))

-- move retry, 2
UPDATE taskdb_task AS old
SET status = 'CREATED', spared = old.attempt, crashes = 0, unregistered = 0, result = NULL,
    result_ref = NULL, error = NULL, ended_at = NULL, cancel_requested_at = NULL, called_back =
    NULL, worker = NULL, claim_token = NULL, chunk = NULL, run_at = NULL, deadline_at = NULL, spec =
    NULL, held_by = CASE WHEN :held_by IS NOT NULL THEN :held_by WHEN old.needs_admission THEN
    'admission' END, relay_at = CASE WHEN :held_by IS NOT NULL THEN '9999-01-01T00:00:00.000Z' WHEN
    old.needs_admission THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds') END, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('SCHEDULED', 'COMPLETED', 'ERRORED', 'FAILED',
      'HALTED', 'CANCELED')) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move retry, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move retry_ended_badly, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id IN (
  SELECT value
  FROM json_each(:ids))

-- move retry_ended_badly, 2
UPDATE taskdb_task AS old
SET status = 'CREATED', spared = old.attempt, crashes = 0, unregistered = 0, result = NULL,
    result_ref = NULL, error = NULL, ended_at = NULL, cancel_requested_at = NULL, called_back =
    NULL, worker = NULL, claim_token = NULL, chunk = NULL, run_at = NULL, deadline_at = NULL, spec =
    NULL, held_by = CASE WHEN :held_by IS NOT NULL THEN :held_by WHEN old.needs_admission THEN
    'admission' END, relay_at = CASE WHEN :held_by IS NOT NULL THEN '9999-01-01T00:00:00.000Z' WHEN
    old.needs_admission THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds') END, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status IN ('FAILED', 'HALTED', 'CANCELED')) AND NOT
      old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move retry_ended_badly, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move revoke, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move revoke, 2
UPDATE taskdb_task AS old
SET status = 'CANCELED', error = json_patch(:error, json_object('attempt', old.attempt)), ended_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL AND old.cancel_requested_at IS NOT NULL) AND
      NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move revoke, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move snooze, 1
SELECT old.id, old.status, old.worker, old.claim_token
FROM taskdb_task AS old
WHERE old.id = :id

-- move snooze, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'SCHEDULED' END,
    ended_at = CASE WHEN old.cancel_requested_at IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') END, attributes = COALESCE(:attributes, old.attributes), progress_current =
    COALESCE(:current, old.progress_current), progress_total = COALESCE(:total, old.progress_total),
    progress_message = COALESCE(:message, old.progress_message), run_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), relay_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), worker = NULL, chunk = NULL,
    spared = old.spared + 1, held_by = CASE WHEN old.needs_admission AND CASE WHEN
    old.cancel_requested_at IS NOT NULL THEN 'CANCELED' ELSE 'SCHEDULED' END IN ('CREATED',
    'SCHEDULED', 'ERRORED') THEN 'admission' END, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.claim_token = :token AND old.status IN ('STARTED',
      'PROCESSING') AND NOT old.waits_for IS NOT NULL) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move snooze, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move stray, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move stray, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.unregistered + 1 >= :strays AND NOT EXISTS (
  SELECT 1
  FROM taskdb_worker AS w
  WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.queues) THEN w.queues ELSE '[]' END)
    WHERE value = old.queue) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.types) THEN w.types ELSE '[]' END)
    WHERE value = old.type)) THEN 'FAILED' ELSE 'CREATED' END, unregistered = old.unregistered + 1,
        ended_at = CASE WHEN old.unregistered + 1 >= :strays AND NOT EXISTS (
  SELECT 1
  FROM taskdb_worker AS w
  WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.queues) THEN w.queues ELSE '[]' END)
    WHERE value = old.queue) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.types) THEN w.types ELSE '[]' END)
    WHERE value = old.type)) THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END, error =
        json_patch(:error, json_object('attempt', old.attempt)), relay_at =
        strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), worker = NULL, claim_token =
        NULL, held_by = CASE WHEN old.needs_admission AND CASE WHEN old.unregistered + 1 >= :strays
        AND NOT EXISTS (
  SELECT 1
  FROM taskdb_worker AS w
  WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.queues) THEN w.queues ELSE '[]' END)
    WHERE value = old.queue) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.types) THEN w.types ELSE '[]' END)
    WHERE value = old.type)) THEN 'FAILED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED')
        THEN 'admission' END, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND ((old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at,
      strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND old.type
      = :type AND EXISTS (
      SELECT 1
      FROM json_each(CASE WHEN json_valid(:queues) THEN :queues ELSE '[]' END)
      WHERE value = old.queue) AND (old.status = 'QUEUED' OR old.unregistered = 0 OR old.updated_at
          <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:delay) || ' seconds')))) AND NOT
          old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move stray, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move stray_chunk, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.chunk = :id

-- move stray_chunk, 2
UPDATE taskdb_task AS old
SET status = CASE WHEN old.unregistered + 1 >= :strays AND NOT EXISTS (
  SELECT 1
  FROM taskdb_worker AS w
  WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.queues) THEN w.queues ELSE '[]' END)
    WHERE value = old.queue) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.types) THEN w.types ELSE '[]' END)
    WHERE value = old.type)) THEN 'FAILED' ELSE 'CREATED' END, unregistered = old.unregistered + 1,
        ended_at = CASE WHEN old.unregistered + 1 >= :strays AND NOT EXISTS (
  SELECT 1
  FROM taskdb_worker AS w
  WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.queues) THEN w.queues ELSE '[]' END)
    WHERE value = old.queue) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.types) THEN w.types ELSE '[]' END)
    WHERE value = old.type)) THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END, error =
        json_patch(:error, json_object('attempt', old.attempt)), relay_at =
        strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || ' seconds'), worker = NULL, claim_token =
        NULL, held_by = CASE WHEN old.needs_admission AND CASE WHEN old.unregistered + 1 >= :strays
        AND NOT EXISTS (
  SELECT 1
  FROM taskdb_worker AS w
  WHERE NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR w.seen_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.queues) THEN w.queues ELSE '[]' END)
    WHERE value = old.queue) AND EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.types) THEN w.types ELSE '[]' END)
    WHERE value = old.type)) THEN 'FAILED' ELSE 'CREATED' END IN ('CREATED', 'SCHEDULED', 'ERRORED')
        THEN 'admission' END, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND ((old.held_by IS NULL AND (old.status IN ('CREATED', 'QUEUED') OR
      (old.status IN ('SCHEDULED', 'ERRORED') AND COALESCE(old.run_at,
      strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND old.type
      = :type AND EXISTS (
      SELECT 1
      FROM json_each(CASE WHEN json_valid(:queues) THEN :queues ELSE '[]' END)
      WHERE value = old.queue) AND (old.status = 'QUEUED' OR old.unregistered = 0 OR old.updated_at
          <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:delay) || ' seconds')))) AND NOT
          old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move stray_chunk, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- move wait, 1
SELECT old.id, old.status, old.worker
FROM taskdb_task AS old
WHERE old.id = :id

-- move wait, 2
UPDATE taskdb_task AS old
SET status = 'PROCESSING', waits_for = :waits_for, spec = :spec, deadline_at = CASE WHEN :timeout IS
    NULL THEN old.deadline_at ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:timeout) || ' seconds')
    END, worker = NULL, claim_token = NULL, error = :error, updated_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id IN (
  SELECT value
  FROM json_each(:selected)) AND (old.status = 'CREATED' OR (old.waits_for IS NOT NULL AND
      old.status = 'PROCESSING')) AND NOT old.is_adopted
RETURNING id, tenant, status AS to_status, attempt, worker

-- move wait, 3
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
VALUES (:id, :tenant, :from_status, :to_status, :attempt, COALESCE(:worker, :was_by),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail)

-- admission arrivals
SELECT id, tenant, type, queue, mutex_key, held_by
FROM taskdb_task
WHERE held_by = 'admission' AND relay_at <= (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AND status IN ('CREATED', 'SCHEDULED', 'ERRORED')
      AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'release' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY relay_at, id
LIMIT :limit

-- admission clear_limit
UPDATE taskdb_limit
SET max_running = NULL, max_starts = NULL, window_seconds = NULL, origin = 'person', set_by =
    :set_by, set_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE target = :target AND name = :name AND (max_running IS NOT NULL OR max_starts IS NOT NULL) AND
    (:origin IS NULL OR origin = :origin)
RETURNING name

-- admission declare
INSERT INTO taskdb_limit AS old (target, name, is_paused, max_running, max_starts, window_seconds,
    origin, reason, set_by, set_at)
VALUES (:target, :name, false, :max_running, :max_starts, :window_seconds, :origin, NULL, :set_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
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
    FROM (
      SELECT json_extract(value, '$.key') AS key
      FROM json_each(:keys)) AS draft) AND s.until <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))

-- admission let_go
UPDATE taskdb_task
SET held_by = NULL, relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:lease) || ' seconds'),
    updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE id IN (
  SELECT value
  FROM json_each(:ids))
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
  SELECT group_concat(DISTINCT CAST(r.task_id AS TEXT))
  FROM taskdb_reservation AS r
  JOIN taskdb_task AS t ON t.id = r.task_id
  WHERE r.key = draft.key AND t.held_by IS NOT NULL AND t.held_by NOT IN ('window', 'admission') AND
      t.status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND NOT EXISTS (
    SELECT 1
    FROM taskdb_limit AS p
    WHERE p.is_paused AND (p.target IN ('queue') AND p.name = t.queue OR p.target IN ('type') AND
        p.name = t.type OR p.target IN ('tenant', 'own') AND p.name = t.tenant))) AS reserved, (
  SELECT group_concat(DISTINCT CAST(s.n AS TEXT))
  FROM taskdb_slot AS s
  WHERE s.key = draft.key) AS taken
FROM (
  SELECT json_extract(value, '$.key') AS key, json_extract(value, '$.target') AS target,
      json_extract(value, '$.name') AS name
  FROM json_each(:wait_queues)) AS draft
LEFT JOIN taskdb_limit AS g ON g.target = draft.target AND g.name = draft.name

-- admission pause
INSERT INTO taskdb_limit (target, name, is_paused, reason, set_by, set_at)
VALUES (:target, :name, true, :reason, :set_by, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
ON CONFLICT (target, name) DO UPDATE
SET is_paused = true, reason = excluded.reason, set_by = excluded.set_by, set_at = excluded.set_at

-- admission queue_up
UPDATE taskdb_task AS old
SET held_by = draft.held_by, relay_at = '9999-01-01T00:00:00.000Z'
FROM (
  SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.held_by') AS held_by
  FROM json_each(:holds)) AS draft
WHERE old.id = draft.id

-- admission reserve
INSERT INTO taskdb_reservation (key, task_id)
SELECT draft.key, draft.task_id
FROM (
  SELECT json_extract(value, '$.key') AS key, json_extract(value, '$.task_id') AS task_id
  FROM json_each(:reservations)) AS draft
WHERE true
ON CONFLICT DO NOTHING

-- admission resume
UPDATE taskdb_limit
SET is_paused = false, reason = NULL, set_by = :set_by, set_at = strftime('%Y-%m-%dT%H:%M:%fZ',
    'now')
WHERE target = :target AND name = :name AND is_paused
RETURNING name

-- admission rules
SELECT g.target, g.name, g.is_paused, g.max_running, g.max_starts, g.window_seconds, g.origin,
    g.reason, g.set_by, g.set_at
FROM taskdb_limit AS g
JOIN (
  SELECT json_extract(value, '$.target') AS target, json_extract(value, '$.name') AS name
  FROM json_each(:places)) AS draft ON draft.target = g.target AND draft.name = g.name

-- admission set_limit
INSERT INTO taskdb_limit AS old (target, name, is_paused, max_running, max_starts, window_seconds,
    origin, reason, set_by, set_at)
VALUES (:target, :name, false, :max_running, :max_starts, :window_seconds, :origin, NULL, :set_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
ON CONFLICT (target, name) DO UPDATE
SET max_running = excluded.max_running, max_starts = excluded.max_starts, window_seconds =
    excluded.window_seconds, origin = excluded.origin, set_by = excluded.set_by, set_at =
    excluded.set_at

-- admission someone_waits
SELECT EXISTS (
  SELECT 1
  FROM taskdb_task
  WHERE held_by = 'admission' AND relay_at <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) OR EXISTS (
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
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) OR s.until IS NULL AND (t.id IS NULL OR NOT
        (t.waits_for IS NULL AND (t.status IN ('QUEUED', 'STARTED', 'PROCESSING') OR t.status IN
        ('CREATED', 'SCHEDULED', 'ERRORED') AND t.held_by IS NULL)))
  LIMIT :limit)
RETURNING key

-- admission sweep_reservations
DELETE
FROM taskdb_reservation
WHERE (key, task_id) IN (
  SELECT r.key, r.task_id
  FROM taskdb_reservation AS r
  LEFT JOIN taskdb_task AS found ON found.id = r.task_id
  WHERE found.id IS NULL OR NOT (found.held_by IS NOT NULL AND found.held_by NOT IN ('window',
      'admission') AND found.status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND NOT EXISTS (
      SELECT 1
      FROM taskdb_limit AS p
      WHERE p.is_paused AND (p.target IN ('queue') AND p.name = found.queue OR p.target IN ('type')
          AND p.name = found.type OR p.target IN ('tenant', 'own') AND p.name = found.tenant)))
  LIMIT :limit)

-- admission take
INSERT INTO taskdb_slot (key, n, task_id, seconds, taken_at)
SELECT draft.key, draft.n, draft.task_id, draft.seconds, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
FROM (
  SELECT json_extract(value, '$.key') AS key, json_extract(value, '$.n') AS n, json_extract(value,
      '$.task_id') AS task_id, json_extract(value, '$.seconds') AS seconds
  FROM json_each(:slots)) AS draft

-- admission unreserve
DELETE
FROM taskdb_reservation
WHERE task_id IN (
  SELECT value
  FROM json_each(:ids))

-- admission wait_queues
WITH RECURSIVE wait_queue(key) AS (
  SELECT *
  FROM (
    SELECT held_by
    FROM taskdb_task
    WHERE held_by IS NOT NULL AND held_by NOT IN ('window', 'admission') AND held_by > :after
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
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY id
LIMIT :limit

-- adopted begin


-- adopted expired
SELECT CAST(id AS TEXT) AS id, attempt, claim_token, NULL AS worker, strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') AS now
FROM taskdb_task
WHERE is_adopted AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND status IN
    ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED') AND updated_at < (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:grace) || ' seconds')) AND deadline_at < (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:grace) || ' seconds')) AND CAST(id AS TEXT) NOT IN
      (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'adopt' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
LIMIT :limit

-- adopted insert
INSERT INTO taskdb_task (id, type, status, queue, priority, input, result, error, attributes,
    attempt, worker, claim_token, created_at, run_at, deadline_at, queued_at, started_at, ended_at,
    tenant, is_adopted, relay_at, updated_at)
SELECT draft.id, draft.type, draft.status, draft.queue, draft.priority, draft.input, draft.result,
    draft.error, COALESCE(draft.attributes, '{}'), draft.attempt, draft.worker, draft.claim_token,
    draft.created_at, draft.run_at, draft.deadline_at, draft.queued_at, draft.started_at,
    draft.ended_at, draft.tenant, true, '9999-01-01T00:00:00.000Z', strftime('%Y-%m-%dT%H:%M:%fZ',
    'now')
FROM (
  SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.type') AS type,
      json_extract(value, '$.status') AS status, json_extract(value, '$.queue') AS queue,
      json_extract(value, '$.priority') AS priority, json_extract(value, '$.input') AS input,
      json_extract(value, '$.result') AS result, json_extract(value, '$.error') AS error,
      json_extract(value, '$.attributes') AS attributes, json_extract(value, '$.attempt') AS
      attempt, json_extract(value, '$.worker') AS worker, json_extract(value, '$.claim_token') AS
      claim_token, json_extract(value, '$.created_at') AS created_at, json_extract(value,
      '$.run_at') AS run_at, json_extract(value, '$.deadline_at') AS deadline_at,
      json_extract(value, '$.queued_at') AS queued_at, json_extract(value, '$.started_at') AS
      started_at, json_extract(value, '$.ended_at') AS ended_at, json_extract(value, '$.tenant') AS
      tenant
  FROM json_each(:drafts)) AS draft
WHERE true
ON CONFLICT DO NOTHING
RETURNING CAST(id AS TEXT) AS id

-- adopted locked
SELECT CAST(id AS TEXT) AS id, tenant, is_adopted, type, status, queue, priority, attempt, worker,
    claim_token, created_at, run_at, deadline_at, queued_at, started_at, ended_at, input IS NOT NULL
    AS has_input, attributes <> '{}' AS has_attributes, CASE WHEN json_valid(error) THEN
    json_extract(error, '$.type') END AS error_type, CASE WHEN json_valid(error) THEN
    json_extract(error, '$.attempt') END AS error_attempt
FROM taskdb_task
WHERE id IN (
  SELECT value
  FROM json_each(:ids))
ORDER BY id

-- adopted missing_runs
SELECT CAST(t.id AS TEXT) AS id, t.attempt, t.claim_token, t.worker, strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') AS now
FROM taskdb_task AS t
LEFT JOIN taskdb_worker AS w ON w.id = t.worker
WHERE t.is_adopted AND t.status = 'STARTED' AND t.status IN
    ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED') AND t.worker IS NOT NULL AND (w.stopped_at
    IS NOT NULL OR t.updated_at < w.listed_before_at AND NOT EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.claims) THEN w.claims ELSE '[]' END)
    WHERE value = CAST(t.id AS TEXT)) AND NOT EXISTS (
    SELECT 1
    FROM json_each(CASE WHEN json_valid(w.claims_before) THEN w.claims_before ELSE '[]' END)
    WHERE value = CAST(t.id AS TEXT)) OR w.id IS NULL AND t.updated_at < (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds')) OR w.seen_at < (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) AND CAST(t.id AS TEXT)
        NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'adopt' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY t.id
LIMIT :limit

-- adopted remark
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT draft.task_id, draft.tenant, draft.from_status, draft.to_status, draft.attempt, draft.worker,
    draft.at, draft.detail
FROM (
  SELECT json_extract(value, '$.task_id') AS task_id, json_extract(value, '$.tenant') AS tenant,
      json_extract(value, '$.from_status') AS from_status, json_extract(value, '$.to_status') AS
      to_status, json_extract(value, '$.attempt') AS attempt, json_extract(value, '$.worker') AS
      worker, json_extract(value, '$.at') AS at, json_extract(value, '$.detail') AS detail
  FROM json_each(:drafts)) AS draft
WHERE NOT EXISTS (
  SELECT 1
  FROM taskdb_event AS e
  WHERE e.task_id = draft.task_id AND e.attempt = draft.attempt AND e.at = draft.at AND e.detail IS
      NOT NULL)
RETURNING attempt

-- adopted remember
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT draft.task_id, draft.tenant, draft.from_status, draft.to_status, draft.attempt, draft.worker,
    COALESCE(draft.at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), draft.detail
FROM (
  SELECT json_extract(value, '$.task_id') AS task_id, json_extract(value, '$.tenant') AS tenant,
      json_extract(value, '$.from_status') AS from_status, json_extract(value, '$.to_status') AS
      to_status, json_extract(value, '$.attempt') AS attempt, json_extract(value, '$.worker') AS
      worker, json_extract(value, '$.at') AS at, json_extract(value, '$.detail') AS detail
  FROM json_each(:drafts)) AS draft

-- adopted unseen
SELECT CAST(id AS TEXT) AS id, attempt, claim_token, NULL AS worker, strftime('%Y-%m-%dT%H:%M:%fZ',
    'now') AS now
FROM taskdb_task
WHERE is_adopted AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND status IN
    ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED') AND updated_at < (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:patience) || ' seconds')) AND (run_at IS NULL OR
      run_at < (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:patience) || ' seconds'))) AND CAST(id AS TEXT)
        NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'adopt' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
LIMIT :limit

-- adopted update
UPDATE taskdb_task AS old
SET type = draft.type, status = draft.status, queue = draft.queue, priority = draft.priority,
    attempt = draft.attempt, worker = draft.worker, claim_token = draft.claim_token, created_at =
    draft.created_at, run_at = draft.run_at, deadline_at = draft.deadline_at, queued_at =
    draft.queued_at, started_at = draft.started_at, ended_at = draft.ended_at, input =
    COALESCE(draft.input, old.input), result = COALESCE(draft.result, old.result), attributes =
    COALESCE(draft.attributes, old.attributes), error = CASE WHEN draft.status = 'COMPLETED' THEN
    NULL ELSE COALESCE(draft.error, old.error) END, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ',
    'now')
FROM (
  SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.type') AS type,
      json_extract(value, '$.status') AS status, json_extract(value, '$.queue') AS queue,
      json_extract(value, '$.priority') AS priority, json_extract(value, '$.input') AS input,
      json_extract(value, '$.result') AS result, json_extract(value, '$.error') AS error,
      json_extract(value, '$.attributes') AS attributes, json_extract(value, '$.attempt') AS
      attempt, json_extract(value, '$.worker') AS worker, json_extract(value, '$.claim_token') AS
      claim_token, json_extract(value, '$.created_at') AS created_at, json_extract(value,
      '$.run_at') AS run_at, json_extract(value, '$.deadline_at') AS deadline_at,
      json_extract(value, '$.queued_at') AS queued_at, json_extract(value, '$.started_at') AS
      started_at, json_extract(value, '$.ended_at') AS ended_at
  FROM json_each(:drafts)) AS draft
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
SELECT ((julianday(strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) - julianday(min(at))) * 86400) AS lag
FROM (
  SELECT e.at
  FROM taskdb_event AS e
  WHERE (e.xid, e.id) > ((
      SELECT cursor_xid
      FROM furthest), (
      SELECT cursor_id
      FROM furthest)) AND e.xid = 0
  ORDER BY e.xid, e.id
  LIMIT 1) AS next_event

-- doctor/count messages
SELECT channel, count(*) AS number, ((julianday(strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) -
    julianday(min(created_at))) * 86400) AS oldest
FROM taskdb_delivery
WHERE sent_at IS NULL
GROUP BY channel

-- doctor/count open_tasks
SELECT status, type, queue, tenant, rule, is_waiting, count(*) AS number, count(since) AS ready,
    ((julianday((
        SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) - julianday(min(since))) * 86400) AS oldest
FROM (
  SELECT status, type, queue, CASE WHEN :by_tenant THEN tenant ELSE '' END AS tenant, CASE WHEN
      held_by IS NULL THEN '' WHEN substr(held_by, 1, 6) = 'mutex:' THEN 'mutex' WHEN
      substr(held_by, 1, 8) = 'running:' THEN 'running' WHEN substr(held_by, 1, 7) = 'starts:' THEN
      'starts' WHEN substr(held_by, 1, 7) = 'paused:' THEN 'paused' ELSE held_by END AS rule,
      waits_for IS NOT NULL AS is_waiting, CASE WHEN held_by IS NOT NULL OR is_adopted THEN NULL
      WHEN status = 'QUEUED' THEN queued_at WHEN status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND
      (run_at IS NULL OR run_at <= (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) THEN max(updated_at, COALESCE(run_at,
          updated_at)) END AS since
  FROM taskdb_task
  WHERE status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING', 'FINISHED', 'ERRORED',
      'HALTED') AND status <> 'COMPLETED') AS one
GROUP BY status, type, queue, tenant, rule, is_waiting

-- doctor/count schedules
SELECT count(*) AS enabled, count(last_error) AS broken,
    max(((julianday(strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) - julianday(next_due_at)) * 86400)) AS
    lag
FROM taskdb_schedule
WHERE is_enabled

-- doctor/count sizes
SELECT 'database' AS name, page_count * page_size AS size
FROM pragma_page_count(), pragma_page_size()

-- doctor/count subscriptions
SELECT state, count(*) AS number, count(failing_since) AS failing
FROM taskdb_subscription
GROUP BY state

-- doctor/count workers
SELECT CAST(queues AS TEXT) AS queues, ((julianday(strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) -
    julianday(seen_at)) * 86400) AS unseen
FROM taskdb_worker
WHERE stopped_at IS NULL AND seen_at >= (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:recent) || ' seconds'))

-- doctor/drift adopted_lost
SELECT t.id AS example
FROM taskdb_task AS t
LEFT JOIN taskdb_worker AS w ON w.id = t.worker
WHERE t.is_adopted AND t.status = 'STARTED' AND t.worker IS NOT NULL AND t.updated_at < (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds')) AND (w.id IS NULL OR
      w.stopped_at IS NOT NULL OR w.seen_at < (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds')))
ORDER BY t.id
LIMIT :limit

-- doctor/drift callback_late
SELECT id AS example
FROM taskdb_task
WHERE waits_for = 'callback' AND callback_until < (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:late) || ' seconds'))
ORDER BY callback_until
LIMIT :limit

-- doctor/drift claim_unlisted
SELECT t.id AS example
FROM taskdb_task AS t
LEFT JOIN taskdb_worker AS w ON w.id = t.worker
WHERE t.status IN ('STARTED', 'PROCESSING') AND t.status <> 'COMPLETED' AND t.waits_for IS NULL AND
    NOT t.is_adopted AND (NOT (w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR
    w.seen_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) AND (t.started_at <
          w.listed_before_at AND NOT EXISTS (
      SELECT 1
      FROM json_each(CASE WHEN json_valid(w.claims) THEN w.claims ELSE '[]' END)
      WHERE value = t.claim_token) AND NOT EXISTS (
      SELECT 1
      FROM json_each(CASE WHEN json_valid(w.claims_before) THEN w.claims_before ELSE '[]' END)
      WHERE value = t.claim_token)))
ORDER BY t.id
LIMIT :limit

-- doctor/drift event_without_order
SELECT task_id AS example
FROM taskdb_event
WHERE NOT xid = 0
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
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:late) || ' seconds')) AND t.status IN ('CREATED',
      'SCHEDULED', 'ERRORED') AND (substr(t.held_by, 1, 6) = 'mutex:' AND NOT EXISTS (
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
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AND EXISTS (
  SELECT 1
  FROM taskdb_event AS e
  WHERE e.task_id = t.id AND e.from_status = e.to_status AND e.at >= t.updated_at AND CASE WHEN
      json_valid(e.detail) THEN json_extract(e.detail, '$.refused') END IS NOT NULL)
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
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:late) || ' seconds'))
ORDER BY relay_at
LIMIT :limit

-- doctor/drift worker_lost
SELECT t.id AS example
FROM taskdb_task AS t
LEFT JOIN taskdb_worker AS w ON w.id = t.worker
WHERE t.status IN ('STARTED', 'PROCESSING') AND t.status <> 'COMPLETED' AND t.waits_for IS NULL AND
    NOT t.is_adopted AND ((w.id IS NULL OR w.seen_at IS NULL OR w.stopped_at IS NOT NULL OR
    w.seen_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))))
ORDER BY t.id
LIMIT :limit

-- doctor/drift worker_stale
SELECT name AS example
FROM taskdb_worker AS w
WHERE stopped_at IS NULL AND (seen_at IS NULL OR seen_at < (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))) AND EXISTS (
  SELECT 1
  FROM taskdb_task AS t
  WHERE t.worker = w.id AND t.status IN ('STARTED', 'PROCESSING') AND NOT t.is_adopted)
ORDER BY started_at
LIMIT :limit

-- doctor/drift worker_waits
SELECT name || ': ' || waiting AS example
FROM taskdb_worker
WHERE waiting IS NOT NULL AND stopped_at IS NULL AND seen_at >= (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))
ORDER BY name
LIMIT :limit

-- doctor before
SELECT count(*) AS number
FROM (
  SELECT 1 AS one
  FROM taskdb_task
  WHERE status = 'QUEUED' AND NOT is_adopted AND queue = :queue AND (queued_at, id) < (:queued_at,
      :id)
  LIMIT :limit) AS few

-- doctor beside
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS now, relay_at, callback_until, unregistered
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
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:kept) || ' seconds'))

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
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
ORDER BY holder

-- doctor live_workers
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS now, CAST(w.queues AS TEXT) AS queues,
    CAST(w.messages AS TEXT) AS messages
FROM (
  SELECT 1 AS one) AS always
LEFT JOIN taskdb_worker AS w ON w.stopped_at IS NULL AND w.seen_at >= (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:lease) || ' seconds'))

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
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY created_at, id
LIMIT :limit

-- doctor queued_behind
SELECT id, chunk, queue, priority, queued_at, created_at
FROM taskdb_task
WHERE (created_at, id) > (:created_at, :id) AND status = 'QUEUED' AND status <> 'COMPLETED' AND NOT
    is_adopted AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'requeue' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY created_at, id
LIMIT :limit

-- doctor queues_of_queued
SELECT DISTINCT queue AS name
FROM taskdb_task
WHERE status IN ('QUEUED') AND NOT is_adopted
LIMIT :limit

-- doctor refusal
SELECT at, CASE WHEN json_valid(detail) THEN json_extract(detail, '$.refused') END AS reason
FROM taskdb_event
WHERE task_id = :id
ORDER BY id DESC
LIMIT 1

-- doctor renew_beat
INSERT INTO taskdb_reporter (name, holder, until)
VALUES (:key, :name, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:lease) || ' seconds'))
ON CONFLICT (name) DO UPDATE
SET until = excluded.until
RETURNING name

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
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:within) || ' seconds')) AND queued_at IS NOT NULL AND
    NOT is_adopted
GROUP BY queue, priority

-- doctor types_of_waiting
SELECT DISTINCT type AS name
FROM taskdb_task
WHERE status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'ERRORED') AND NOT is_adopted
LIMIT :limit

-- doctor/statistics begin
INSERT INTO taskdb_reporter AS old (name, holder, until)
VALUES ('metrics', :holder, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:lease) || ' seconds'))
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, until = excluded.until, xid = CASE WHEN old.until >=
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:grace) || ' seconds') THEN old.xid END, event_id = CASE
    WHEN old.until >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:grace) || ' seconds') THEN
    old.event_id END
WHERE old.holder = excluded.holder OR old.until < strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
RETURNING xid, event_id

-- doctor/statistics end
SELECT 0 AS xid, COALESCE(max(id), 0) AS id
FROM taskdb_event

-- doctor/statistics give_up
UPDATE taskdb_reporter
SET until = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE name = 'metrics' AND holder = :holder

-- doctor/statistics keep
UPDATE taskdb_reporter
SET until = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:lease) || ' seconds'), xid = :xid, event_id =
    :event_id
WHERE name = 'metrics' AND holder = :holder
RETURNING name

-- doctor/statistics lag
SELECT ((julianday(strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) - julianday(at)) * 86400) AS age
FROM taskdb_event
WHERE (xid, id) > (:xid, :id) AND xid = 0
ORDER BY xid, id
LIMIT 1

-- doctor/statistics page
WITH page AS (
  SELECT xid, id, task_id, from_status, to_status, attempt, worker, at, CASE WHEN CASE WHEN
      json_valid(detail) THEN json_extract(detail, '$.error') END IN ('WorkerLost') THEN 'rescued'
      WHEN CASE WHEN json_valid(detail) THEN json_extract(detail, '$.error') END IN
      ('WorkerLostError', 'billiard.exceptions.WorkerLostError',
      'taskdb_worker.run.execution.TaskExited', 'taskdb_worker.run.execution.TaskMemoryError') THEN
      'crashed' ELSE '' END AS loss
  FROM taskdb_event
  WHERE (xid, id) > (:xid, :id) AND taskdb_event.xid = 0
  ORDER BY xid, id
  LIMIT :limit), each AS (
  SELECT found.type, found.queue, CASE WHEN :by_tenant THEN found.tenant ELSE '' END AS tenant,
      page.from_status, page.to_status, page.loss, CASE WHEN page.to_status <> 'STARTED' THEN NULL
      WHEN page.from_status = 'QUEUED' THEN ((julianday(page.at) - julianday((CASE WHEN
      found.queued_at <= page.at THEN found.queued_at ELSE (
            SELECT max(e.at)
            FROM taskdb_event AS e
            WHERE e.task_id = page.task_id AND e.to_status = 'QUEUED' AND e.attempt = page.attempt -
                1 AND e.id < page.id) END))) * 86400) WHEN page.attempt = 1 THEN
                ((julianday(page.at) - julianday(max(found.created_at, COALESCE(found.run_at,
                found.created_at)))) * 86400) END AS wait, CASE WHEN page.worker IS NOT NULL AND
                page.loss <> 'rescued' AND page.from_status IN ('STARTED', 'PROCESSING') AND
                page.to_status NOT IN ('STARTED', 'PROCESSING') THEN ((julianday(page.at) -
                julianday((CASE WHEN found.attempt = page.attempt THEN found.started_at ELSE (
            SELECT max(e.at)
            FROM taskdb_event AS e
            WHERE e.task_id = page.task_id AND e.to_status = 'STARTED' AND e.attempt = page.attempt
                AND e.id < page.id) END))) * 86400) END AS run
  FROM page
  LEFT JOIN taskdb_task AS found ON found.id = page.task_id)
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

-- outgoing advance_alarm
UPDATE taskdb_delivery
SET sent_at = CASE WHEN :sent > 0 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END, attempts =
    attempts + :sent, last_error = CASE WHEN :sent > 0 THEN NULL ELSE last_error END, lease_token =
    NULL, lease_until = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE id = :id AND lease_token = :token AND sent_at IS NULL
RETURNING id

-- outgoing advance_subscription
UPDATE taskdb_subscription
SET cursor_xid = :xid, cursor_id = :event, cursor_at = COALESCE(:at, cursor_at), sent = sent +
    :sent, last_sent_at = CASE WHEN :sent > 0 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE
    last_sent_at END, attempts = 0, failing_since = NULL, next_try_at = NULL, last_error = NULL,
    lease_token = CASE WHEN :ends THEN NULL ELSE lease_token END, lease_until = CASE WHEN :ends THEN
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:lease) || '
    seconds') END
WHERE id = :id AND lease_token = :token
RETURNING id

-- outgoing counted_ahead
SELECT e.xid, e.id
FROM taskdb_event AS e
WHERE e.to_status IN ('FAILED','HALTED') AND e.from_status <> e.to_status AND e.xid = 0 AND (e.xid,
    e.id) > (:xid, :event) AND e.id IN (
  SELECT draft.id
  FROM (
    SELECT json_extract(value, '$.id') AS id
    FROM json_each(:ahead)) AS draft)

-- outgoing declare_policy
INSERT INTO taskdb_alarm_policy (type, sources, severity, channels, group_by_tenant,
    backlog_seconds, declared_at)
VALUES (:type, :sources, :severity, :channels, :group_by_tenant, :backlog_seconds,
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
ON CONFLICT (type) DO UPDATE
SET sources = excluded.sources, severity = excluded.severity, channels = excluded.channels,
    group_by_tenant = excluded.group_by_tenant, backlog_seconds = excluded.backlog_seconds,
    declared_at = excluded.declared_at
RETURNING type

-- outgoing due_alarm
SELECT one.channel AS target, 0 AS is_failing
FROM taskdb_delivery AS one
WHERE one.sent_at IS NULL AND (one.lease_until IS NULL OR one.lease_until <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND (one.next_try_at IS NULL OR one.next_try_at
        <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND CAST(one.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'deliver_alarms' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND NOT EXISTS (
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
  WHERE xid < 9223372036854775807 AND xid = 0
  ORDER BY xid DESC, id DESC
  LIMIT 1) AS head
WHERE s.state = 'active' AND (s.lease_until IS NULL OR s.lease_until <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND (s.next_try_at IS NULL OR s.next_try_at <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND CAST(s.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'deliver' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND (s.cursor_xid, s.cursor_id) < (head.xid,
        head.id)
ORDER BY COALESCE(s.lease_until, s.created_at)
LIMIT :limit

-- outgoing end_of_history
SELECT 0 AS xid, COALESCE(max(id), 0) AS id
FROM taskdb_event

-- outgoing fail_alarm
UPDATE taskdb_delivery
SET attempts = CASE WHEN :sent > 0 THEN 1 ELSE attempts + 1 END, failing_since = CASE WHEN :sent > 0
    THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE COALESCE(failing_since,
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) END, next_try_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now',
    (:delay) || ' seconds'), last_error = :reason, lease_token = NULL, lease_until =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE id = :id AND lease_token = :token AND sent_at IS NULL
RETURNING 'active' AS state

-- outgoing fail_subscription
UPDATE taskdb_subscription
SET cursor_xid = :xid, cursor_id = :event, cursor_at = COALESCE(:at, cursor_at), sent = sent +
    :sent, last_sent_at = CASE WHEN :sent > 0 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE
    last_sent_at END, attempts = CASE WHEN :sent > 0 THEN 1 ELSE attempts + 1 END, failing_since =
    CASE WHEN :sent > 0 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE COALESCE(failing_since,
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) END, next_try_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now',
    (:delay) || ' seconds'), last_error = :reason, lease_token = NULL, lease_until =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), state = CASE WHEN :is_final OR CASE WHEN :sent > 0 THEN
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE COALESCE(failing_since,
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) END <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:give_up)
    || ' seconds') THEN 'dead' ELSE state END
WHERE id = :id AND lease_token = :token
RETURNING state

-- outgoing failures_again
SELECT e.id, e.xid, CAST(e.task_id AS TEXT) AS task_id, e.tenant, e.to_status, e.attempt, e.at,
    CAST(e.detail AS TEXT) AS detail, found.type
FROM taskdb_event AS e
LEFT JOIN taskdb_task AS found ON found.id = e.task_id
WHERE e.id IN (
  SELECT draft.id
  FROM (
    SELECT json_extract(value, '$.id') AS id
    FROM json_each(:again)) AS draft)

-- outgoing first_alarm
SELECT one.id
FROM taskdb_delivery AS one
WHERE one.sent_at IS NULL AND (one.lease_until IS NULL OR one.lease_until <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND (one.next_try_at IS NULL OR one.next_try_at
        <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND CAST(one.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'deliver_alarms' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND NOT EXISTS (
  SELECT 1
  FROM taskdb_delivery AS earlier
  WHERE earlier.alarm_id = one.alarm_id AND earlier.channel = one.channel AND earlier.sequence <
      one.sequence AND earlier.sent_at IS NULL) AND one.channel = :target
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
  WHERE e.to_status IN ('FAILED','HALTED') AND e.from_status <> e.to_status AND e.xid = 0 AND
      (e.xid, e.id) > (
    SELECT xid, event_id
    FROM taskdb_alarm_cursor
    WHERE name = 'events')) OR EXISTS (
  SELECT 1
  FROM taskdb_alarm
  WHERE state = 'open' AND count > reported AND (window_until IS NULL OR window_until <= (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))) OR EXISTS (
  SELECT 1
  FROM taskdb_alarm
  WHERE state = 'snoozed' AND snoozed_until <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))

-- outgoing horizon
SELECT 9223372036854775807 AS horizon

-- outgoing new_failures
SELECT e.id, e.xid, CAST(e.task_id AS TEXT) AS task_id, e.tenant, e.to_status, e.attempt, e.at,
    CAST(e.detail AS TEXT) AS detail, found.type
FROM taskdb_event AS e
LEFT JOIN taskdb_task AS found ON found.id = e.task_id
WHERE e.to_status IN ('FAILED','HALTED') AND e.from_status <> e.to_status AND e.xid = 0 AND (e.xid,
    e.id) > (:xid, :event) AND e.id NOT IN (
  SELECT draft.id
  FROM (
    SELECT json_extract(value, '$.id') AS id
    FROM json_each(:ahead)) AS draft)
ORDER BY e.xid, e.id
LIMIT :limit

-- outgoing now
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS now

-- outgoing page_subscription
WITH window_of_events AS (
  SELECT *
  FROM taskdb_event
  WHERE (xid, id) > (:xid, :event) AND xid < 9223372036854775807 AND xid = 0
  ORDER BY xid, id
  LIMIT :scan), fitting AS (
  SELECT w.xid AS place_xid, w.id AS place_id, w.id, CAST(w.task_id AS TEXT) AS task_id, w.tenant,
      w.from_status, w.to_status, w.attempt, w.worker, w.at, CAST(w.detail AS TEXT) AS detail,
      t.type, t.kind, CAST(t.parent_id AS TEXT) AS parent_id, t.position, t.notify_id, CASE WHEN
      length(CAST(t.attributes AS TEXT)) <= :most_attributes THEN CAST(t.attributes AS TEXT) END AS
      attributes, CASE WHEN w.to_status = 'COMPLETED' AND t.status = 'COMPLETED' AND t.attempt =
      w.attempt AND length(CAST(t.result AS TEXT)) <= :most_result THEN CAST(t.result AS TEXT) END
      AS result
  FROM window_of_events AS w
  JOIN taskdb_task AS t ON t.id = w.task_id
  WHERE (w.from_status IS NULL OR w.from_status <> w.to_status) AND (:tenant IS NULL OR (w.tenant =
      :tenant AND t.tenant = :tenant)) AND (:statuses IS NULL OR EXISTS (
      SELECT 1
      FROM json_each(CASE WHEN json_valid(:statuses) THEN :statuses ELSE '[]' END)
      WHERE value = w.to_status)) AND (:kind IS NULL OR t.kind = :kind) AND (:with_sub_tasks OR
          t.parent_id IS NULL) AND (:type IS NULL OR t.type = :type) AND substr(t.type, 1,
          length(:prefix)) = :prefix
  ORDER BY w.xid, w.id, w.id
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
SET lease_token = :token, lease_until = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:lease) || '
    seconds')
WHERE id = (
  SELECT one.id
  FROM taskdb_delivery AS one
  WHERE one.sent_at IS NULL AND (one.lease_until IS NULL OR one.lease_until <= (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND (one.next_try_at IS NULL OR one.next_try_at
          <= (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND CAST(one.id AS TEXT) NOT IN (
    SELECT a.key
    FROM taskdb_set_aside AS a
    WHERE a.loop = 'deliver_alarms' AND a.next_try_at > (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND NOT EXISTS (
    SELECT 1
    FROM taskdb_delivery AS earlier
    WHERE earlier.alarm_id = one.alarm_id AND earlier.channel = one.channel AND earlier.sequence <
        one.sequence AND earlier.sent_at IS NULL) AND one.channel = :target
  ORDER BY one.next_try_at, one.id
  LIMIT 1) AND sent_at IS NULL
RETURNING CAST(id AS TEXT) AS id, CAST(alarm_id AS TEXT) AS alarm_id, channel, attempts,
    CAST(message AS TEXT) AS message

-- outgoing take_subscription
UPDATE taskdb_subscription
SET lease_token = :token, lease_until = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:lease) || '
    seconds')
WHERE id = (
  SELECT s.id
  FROM taskdb_subscription AS s, (
    SELECT xid, id
    FROM taskdb_event
    WHERE xid < 9223372036854775807 AND xid = 0
    ORDER BY xid DESC, id DESC
    LIMIT 1) AS head
  WHERE s.state = 'active' AND (s.lease_until IS NULL OR s.lease_until <= (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND (s.next_try_at IS NULL OR s.next_try_at <=
          (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND CAST(s.id AS TEXT) NOT IN (
    SELECT a.key
    FROM taskdb_set_aside AS a
    WHERE a.loop = 'deliver' AND a.next_try_at > (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND (s.cursor_xid, s.cursor_id) < (head.xid,
          head.id) AND s.id = :target )
RETURNING id, tenant, is_for_all, name, transport, target, type, kind, statuses, with_sub_tasks,
    secret, previous_secret, previous_until, cursor_xid, cursor_id, attempts,
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS now

-- outgoing waiting
SELECT queue, type, min(since) AS since, count(*) AS number
FROM (
  SELECT *
  FROM (
    SELECT queue, type, queued_at AS since
    FROM taskdb_task
    WHERE status = 'QUEUED' AND status <> 'COMPLETED' AND created_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:age) || ' seconds')) AND queued_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:age) || ' seconds'))
    ORDER BY created_at
    LIMIT :most) AS q
  UNION ALL
  SELECT *
  FROM (
    SELECT queue, type, relay_at AS since
    FROM taskdb_task
    WHERE status IN ('CREATED','SCHEDULED','ERRORED') AND held_by IS NULL AND relay_at < (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:age) || ' seconds'))
    ORDER BY relay_at
    LIMIT :most) AS r ) AS waiting
GROUP BY queue, type

-- retention delete_history
DELETE
FROM taskdb_event
WHERE task_id IN (
  SELECT value
  FROM json_each(:ids)) AND at >= :since

-- retention delete_runs
DELETE
FROM taskdb_schedule_run
WHERE (schedule_id, due_at) IN (
  SELECT draft.schedule_id, draft.due_at
  FROM (
    SELECT json_extract(value, '$.schedule_id') AS schedule_id, json_extract(value, '$.due_at') AS
        due_at
    FROM json_each(:gone)) AS draft)
RETURNING 1 AS one

-- retention delete_tasks
DELETE
FROM taskdb_task
WHERE id IN (
  SELECT value
  FROM json_each(:ids))

-- retention delete_workers
DELETE
FROM taskdb_worker
WHERE id IN (
  SELECT draft.id
  FROM (
    SELECT json_extract(value, '$.id') AS id
    FROM json_each(:gone)) AS draft)
RETURNING 1 AS one

-- retention lock_below
SELECT CAST(id AS TEXT) AS id, parent_id, tenant, type, status, created_at, COALESCE(ended_at,
    updated_at) AS ended_at, input_ref, result_ref, (
  SELECT sub.id
  FROM taskdb_task AS sub
  WHERE sub.parent_id = t.id
  ORDER BY sub.position
  LIMIT 1) IS NOT NULL AS has_sub_tasks, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS now
FROM taskdb_task AS t
WHERE parent_id = :node
ORDER BY t.position
LIMIT :limit

-- retention lock_roots
SELECT CAST(id AS TEXT) AS id, parent_id, tenant, type, status, created_at, COALESCE(ended_at,
    updated_at) AS ended_at, input_ref, result_ref, (
  SELECT sub.id
  FROM taskdb_task AS sub
  WHERE sub.parent_id = t.id
  ORDER BY sub.position
  LIMIT 1) IS NOT NULL AS has_sub_tasks, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS now
FROM taskdb_task AS t
WHERE id IN (
  SELECT value
  FROM json_each(:ids)) AND parent_id IS NULL
ORDER BY t.id
LIMIT :limit

-- retention look
SELECT CAST(id AS TEXT) AS id, created_at, tenant, type, status, parent_id, COALESCE(ended_at,
    updated_at) AS ended_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS now
FROM taskdb_task AS t
WHERE created_at <= (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:shortest) || ' seconds')) AND CAST(id AS TEXT) NOT
      IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'prune' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY t.created_at, t.id
LIMIT :limit

-- retention look_behind
SELECT CAST(id AS TEXT) AS id, created_at, tenant, type, status, parent_id, COALESCE(ended_at,
    updated_at) AS ended_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS now
FROM taskdb_task AS t
WHERE created_at <= (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:shortest) || ' seconds')) AND (created_at, id) >
      (:created_at, :id) AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'prune' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY t.created_at, t.id
LIMIT :limit

-- retention lost_workers
SELECT old.id
FROM taskdb_worker AS old
WHERE old.stopped_at IS NULL AND old.started_at < (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:kept) || ' seconds')) AND COALESCE(old.seen_at,
      old.started_at) < (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:kept) || ' seconds')) AND old.id NOT IN (
  SELECT t.worker
  FROM taskdb_task AS t
  WHERE t.worker IS NOT NULL AND t.status <> 'COMPLETED' AND t.status IN ('STARTED','PROCESSING'))
      AND CAST(old.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'sweep' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
LIMIT :limit

-- retention mark
UPDATE taskdb_task
SET spec = json_patch(COALESCE(spec, '{}'), json_object('pruned', true))
WHERE id = :id AND CASE WHEN json_valid(spec) THEN json_extract(spec, '$.pruned') END IS NULL

-- retention named_as_input
SELECT draft.ref
FROM (
  SELECT json_extract(value, '$.ref') AS ref
  FROM json_each(:given)) AS draft
JOIN taskdb_task AS t ON t.input_ref = draft.ref
WHERE t.input_ref IS NOT NULL

-- retention named_as_result
SELECT CAST(id AS TEXT) AS id, CAST(parent_id AS TEXT) AS parent_id, result_ref
FROM taskdb_task
WHERE id IN (
  SELECT value
  FROM json_each(:ids))

-- retention old_runs
SELECT CAST(r.schedule_id AS TEXT) AS schedule_id, CAST(r.due_at AS TEXT) AS due_at
FROM taskdb_schedule_run AS r
LEFT JOIN taskdb_schedule AS s ON s.id = r.schedule_id
WHERE r.due_at < (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:kept) || ' seconds')) AND (s.id IS NULL OR EXISTS
      (
    SELECT 1
    FROM taskdb_schedule_run AS n
    WHERE n.schedule_id = r.schedule_id AND n.due_at > r.due_at)) AND CAST(r.schedule_id AS TEXT)
        NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'sweep' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY r.due_at
LIMIT :limit

-- retention stopped_workers
SELECT old.id
FROM taskdb_worker AS old
WHERE old.stopped_at < (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:kept) || ' seconds')) AND old.id NOT IN (
  SELECT t.worker
  FROM taskdb_task AS t
  WHERE t.worker IS NOT NULL AND t.status <> 'COMPLETED' AND t.status IN ('STARTED','PROCESSING'))
      AND CAST(old.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'sweep' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
LIMIT :limit

-- schedule add_runs
INSERT INTO taskdb_schedule_run (schedule_id, due_at, outcome, task_id, reason, number, last_due_at,
    at)
SELECT draft.schedule_id, draft.due_at, draft.outcome, draft.task_id, draft.reason, draft.number,
    draft.last_due_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
FROM (
  SELECT json_extract(value, '$.schedule_id') AS schedule_id, json_extract(value, '$.due_at') AS
      due_at, json_extract(value, '$.outcome') AS outcome, json_extract(value, '$.task_id') AS
      task_id, json_extract(value, '$.reason') AS reason, json_extract(value, '$.number') AS number,
      json_extract(value, '$.last_due_at') AS last_due_at
  FROM json_each(:runs)) AS draft
WHERE true
ON CONFLICT DO NOTHING
RETURNING schedule_id, due_at

-- schedule advance
UPDATE taskdb_schedule AS old
SET next_due_at = COALESCE(draft.next_due_at, old.next_due_at), last_due_at =
    COALESCE(draft.last_due_at, old.last_due_at), last_task_id = COALESCE(draft.last_task_id,
    old.last_task_id), last_error = NULL, retry_at = NULL
FROM (
  SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.next_due_at') AS next_due_at,
      json_extract(value, '$.last_due_at') AS last_due_at, json_extract(value, '$.last_task_id') AS
      last_task_id
  FROM json_each(:rows)) AS draft
WHERE old.id = draft.id

-- schedule exclude_creators


-- schedule known_runs
SELECT schedule_id, due_at
FROM taskdb_schedule_run
WHERE (schedule_id, due_at) IN (
  SELECT draft.schedule_id, draft.due_at
  FROM (
    SELECT json_extract(value, '$.schedule_id') AS schedule_id, json_extract(value, '$.due_at') AS
        due_at, json_extract(value, '$.outcome') AS outcome, json_extract(value, '$.task_id') AS
        task_id, json_extract(value, '$.reason') AS reason, json_extract(value, '$.number') AS
        number, json_extract(value, '$.last_due_at') AS last_due_at
    FROM json_each(:runs)) AS draft)

-- schedule lease
UPDATE taskdb_schedule
SET retry_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:seconds) || ' seconds')
WHERE id = :id

-- schedule open_among
SELECT id
FROM taskdb_task
WHERE id IN (
  SELECT value
  FROM json_each(:ids)) AND status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING',
      'FINISHED', 'ERRORED', 'HALTED')

-- schedule refuse
UPDATE taskdb_schedule AS old
SET last_error = draft.reason, retry_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:seconds) || '
    seconds')
FROM (
  SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.reason') AS reason
  FROM json_each(:rows)) AS draft
WHERE old.id = draft.id

-- schedule skip_run
UPDATE taskdb_schedule_run
SET outcome = 'skipped', task_id = :task, reason = :reason
WHERE schedule_id = :schedule AND due_at = :due

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
WHERE callback_hash = :hash AND (callback_until IS NULL OR callback_until >
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AND status IN ('STARTED', 'PROCESSING') AND (waits_for =
    'callback' OR waits_for IS NULL AND called_back IS NULL)

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
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'relay' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY relay_at
LIMIT :limit

-- task existing
SELECT id, status, relay_at, created_at, run_at, held_by
FROM taskdb_task
WHERE id = :id OR (tenant = :tenant AND type = :type AND unique_key = :unique_key)
ORDER BY CASE WHEN id = :id THEN 0 ELSE 1 END
LIMIT 1

-- task expect_callback
UPDATE taskdb_task AS old
SET callback_hash = :hash, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), callback_until =
    COALESCE(:until, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:timeout) || ' seconds'))
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
  SELECT value
  FROM json_each(:ids)) AND claim_token = :token AND status IN ('STARTED', 'PROCESSING') AND
      cancel_requested_at IS NULL

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
  SELECT draft.*, COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (draft.delay) || ' seconds'),
      draft.run_at) AS due, (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AS now, (draft.kind = 'TASK' AND (draft.mutex_key
        IS NOT NULL OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = draft.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = draft.tenant))) AS limited
  FROM (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.tenant') AS tenant,
        json_extract(value, '$.type') AS type, json_extract(value, '$.kind') AS kind,
        json_extract(value, '$.role') AS role, json_extract(value, '$.name') AS name,
        json_extract(value, '$.queue') AS queue, json_extract(value, '$.priority') AS priority,
        json_extract(value, '$.input') AS input, json_extract(value, '$.input_ref') AS input_ref,
        json_extract(value, '$.attributes') AS attributes, json_extract(value, '$.tags') AS tags,
        json_extract(value, '$.unique_key') AS unique_key, json_extract(value, '$.parent_id') AS
        parent_id, json_extract(value, '$.position') AS position, json_extract(value, '$.chunk') AS
        chunk, json_extract(value, '$.spec') AS spec, json_extract(value, '$.held_by') AS held_by,
        json_extract(value, '$.mutex_key') AS mutex_key, json_extract(value, '$.request_id') AS
        request_id, json_extract(value, '$.created_by') AS created_by, json_extract(value,
        '$.created_ip') AS created_ip, json_extract(value, '$.deadline_at') AS deadline_at,
        json_extract(value, '$.notify_id') AS notify_id, json_extract(value, '$.run_at') AS run_at,
        json_extract(value, '$.delay') AS delay
    FROM json_each(:drafts)) AS draft)
SELECT draft.id, draft.tenant, draft.type, draft.kind, draft.role, draft.name, draft.queue,
    draft.priority, draft.input, draft.input_ref, draft.attributes, draft.tags, draft.unique_key,
    draft.parent_id, draft.position, CASE WHEN NOT draft.limited THEN draft.chunk END, draft.spec,
    COALESCE(draft.held_by, CASE WHEN draft.limited THEN 'admission' END), draft.mutex_key,
    draft.request_id, draft.created_by, draft.created_ip, draft.deadline_at, draft.notify_id,
    draft.limited, CASE WHEN draft.due > draft.now THEN 'SCHEDULED' ELSE 'CREATED' END, draft.due,
    CASE WHEN draft.held_by IS NOT NULL THEN '9999-01-01T00:00:00.000Z' WHEN draft.due > draft.now
    THEN draft.due WHEN draft.limited THEN draft.now ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now',
    (:grace + CASE WHEN draft.role = 'part' THEN COALESCE(draft.position, 0) / 2000.0 ELSE 0 END) ||
    ' seconds') END, draft.now, draft.now
FROM draft
WHERE true
ON CONFLICT DO NOTHING

-- task insert_traced
INSERT INTO taskdb_task (id, tenant, type, kind, role, name, queue, priority, input, input_ref,
    attributes, tags, unique_key, parent_id, position, chunk, spec, held_by, mutex_key, request_id,
    created_by, created_ip, deadline_at, notify_id, trace, needs_admission, status, run_at,
    relay_at, created_at, updated_at)
WITH draft AS MATERIALIZED (
  SELECT draft.*, COALESCE(strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (draft.delay) || ' seconds'),
      draft.run_at) AS due, (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AS now, (draft.kind = 'TASK' AND (draft.mutex_key
        IS NOT NULL OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('queue') AND g.name = draft.queue) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('type') AND g.name = draft.type) OR EXISTS (
        SELECT 1
        FROM taskdb_limit AS g
        WHERE g.target IN ('tenant', 'own') AND g.name = draft.tenant))) AS limited
  FROM (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.tenant') AS tenant,
        json_extract(value, '$.type') AS type, json_extract(value, '$.kind') AS kind,
        json_extract(value, '$.role') AS role, json_extract(value, '$.name') AS name,
        json_extract(value, '$.queue') AS queue, json_extract(value, '$.priority') AS priority,
        json_extract(value, '$.input') AS input, json_extract(value, '$.input_ref') AS input_ref,
        json_extract(value, '$.attributes') AS attributes, json_extract(value, '$.tags') AS tags,
        json_extract(value, '$.unique_key') AS unique_key, json_extract(value, '$.parent_id') AS
        parent_id, json_extract(value, '$.position') AS position, json_extract(value, '$.chunk') AS
        chunk, json_extract(value, '$.spec') AS spec, json_extract(value, '$.held_by') AS held_by,
        json_extract(value, '$.mutex_key') AS mutex_key, json_extract(value, '$.request_id') AS
        request_id, json_extract(value, '$.created_by') AS created_by, json_extract(value,
        '$.created_ip') AS created_ip, json_extract(value, '$.deadline_at') AS deadline_at,
        json_extract(value, '$.notify_id') AS notify_id, json_extract(value, '$.trace') AS trace,
        json_extract(value, '$.run_at') AS run_at, json_extract(value, '$.delay') AS delay
    FROM json_each(:drafts)) AS draft)
SELECT draft.id, draft.tenant, draft.type, draft.kind, draft.role, draft.name, draft.queue,
    draft.priority, draft.input, draft.input_ref, draft.attributes, draft.tags, draft.unique_key,
    draft.parent_id, draft.position, CASE WHEN NOT draft.limited THEN draft.chunk END, draft.spec,
    COALESCE(draft.held_by, CASE WHEN draft.limited THEN 'admission' END), draft.mutex_key,
    draft.request_id, draft.created_by, draft.created_ip, draft.deadline_at, draft.notify_id,
    draft.trace, draft.limited, CASE WHEN draft.due > draft.now THEN 'SCHEDULED' ELSE 'CREATED' END,
    draft.due, CASE WHEN draft.held_by IS NOT NULL THEN '9999-01-01T00:00:00.000Z' WHEN draft.due >
    draft.now THEN draft.due WHEN draft.limited THEN draft.now ELSE strftime('%Y-%m-%dT%H:%M:%fZ',
    'now', (:grace + CASE WHEN draft.role = 'part' THEN COALESCE(draft.position, 0) / 2000.0 ELSE 0
    END) || ' seconds') END, draft.now, draft.now
FROM draft
WHERE true
ON CONFLICT DO NOTHING

-- task late_callback
SELECT 1 AS holds
FROM taskdb_task
WHERE id = :id AND waits_for = 'callback' AND callback_until <= strftime('%Y-%m-%dT%H:%M:%fZ',
    'now')

-- task late_callbacks
SELECT id, role, parent_id
FROM taskdb_task
WHERE waits_for = 'callback' AND callback_until <= (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AND NOT is_adopted AND CAST(id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'callbacks' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
ORDER BY callback_until
LIMIT :limit

-- task lease_due
WITH due AS (
  SELECT id
  FROM taskdb_task
  WHERE status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND held_by IS NULL AND NOT is_adopted AND
      relay_at <= (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AND CAST(id AS TEXT) NOT IN (
    SELECT a.key
    FROM taskdb_set_aside AS a
    WHERE a.loop = 'relay' AND a.next_try_at > (
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
  ORDER BY relay_at
  LIMIT :limit)
UPDATE taskdb_task
SET relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:lease) || ' seconds')
WHERE id IN (
  SELECT id
  FROM due)
RETURNING id, type, queue, priority, relay_at, deadline_at, role, parent_id, chunk, trace, attempt,
    created_at

-- task lease_these
UPDATE taskdb_task
SET relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:lease) || ' seconds')
WHERE id IN (
  SELECT value
  FROM json_each(:ids)) AND status IN ('CREATED', 'SCHEDULED', 'ERRORED') AND held_by IS NULL AND
      NOT is_adopted AND relay_at <= (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
RETURNING id, type, queue, priority, relay_at, deadline_at, role, parent_id, chunk, trace, attempt,
    created_at

-- task lock
SELECT id, tenant, type, name, kind, role, status, CAST(spec AS TEXT) AS spec, waits_for, parent_id,
    position, CAST(input AS TEXT) AS input, input_ref, CAST(result AS TEXT) AS result, result_ref,
    CAST(error AS TEXT) AS error, attempt, claim_token, queue, priority, request_id, created_by,
    created_ip, cancel_requested_at, called_back, trace
FROM taskdb_task
WHERE id = :id

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
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED') AND t.cancel_requested_at IS NULL) OR CASE
        WHEN json_valid(p.spec) THEN json_extract(p.spec, '$.fan_out.join') END = 'fail_fast' AND
        EXISTS (
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
        CASE WHEN json_valid(p.spec) THEN CASE WHEN json_type(p.spec, '$.fan_out.tolerate') IN
        ('integer', 'real') THEN json_extract(p.spec, '$.fan_out.tolerate') END END IS NULL THEN 0
        WHEN CASE WHEN json_valid(p.spec) THEN CASE WHEN json_type(p.spec, '$.fan_out.tolerate') IN
        ('integer', 'real') THEN json_extract(p.spec, '$.fan_out.tolerate') END END < 1 THEN CASE
        WHEN json_valid(p.spec) THEN CASE WHEN json_type(p.spec, '$.fan_out.tolerate') IN
        ('integer', 'real') THEN json_extract(p.spec, '$.fan_out.tolerate') END END * (
    SELECT count(*)
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.role = 'part') + 1e-9 ELSE CASE WHEN json_valid(p.spec) THEN CASE
        WHEN json_type(p.spec, '$.fan_out.tolerate') IN ('integer', 'real') THEN
        json_extract(p.spec, '$.fan_out.tolerate') END END END OR EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.held_by = 'window') AND (CASE WHEN json_valid(p.spec) THEN CASE
        WHEN json_type(p.spec, '$.fan_out.max_concurrency') IN ('integer', 'real') THEN
        json_extract(p.spec, '$.fan_out.max_concurrency') END END IS NULL OR CASE WHEN
        json_valid(p.spec) THEN CASE WHEN json_type(p.spec, '$.fan_out.max_concurrency') IN
        ('integer', 'real') THEN json_extract(p.spec, '$.fan_out.max_concurrency') END END > (
      SELECT count(*)
      FROM taskdb_task AS t
      WHERE t.parent_id = p.id AND t.role = 'part' AND (t.held_by IS NULL OR t.held_by <> 'window')
          AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING', 'ERRORED'))))
          AND CAST(p.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'reconcile' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
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
        'PROCESSING', 'FINISHED', 'ERRORED', 'HALTED') AND t.cancel_requested_at IS NULL) OR CASE
        WHEN json_valid(p.spec) THEN json_extract(p.spec, '$.fan_out.join') END = 'fail_fast' AND
        EXISTS (
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
        CASE WHEN json_valid(p.spec) THEN CASE WHEN json_type(p.spec, '$.fan_out.tolerate') IN
        ('integer', 'real') THEN json_extract(p.spec, '$.fan_out.tolerate') END END IS NULL THEN 0
        WHEN CASE WHEN json_valid(p.spec) THEN CASE WHEN json_type(p.spec, '$.fan_out.tolerate') IN
        ('integer', 'real') THEN json_extract(p.spec, '$.fan_out.tolerate') END END < 1 THEN CASE
        WHEN json_valid(p.spec) THEN CASE WHEN json_type(p.spec, '$.fan_out.tolerate') IN
        ('integer', 'real') THEN json_extract(p.spec, '$.fan_out.tolerate') END END * (
    SELECT count(*)
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.role = 'part') + 1e-9 ELSE CASE WHEN json_valid(p.spec) THEN CASE
        WHEN json_type(p.spec, '$.fan_out.tolerate') IN ('integer', 'real') THEN
        json_extract(p.spec, '$.fan_out.tolerate') END END END OR EXISTS (
    SELECT 1
    FROM taskdb_task AS t
    WHERE t.parent_id = p.id AND t.held_by = 'window') AND (CASE WHEN json_valid(p.spec) THEN CASE
        WHEN json_type(p.spec, '$.fan_out.max_concurrency') IN ('integer', 'real') THEN
        json_extract(p.spec, '$.fan_out.max_concurrency') END END IS NULL OR CASE WHEN
        json_valid(p.spec) THEN CASE WHEN json_type(p.spec, '$.fan_out.max_concurrency') IN
        ('integer', 'real') THEN json_extract(p.spec, '$.fan_out.max_concurrency') END END > (
      SELECT count(*)
      FROM taskdb_task AS t
      WHERE t.parent_id = p.id AND t.role = 'part' AND (t.held_by IS NULL OR t.held_by <> 'window')
          AND t.status IN ('CREATED', 'SCHEDULED', 'QUEUED', 'STARTED', 'PROCESSING', 'ERRORED'))))
          AND CAST(p.id AS TEXT) NOT IN (
  SELECT a.key
  FROM taskdb_set_aside AS a
  WHERE a.loop = 'reconcile' AND a.next_try_at > (
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
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
SELECT t.id, t.tenant, t.status, t.status, t.attempt, t.worker, strftime('%Y-%m-%dT%H:%M:%fZ',
    'now'), json_object('refused', draft.reason)
FROM taskdb_task AS t
JOIN (
  SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.relay_at') AS relay_at,
      json_extract(value, '$.reason') AS reason
  FROM json_each(:marks)) AS draft ON draft.id = t.id AND draft.relay_at = t.relay_at
WHERE t.status IN ('CREATED', 'SCHEDULED', 'ERRORED')

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
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AND deadline_at <= (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) AND error IS NULL AND (CASE WHEN json_valid(spec)
      THEN json_extract(spec, '$.fan_out.timeout') END IS NOT NULL OR CASE WHEN json_valid(spec)
      THEN json_extract(spec, '$.sequence.timeout') END IS NOT NULL)
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
    SELECT CASE WHEN json_valid(spec) THEN json_extract(spec, '$.fan_out.join') END = 'fail_fast'
    FROM taskdb_task
    WHERE id = :parent), false) AS is_hasty

-- task place
SELECT id, role, parent_id, status
FROM taskdb_task
WHERE id = :id

-- task publications
SELECT id, type, queue, priority, relay_at, deadline_at, role, parent_id, chunk, trace, attempt,
    created_at
FROM taskdb_task
WHERE id IN (
  SELECT value
  FROM json_each(:ids)) AND held_by IS NULL
ORDER BY created_at, id

-- task refuse
UPDATE taskdb_task
SET relay_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (CASE WHEN
    ((julianday(strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) - julianday(max(updated_at, COALESCE(run_at,
    updated_at)))) * 86400) < 5.0 THEN 5.0 WHEN ((julianday(strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) -
    julianday(max(updated_at, COALESCE(run_at, updated_at)))) * 86400) > 300.0 THEN 300.0 ELSE
    ((julianday(strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) - julianday(max(updated_at, COALESCE(run_at,
    updated_at)))) * 86400) END) || ' seconds')
WHERE (id, relay_at) IN (
  SELECT draft.id, draft.relay_at
  FROM (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.relay_at') AS relay_at
    FROM json_each(:marks)) AS draft) AND status IN ('CREATED', 'SCHEDULED', 'ERRORED')

-- task release
UPDATE taskdb_task
SET relay_at = COALESCE(run_at, created_at)
WHERE (id, relay_at) IN (
  SELECT draft.id, draft.relay_at
  FROM (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.relay_at') AS relay_at
    FROM json_each(:marks)) AS draft) AND status IN ('CREATED', 'SCHEDULED', 'ERRORED')

-- task release_held
UPDATE taskdb_task
SET held_by = CASE WHEN needs_admission THEN 'admission' END, relay_at = CASE WHEN run_at >
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') THEN run_at WHEN needs_admission THEN
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (:delay) || '
    seconds') END
WHERE id IN (
  SELECT id
  FROM taskdb_task
  WHERE parent_id = :parent AND held_by = 'window'
  ORDER BY position
  LIMIT :limit)
RETURNING id, held_by

-- task remark
INSERT INTO taskdb_event (task_id, tenant, from_status, to_status, attempt, worker, at, detail)
SELECT id, tenant, status, status, attempt, worker, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :detail
FROM taskdb_task
WHERE id = :id
RETURNING task_id

-- task report
UPDATE taskdb_task AS old
SET attributes = COALESCE(:attributes, old.attributes), progress_current = COALESCE(:current,
    old.progress_current), progress_total = COALESCE(:total, old.progress_total), progress_message =
    COALESCE(:message, old.progress_message), updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE old.id = :id AND old.claim_token = :token AND old.status = 'PROCESSING'
RETURNING id

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
  SELECT value
  FROM json_each(:ids)) AND (spec IS NOT NULL OR parent_id IS NOT NULL)

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
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (-:seconds) || ' seconds'))

-- task/worker announce
INSERT INTO taskdb_worker (id, name, host, pid, queues, types, release, started_at, seen_at)
VALUES (:id, :name, :host, :pid, :queues, :types, :release, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
ON CONFLICT (id) DO UPDATE
SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), queues = excluded.queues, types =
    excluded.types, stopped_at = NULL

-- task/worker cancel_wishes
SELECT id, claim_token, ((julianday(strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) -
    julianday(cancel_requested_at)) * 86400) AS waited
FROM taskdb_task
WHERE worker = :worker AND status IN ('STARTED', 'PROCESSING') AND cancel_requested_at IS NOT NULL

-- task/worker has_running
SELECT 1 AS one
FROM taskdb_task
WHERE worker = :worker AND status IN ('STARTED', 'PROCESSING')
LIMIT 1

-- task/worker renew
UPDATE taskdb_worker
SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), waiting = :waiting
WHERE id = :id
RETURNING id

-- task/worker renew_with_lists
UPDATE taskdb_worker
SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), waiting = :waiting, claims_before = claims,
    listed_before_at = listed_at, claims = :claims, messages = :messages, listed_at =
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE id = :id
RETURNING id

-- task/worker stop
UPDATE taskdb_worker
SET stopped_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE id = :id
