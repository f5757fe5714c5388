-- What jobs tell the browsers of users.
CREATE SCHEMA workshed_notifications;

-- The number of the last notification of a person, who is named by an id of the application's. The
-- row is locked until the transaction that tells commits: so the numbers of one person are seen in
-- their order, and a reader that goes on after the last one it has seen misses none.
CREATE TABLE workshed_notifications.inboxes (
    user_id text PRIMARY KEY,
    last    bigint NOT NULL DEFAULT 0
);

CREATE TABLE workshed_notifications.notifications (
    user_id    text NOT NULL,
    number     bigint NOT NULL CONSTRAINT notifications_number CHECK (number > 0),
    event      text NOT NULL CONSTRAINT notifications_event CHECK (event ~ '^[a-z][a-z0-9_]{0,62}$'),
    data       jsonb NOT NULL,
    -- Tells it from all others of this person: the job that tells may run twice.
    key        text NOT NULL CONSTRAINT notifications_key CHECK (length(key) BETWEEN 1 AND 500),
    created_at timestamptz NOT NULL DEFAULT workshed.now(),
    PRIMARY KEY (user_id, number),
    CONSTRAINT notifications_once UNIQUE (user_id, key)
);

-- They are deleted by age.
CREATE INDEX notifications_created ON workshed_notifications.notifications (created_at);
