-- Records of the loops of a beat and of the reporters.

-- The cluster whose transaction ids the history counts: one row. `shift` is added to the id of a
-- transaction to give the xid of its events; the default of `taskdb_event.xid` has the same number
-- in it. `left_…` are set while events that were written with an older shift have to be moved.
CREATE TABLE taskdb_history_cluster (
    id INTEGER NOT NULL PRIMARY KEY DEFAULT 1,
    identity TEXT,
    shift BIGINT NOT NULL DEFAULT 0,
    left_shift BIGINT,
    left_xid BIGINT,
    left_at TIMESTAMPTZ,
    changed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT taskdb_history_cluster_is_one_row CHECK (id = 1)
);

INSERT INTO taskdb_history_cluster (id) VALUES (1);

-- Leases of reporters and beats: of several processes one counts the events. `xid` and `event_id`
-- are the place in the history up to which it has; NULL: from its end.
CREATE TABLE taskdb_reporter (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until TIMESTAMPTZ NOT NULL,
    xid BIGINT,
    event_id BIGINT
);

-- Rows that a loop could not work on, and leaves out until their next try.
CREATE TABLE taskdb_set_aside (
    loop TEXT NOT NULL,
    key TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 1,
    first_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    last_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    next_try_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (loop, key)
);
