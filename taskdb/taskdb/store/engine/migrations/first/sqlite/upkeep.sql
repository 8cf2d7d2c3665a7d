-- Records of the loops of a beat and of the reporters.

-- One row, as on PostgreSQL, where it names the cluster that counts the transactions. SQLite counts
-- events: the row stays as it is.
CREATE TABLE taskdb_history_cluster (
    id INTEGER NOT NULL PRIMARY KEY DEFAULT 1,
    identity TEXT,
    shift BIGINT NOT NULL DEFAULT 0,
    left_shift BIGINT,
    left_xid BIGINT,
    left_at TEXT,
    changed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    CONSTRAINT taskdb_history_cluster_is_one_row CHECK (id = 1)
);

INSERT INTO taskdb_history_cluster (id) VALUES (1);

-- Leases of reporters and beats: of several processes one counts the events. `xid` and `event_id`
-- are the place in the history up to which it has; NULL: from its end.
CREATE TABLE taskdb_reporter (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until TEXT NOT NULL,
    xid BIGINT,
    event_id BIGINT
);

-- Rows that a loop could not work on, and leaves out until their next try.
CREATE TABLE taskdb_set_aside (
    loop TEXT NOT NULL,
    key TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 1,
    first_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    last_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    next_try_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (loop, key)
);
