-- Messages on their way. The history is the outbox of subscriptions; see `taskdb_subscription`.

-- One message of an alarm, on its way to one channel.
CREATE TABLE taskdb_delivery (
    id UUID NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    alarm_id UUID NOT NULL,
    channel TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    count BIGINT NOT NULL,
    total BIGINT NOT NULL,
    message JSONB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    failing_since TIMESTAMPTZ,
    lease_until TIMESTAMPTZ,
    sent_at TIMESTAMPTZ,
    last_error TEXT,
    -- A process that has lost this token must not mark the message.
    lease_token TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT taskdb_delivery_is_sound CHECK (kind IN ('opened','again','regression')),
    CONSTRAINT taskdb_delivery_is_bounded CHECK (
        (next_try_at IS NULL OR next_try_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (failing_since IS NULL
            OR failing_since BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (lease_until IS NULL OR lease_until BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (sent_at IS NULL OR sent_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (created_at IS NULL OR created_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
    )
);

CREATE UNIQUE INDEX taskdb_delivery_sequence
    ON taskdb_delivery (alarm_id, channel, sequence);
CREATE INDEX taskdb_delivery_due ON taskdb_delivery (channel, next_try_at)
    WHERE sent_at IS NULL;
-- Messages that were sent long ago, for pruning.
CREATE INDEX taskdb_delivery_sent ON taskdb_delivery (sent_at)
    WHERE sent_at IS NOT NULL;
