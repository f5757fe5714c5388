-- What jobs return, for whoever waits for it, and numbers that many processes count.

CREATE TABLE jobs.results (
    key        text PRIMARY KEY,
    -- As the program's encoder wrote it.
    body       bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

-- They are deleted when they have expired.
CREATE INDEX results_expired ON jobs.results (expires_at);

-- What dramatiq's rate limiters and barriers count. One that has expired is 0.
CREATE TABLE jobs.counters (
    key        text PRIMARY KEY,
    value      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX counters_expired ON jobs.counters (expires_at);
