-- How far the steps of long jobs have come.

CREATE TABLE jobs.steps (
    message_id text NOT NULL,
    name       text NOT NULL
        CONSTRAINT steps_name CHECK (length(name) BETWEEN 1 AND 100),
    -- Where it goes on: null, or what the job has made of it. Written with what it stands for.
    cursor     jsonb NOT NULL DEFAULT 'null',
    -- The run that began it last: an earlier one, or a copy of the job, writes nothing more.
    owner      uuid NOT NULL,
    done       boolean NOT NULL DEFAULT false,
    saved_at   timestamptz NOT NULL DEFAULT jobs.now(),
    PRIMARY KEY (message_id, name)
);

-- They are deleted by age.
CREATE INDEX steps_saved ON jobs.steps (saved_at);
