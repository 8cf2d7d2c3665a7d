-- query below
-- The places of all tasks below one.
WITH RECURSIVE below AS (
    SELECT id, kind, type, queue, priority FROM taskdb_task WHERE parent_id = :id
    UNION ALL SELECT one.id, one.kind, one.type, one.queue, one.priority FROM taskdb_task AS one
    JOIN below ON one.parent_id = below.id)
SELECT DISTINCT kind, type, queue, priority FROM below
