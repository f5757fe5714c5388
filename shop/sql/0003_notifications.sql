-- What a person's browser is told.

-- The number of the last notification of a user. Its row is locked until the transaction that tells
-- commits: so of one user the numbers are seen in their order, and a reader that goes on after the
-- last it has seen misses none.
CREATE TABLE product.inboxes (
    user_id bigint PRIMARY KEY REFERENCES product.users ON DELETE CASCADE,
    last    bigint NOT NULL DEFAULT 0
);

CREATE TABLE product.notifications (
    user_id    bigint NOT NULL REFERENCES product.users ON DELETE CASCADE,
    number     bigint NOT NULL CONSTRAINT notifications_number CHECK (number > 0),
    event      text NOT NULL CONSTRAINT notifications_event CHECK (event ~ '^[a-z][a-z0-9_]{0,62}$'),
    data       jsonb NOT NULL,
    -- What tells it from all others of this user: the job that tells may run twice.
    key        text NOT NULL CONSTRAINT notifications_key CHECK (length(key) BETWEEN 1 AND 500),
    created_at timestamptz NOT NULL DEFAULT jobs.now(),
    PRIMARY KEY (user_id, number),
    CONSTRAINT notifications_once UNIQUE (user_id, key)
);

-- They are deleted by age.
CREATE INDEX notifications_created ON product.notifications (created_at);
