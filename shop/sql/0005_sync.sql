-- What is fetched from the APIs of others, and how that goes.

CREATE TABLE product.sync_sources (
    name            text PRIMARY KEY
        CONSTRAINT sync_sources_name CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    -- Below it are `/records` and `/records/ID`.
    url             text NOT NULL
        CONSTRAINT sync_sources_url CHECK (length(url) <= 2000 AND url ~ '^https?://[^[:space:][:cntrl:]]+$'),
    created_at      timestamptz NOT NULL DEFAULT jobs.now(),
    -- The number of the listing that is read, or was read last.
    listing         bigint NOT NULL DEFAULT 0,
    -- Since when it is read; null: none is.
    listing_since   timestamptz,
    -- From which cursor on: null is the first page, and only then does what it lacks not exist.
    listing_from    text,
    -- Of the page that is read next; null: the first.
    cursor          text,
    -- How many records the source said it has, when its first page was read.
    listing_total   bigint,
    last_success_at timestamptz,
    -- Runs that failed since the last success, since when, and with what.
    failed_runs     integer NOT NULL DEFAULT 0,
    failing_since   timestamptz,
    last_error      text,
    -- Whether somebody was told, and is to be told when it is over.
    alerted         boolean NOT NULL DEFAULT false,
    -- The circuit: requests that failed one after the other, and until when none is made.
    failures        integer NOT NULL DEFAULT 0,
    held_at         timestamptz,
    held_until      timestamptz,
    CONSTRAINT sync_sources_failing CHECK ((failed_runs > 0) = (failing_since IS NOT NULL)),
    CONSTRAINT sync_sources_held CHECK ((held_at IS NULL) = (held_until IS NULL))
);

-- The cursors of a listing that is read: one that comes again would go round for ever.
CREATE TABLE product.sync_cursors (
    source text NOT NULL REFERENCES product.sync_sources ON DELETE CASCADE,
    cursor text NOT NULL,
    PRIMARY KEY (source, cursor)
);

CREATE TABLE product.sync_records (
    source         text NOT NULL REFERENCES product.sync_sources ON DELETE CASCADE,
    external_id    text NOT NULL
        CONSTRAINT sync_records_external_id CHECK (
            length(external_id) <= 100 AND external_id ~ '^[._~-]*[A-Za-z0-9][A-Za-z0-9._~-]*$'
        ),
    -- The last listing that had it, and the version it had there.
    listed_in      bigint NOT NULL DEFAULT 0,
    listed_version bigint,
    -- The version for which a job was sent last, and when.
    asked_version  bigint,
    asked_at       timestamptz,
    -- What was fetched; null until then.
    version        bigint,
    name           text,
    data           jsonb,
    fetched_at     timestamptz,
    -- When a whole listing lacked it; the source is asked whether it is gone.
    missing_since  timestamptz,
    -- It is. The row stays, so that an older answer does not bring it back.
    deleted_at     timestamptz,
    PRIMARY KEY (source, external_id),
    CONSTRAINT sync_records_fetched CHECK (
        num_nulls(version, name, data, fetched_at) IN (0, 4)
    )
);

-- What the last listing lacks, of many that it has.
CREATE INDEX sync_records_listed ON product.sync_records (source, listed_in)
    WHERE deleted_at IS NULL;

-- They are forgotten by age.
CREATE INDEX sync_records_deleted ON product.sync_records (deleted_at)
    WHERE deleted_at IS NOT NULL;

CREATE TABLE product.sync_associations (
    source      text NOT NULL,
    external_id text NOT NULL,
    kind        text NOT NULL,
    -- The other one's id at the source; it may come later than this, or never.
    other_id    text NOT NULL,
    PRIMARY KEY (source, external_id, kind, other_id),
    FOREIGN KEY (source, external_id) REFERENCES product.sync_records ON DELETE CASCADE
);

-- One row per change, however often its job ran.
CREATE TABLE product.sync_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text NOT NULL,
    external_id text NOT NULL,
    change      text NOT NULL
        CONSTRAINT sync_log_change CHECK (change IN ('created', 'updated', 'restored', 'deleted')),
    -- The version it has since; of a deletion the last one.
    version     bigint,
    -- The job that did it; null outside one.
    message_id  text,
    at          timestamptz NOT NULL DEFAULT jobs.now()
);

CREATE INDEX sync_log_of_record ON product.sync_log (source, external_id, id);

-- It is pruned by age.
CREATE INDEX sync_log_at ON product.sync_log (at);
