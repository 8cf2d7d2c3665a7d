-- Messages on their way. The history is the outbox of subscriptions; see `taskdb_subscription`.

-- One message of an alarm, on its way to one channel.
CREATE TABLE taskdb_delivery (
    id TEXT NOT NULL PRIMARY KEY DEFAULT (
        lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||
        substr(hex(randomblob(2)), 2) || '-' || substr('89ab', 1 + (abs(random()) % 4), 1) ||
        substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))
    ),
    alarm_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    count BIGINT NOT NULL,
    total BIGINT NOT NULL,
    message TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    failing_since TEXT,
    lease_until TEXT,
    sent_at TEXT,
    last_error TEXT,
    -- A process that has lost this token must not mark the message.
    lease_token TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    CONSTRAINT taskdb_delivery_is_sound CHECK (kind IN ('opened','again','regression')),
    CONSTRAINT taskdb_delivery_is_bounded CHECK (
        (next_try_at IS NULL OR next_try_at LIKE '____-__-__%'
            AND next_try_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (failing_since IS NULL OR failing_since LIKE '____-__-__%'
            AND failing_since BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (lease_until IS NULL OR lease_until LIKE '____-__-__%'
            AND lease_until BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (sent_at IS NULL OR sent_at LIKE '____-__-__%'
            AND sent_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (created_at IS NULL OR created_at LIKE '____-__-__%'
            AND created_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
    )
);

CREATE UNIQUE INDEX taskdb_delivery_sequence
    ON taskdb_delivery (alarm_id, channel, sequence);
CREATE INDEX taskdb_delivery_due ON taskdb_delivery (channel, next_try_at)
    WHERE sent_at IS NULL;
-- Messages that were sent long ago, for pruning.
CREATE INDEX taskdb_delivery_sent ON taskdb_delivery (sent_at)
    WHERE sent_at IS NOT NULL;
