-- How far the steps of long jobs have come.

CREATE TABLE jobs.steps (
    message_id text NOT NULL,
    name       text NOT NULL
        CONSTRAINT steps_name CHECK (length(name) BETWEEN 1 AND 100),
    -- Where it goes on: null, or what the job has made of it. Written with what it stands for.
    cursor     jsonb NOT NULL DEFAULT 'null',
    -- How often it was written: a copy of the job that has read an older one writes nothing more.
    version    bigint NOT NULL DEFAULT 1,
    done       boolean NOT NULL DEFAULT false,
    saved_at   timestamptz NOT NULL DEFAULT jobs.now(),
    PRIMARY KEY (message_id, name)
);

-- They are deleted by age.
CREATE INDEX steps_saved ON jobs.steps (saved_at);
