-- The tables of the sample service.
CREATE SCHEMA shop;


-- -------------------------------------------------------------------------------------------------
-- People
-- -------------------------------------------------------------------------------------------------

-- `shop.people` explains better what is wrong with a name or an address. The checks here are for
-- rows that come another way. Nothing that becomes a header may contain a line break of any kind.
CREATE TABLE shop.users (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL
        CONSTRAINT users_name CHECK (
            length(name) BETWEEN 1 AND 100 AND name !~ '[[:cntrl:]\u0085\u2028\u2029]'
        ),
    email           text NOT NULL
        CONSTRAINT users_email_form CHECK (
            length(email) <= 254 AND email LIKE '%_@_%' AND email !~ '[[:cntrl:]]'
        ),
    created_at      timestamptz NOT NULL DEFAULT workshed.now(),
    welcomed_at     timestamptz,
    activated_at    timestamptz,
    unsubscribed_at timestamptz,
    -- Message id of the reminder in `workshed.schedule`, so that it can be cancelled.
    reminder_id     text,
    -- The import that created the user. Kept if that import is deleted.
    imported_from   bigint,
    -- Receives the reports, once the account is activated.
    admin           boolean NOT NULL DEFAULT false
);

-- One person per address, however it is spelt.
CREATE UNIQUE INDEX users_email ON shop.users (lower(email));

-- Admins are few among all users.
CREATE INDEX users_admins ON shop.users (id) WHERE admin;

-- Finds the users who signed up on a day, for its report.
CREATE INDEX users_created ON shop.users (created_at);

-- Mails and notifications name a person by this id, without a foreign key. What still waits must
-- not reach a deleted user, and its text is personal data. Runs as the owner of the tables, like a
-- cascade.
CREATE FUNCTION shop.forget_user() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM workshed_mail.emails WHERE user_id = OLD.id::text;
    DELETE FROM workshed_notifications.inboxes WHERE user_id = OLD.id::text;
    DELETE FROM workshed_notifications.notifications WHERE user_id = OLD.id::text;
    RETURN NULL;
END $$;

-- Otherwise every role could make it the trigger of a table of its own.
REVOKE EXECUTE ON FUNCTION shop.forget_user() FROM PUBLIC;

CREATE TRIGGER users_deleted AFTER DELETE ON shop.users
    FOR EACH ROW EXECUTE FUNCTION shop.forget_user();


-- -------------------------------------------------------------------------------------------------
-- Images
-- -------------------------------------------------------------------------------------------------

-- What people upload.
CREATE TABLE shop.attachments (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     bigint NOT NULL REFERENCES shop.users ON DELETE CASCADE,
    filename    text NOT NULL
        CONSTRAINT attachments_filename CHECK (
            length(filename) BETWEEN 1 AND 255 AND filename !~ '[[:cntrl:]/\u0085\u2028\u2029]'
        ),
    -- Its current content; replacing the file changes this.
    sha256      text NOT NULL REFERENCES workshed_storage.blobs,
    created_at  timestamptz NOT NULL DEFAULT workshed.now(),
    replaced_at timestamptz,
    -- Why no image can be made of its current content.
    refusal     text,
    refused_at  timestamptz,
    CONSTRAINT attachments_refused CHECK ((refusal IS NULL) = (refused_at IS NULL))
);

CREATE INDEX attachments_of_user ON shop.attachments (user_id, id);

-- Tells whether a content is still in use, and by whom.
CREATE INDEX attachments_of_blob ON shop.attachments (sha256);

-- One row for each original and set of options: the same work is not done twice if several people
-- upload the same picture, and a new codec adds rows without replacing the old ones.
CREATE TABLE shop.image_variants (
    original   text NOT NULL REFERENCES workshed_storage.blobs,
    -- The box it fits within, in pixels, and the requested quality, 1 to 100.
    box_width  integer NOT NULL,
    box_height integer NOT NULL,
    quality    smallint NOT NULL,
    -- The requested format. `media_type` is the format of the result.
    format     text NOT NULL,
    codec      text NOT NULL,
    sha256     text NOT NULL REFERENCES workshed_storage.blobs,
    media_type text NOT NULL,
    width      integer NOT NULL,
    height     integer NOT NULL,
    frames     integer NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT workshed.now(),
    CONSTRAINT image_variants_options CHECK (
        box_width > 0 AND box_height > 0 AND quality BETWEEN 1 AND 100
    ),
    CONSTRAINT image_variants_fit CHECK (
        width BETWEEN 1 AND box_width AND height BETWEEN 1 AND box_height AND frames > 0
    ),
    PRIMARY KEY (original, box_width, box_height, quality, format, codec)
);

-- Tells whether a content is the result of a conversion.
CREATE INDEX image_variants_of_blob ON shop.image_variants (sha256);


-- -------------------------------------------------------------------------------------------------
-- Imports: files of people that users upload, read row by row
-- -------------------------------------------------------------------------------------------------

CREATE TABLE shop.imports (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner_id     bigint NOT NULL REFERENCES shop.users ON DELETE CASCADE,
    filename     text NOT NULL
        CONSTRAINT imports_filename CHECK (
            length(filename) BETWEEN 1 AND 255 AND filename !~ '[[:cntrl:]/\u0085\u2028\u2029]'
        ),
    -- The content that is read, whatever happens to the uploaded file.
    sha256       text NOT NULL REFERENCES workshed_storage.blobs,
    -- The names of its columns as written in the file, once they are read.
    header       text[],
    -- Whether each imported person receives a welcome mail.
    welcome      boolean NOT NULL DEFAULT false,
    -- Whether its owner asked for it although they had imported the same content before.
    again        boolean NOT NULL DEFAULT false,
    -- `pending`: the file is read; `processing`: its rows become users.
    state        text NOT NULL DEFAULT 'pending'
        CONSTRAINT imports_state CHECK (state IN ('pending', 'processing', 'completed', 'failed')),
    -- How many rows are in `import_rows`, from the first on. After the file is read, that is all of
    -- them.
    rows_read    bigint NOT NULL DEFAULT 0,
    -- How many of them, from the first on, have jobs.
    queued_upto  bigint NOT NULL DEFAULT 0,
    -- How many rows the file has; known once it is read.
    total        bigint,
    succeeded    bigint NOT NULL DEFAULT 0,
    failed       bigint NOT NULL DEFAULT 0,
    -- Why it failed as a whole.
    error        text,
    created_at   timestamptz NOT NULL DEFAULT workshed.now(),
    ended_at     timestamptz,
    -- How the file is read: what its owner said, or what was found. NULL until one of them is
    -- known.
    encoding     text,
    is_guess     boolean NOT NULL DEFAULT false,
    delimiter    text,
    email_column text,
    -- One column, or several, as in `{first_name} {last_name}`.
    name_column  text,
    -- The columns that are not read.
    skipped      text[],
    CONSTRAINT imports_queued_upto CHECK (queued_upto BETWEEN 0 AND rows_read),
    CONSTRAINT imports_total CHECK (
        state = 'failed' OR (total IS NOT NULL) = (state IN ('processing', 'completed'))
    ),
    CONSTRAINT imports_counted CHECK (succeeded >= 0 AND failed >= 0),
    CONSTRAINT imports_completed CHECK (
        state = 'failed'
        OR (state = 'completed') = (total IS NOT NULL AND succeeded + failed = total)
    ),
    CONSTRAINT imports_ended CHECK ((ended_at IS NULL) = (state IN ('pending', 'processing'))),
    CONSTRAINT imports_error CHECK ((error IS NULL) = (state <> 'failed'))
);

-- A file is imported once, unless its owner insists or it could not be read.
CREATE UNIQUE INDEX imports_once ON shop.imports (owner_id, sha256)
    WHERE state <> 'failed' AND NOT again;

-- Tells whether a content belongs to an import.
CREATE INDEX imports_of_blob ON shop.imports (sha256);

-- Maintenance deletes the oldest.
CREATE INDEX imports_ended ON shop.imports (ended_at);

-- No foreign key, because it would be checked for each of a million rows; a trigger deletes the
-- rows instead. Each row is written twice, and half of each page is left for that.
CREATE TABLE shop.import_rows (
    import_id bigint NOT NULL,
    -- From 1, without the header.
    number    bigint NOT NULL,
    -- The line of the file in which the row begins, from 1.
    line      bigint NOT NULL,
    -- The person. NULL if the row cannot become a user.
    name      text,
    email     text,
    -- The content of a row that cannot.
    fields    text[],
    -- NULL until its job has run.
    outcome   text CONSTRAINT import_rows_outcome CHECK (outcome IN ('succeeded', 'failed')),
    -- The kind of error and its explanation. Some are known before the job of the row has run.
    problem   text,
    reason    text,
    user_id   bigint,
    -- All cells of a row that names a person, if the file has other columns too: if the row fails,
    -- its owner gets all of it back. NULL once the row has become a user.
    cells     text[],
    PRIMARY KEY (import_id, number),
    CONSTRAINT import_rows_person CHECK ((name IS NULL) = (email IS NULL)),
    CONSTRAINT import_rows_fields CHECK ((fields IS NULL) = (email IS NOT NULL)),
    CONSTRAINT import_rows_problem CHECK ((problem IS NULL) = (reason IS NULL)),
    CONSTRAINT import_rows_succeeded CHECK (
        outcome IS NULL OR (outcome = 'succeeded') = (problem IS NULL)
    )
) WITH (fillfactor = 50);

-- Finds the first row of an import with an address.
CREATE INDEX import_rows_address ON shop.import_rows (import_id, lower(email), number)
    WHERE email IS NOT NULL;

CREATE FUNCTION shop.delete_import_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM shop.import_rows WHERE import_id = OLD.id;
    RETURN NULL;
END $$;

CREATE TRIGGER imports_deleted AFTER DELETE ON shop.imports
    FOR EACH ROW EXECUTE FUNCTION shop.delete_import_rows();


-- -------------------------------------------------------------------------------------------------
-- Orders, and the report of each business day
-- -------------------------------------------------------------------------------------------------

CREATE TABLE shop.products (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL CONSTRAINT products_name CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT workshed.now()
);

CREATE TABLE shop.orders (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- An order and its revenue stay when the user is deleted.
    user_id   bigint REFERENCES shop.users ON DELETE SET NULL,
    -- ISO 4217. Amounts in different currencies are never added.
    currency  text NOT NULL CONSTRAINT orders_currency CHECK (currency ~ '^[A-Z]{3}$'),
    placed_at timestamptz NOT NULL DEFAULT workshed.now(),
    -- NULL until it is paid; then it is revenue.
    paid_at   timestamptz
);

-- Deleting a user looks for their orders.
CREATE INDEX orders_of_user ON shop.orders (user_id);

-- Finds the users who were active on a day, from the index alone.
CREATE INDEX orders_placed ON shop.orders (placed_at) INCLUDE (user_id);

-- Finds what was paid in the thirty days of a report.
CREATE INDEX orders_paid ON shop.orders (paid_at) INCLUDE (id, currency)
    WHERE paid_at IS NOT NULL;

CREATE TABLE shop.order_lines (
    order_id   bigint NOT NULL REFERENCES shop.orders ON DELETE CASCADE,
    -- From 1, in the order of the order.
    number     integer NOT NULL CONSTRAINT order_lines_number CHECK (number > 0),
    product_id bigint NOT NULL REFERENCES shop.products,
    quantity   integer NOT NULL CONSTRAINT order_lines_quantity CHECK (quantity > 0),
    -- Exact, with all its decimal places. NaN and infinity compare as greater than the limit.
    unit_price numeric NOT NULL
        CONSTRAINT order_lines_unit_price CHECK (
            unit_price >= 0 AND unit_price < 1e15 AND min_scale(unit_price) <= 12
        ),
    PRIMARY KEY (order_id, number)
);

-- Deleting a product looks for its order lines.
CREATE INDEX order_lines_of_product ON shop.order_lines (product_id);

-- The numbers of a day when they were first requested: a past day has one report, whatever happens
-- to the rows behind it, and all its mails say the same.
CREATE TABLE shop.daily_report_snapshots (
    business_date date PRIMARY KEY,
    -- The time zone of the day, and its start and end: 23 or 25 hours when the clocks change.
    zone          text NOT NULL,
    starts_at     timestamptz NOT NULL,
    ends_at       timestamptz NOT NULL,
    -- Decimals are strings, so that no reader turns them into floats.
    numbers       jsonb NOT NULL,
    made_at       timestamptz NOT NULL DEFAULT workshed.now(),
    CONSTRAINT daily_report_snapshots_day CHECK (starts_at < ends_at),
    CONSTRAINT daily_report_snapshots_over CHECK (ends_at <= made_at)
);

-- Maintenance deletes the oldest mails of reports, and no others.
CREATE INDEX emails_of_reports ON workshed_mail.emails (created_at) WHERE kind = 'daily_report';


-- -------------------------------------------------------------------------------------------------
-- Synchronization: records fetched from other APIs
-- -------------------------------------------------------------------------------------------------

CREATE TABLE shop.sync_sources (
    name               text PRIMARY KEY
        CONSTRAINT sync_sources_name CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    -- Below it are `/records` and `/records/ID`.
    url                text NOT NULL
        CONSTRAINT sync_sources_url CHECK (length(url) <= 2000 AND url ~ '^https?://[^[:space:][:cntrl:]]+$'),
    created_at         timestamptz NOT NULL DEFAULT workshed.now(),
    -- The number of the current or latest listing.
    listing            bigint NOT NULL DEFAULT 0,
    -- When the current listing began; NULL if none is being read.
    listing_since      timestamptz,
    -- The cursor the listing started from. NULL is the first page; only then is a record that it
    -- lacks gone.
    listing_from       text,
    -- The cursor of the next page; NULL is the first page.
    cursor             text,
    -- How many records the source claimed on its first page.
    listing_total      bigint,
    last_success_at    timestamptz,
    -- Failed runs since the last success, since when, and the last error.
    failed_runs        integer NOT NULL DEFAULT 0,
    failing_since      timestamptz,
    last_error         text,
    -- Whether an alert was sent; then its end is announced too.
    alerted            boolean NOT NULL DEFAULT false,
    -- The circuit breaker: consecutive failed requests, and until when none is made.
    failures           integer NOT NULL DEFAULT 0,
    circuit_opened_at  timestamptz,
    circuit_open_until timestamptz,
    -- How many items the listing has named so far, and how many of them were skipped.
    listing_named      bigint NOT NULL DEFAULT 0,
    listing_skipped    bigint NOT NULL DEFAULT 0,
    CONSTRAINT sync_sources_failing CHECK ((failed_runs > 0) = (failing_since IS NOT NULL)),
    CONSTRAINT sync_sources_circuit CHECK ((circuit_opened_at IS NULL) = (circuit_open_until IS NULL))
);

-- The cursors of the current listing: one that repeats would loop for ever.
CREATE TABLE shop.sync_cursors (
    source text NOT NULL REFERENCES shop.sync_sources ON DELETE CASCADE,
    cursor text NOT NULL,
    PRIMARY KEY (source, cursor)
);

CREATE TABLE shop.sync_records (
    source         text NOT NULL REFERENCES shop.sync_sources ON DELETE CASCADE,
    external_id    text NOT NULL
        CONSTRAINT sync_records_external_id CHECK (
            length(external_id) <= 100 AND external_id ~ '^[._~-]*[A-Za-z0-9][A-Za-z0-9._~-]*$'
        ),
    -- The last listing that had it, and its version there.
    listed_in      bigint NOT NULL DEFAULT 0,
    listed_version bigint,
    -- The version for which a job was last sent, and when.
    asked_version  bigint,
    asked_at       timestamptz,
    -- What was fetched; NULL until then.
    version        bigint,
    name           text,
    data           jsonb,
    fetched_at     timestamptz,
    -- When a whole listing lacked it. The source is then asked whether it is gone.
    missing_since  timestamptz,
    -- When the source said that it is gone. The row stays, so that an older answer cannot restore
    -- it.
    deleted_at     timestamptz,
    PRIMARY KEY (source, external_id),
    CONSTRAINT sync_records_fetched CHECK (
        num_nulls(version, name, data, fetched_at) IN (0, 4)
    )
);

-- Finds what the last listing lacks, among many records that it has.
CREATE INDEX sync_records_listed ON shop.sync_records (source, listed_in)
    WHERE deleted_at IS NULL;

-- Maintenance deletes the oldest.
CREATE INDEX sync_records_deleted ON shop.sync_records (deleted_at)
    WHERE deleted_at IS NOT NULL;

CREATE TABLE shop.sync_associations (
    source      text NOT NULL,
    external_id text NOT NULL,
    kind        text NOT NULL,
    -- The other record's id at the source. It may arrive later than this one, or never.
    other_id    text NOT NULL,
    PRIMARY KEY (source, external_id, kind, other_id),
    FOREIGN KEY (source, external_id) REFERENCES shop.sync_records ON DELETE CASCADE
);

-- One row per change, however often its job ran.
CREATE TABLE shop.sync_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text NOT NULL,
    external_id text NOT NULL,
    change      text NOT NULL
        CONSTRAINT sync_log_change CHECK (change IN ('created', 'updated', 'restored', 'deleted')),
    -- Its version since the change; for a deletion, the last version.
    version     bigint,
    -- The job that made the change; NULL outside a job.
    message_id  text,
    at          timestamptz NOT NULL DEFAULT workshed.now()
);

CREATE INDEX sync_log_of_record ON shop.sync_log (source, external_id, id);

-- Maintenance deletes the oldest.
CREATE INDEX sync_log_at ON shop.sync_log (at);

-- What a listing names that cannot be synchronized.
CREATE TABLE shop.sync_skipped (
    source  text NOT NULL REFERENCES shop.sync_sources ON DELETE CASCADE,
    -- The item as JSON, shortened for display.
    item    text NOT NULL,
    reason  text NOT NULL,
    -- The last listing that had it.
    listing bigint NOT NULL,
    -- When it was first seen.
    since   timestamptz NOT NULL DEFAULT workshed.now(),
    PRIMARY KEY (source, item)
);


-- -------------------------------------------------------------------------------------------------
-- Campaigns: mails to many, and what happened to each of them
-- -------------------------------------------------------------------------------------------------

CREATE TABLE shop.campaigns (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL
        CONSTRAINT campaigns_name CHECK (
            length(name) BETWEEN 1 AND 200 AND name !~ '[[:cntrl:]\u0085\u2028\u2029]'
        ),
    -- Which of the users who have not unsubscribed. `active` users have activated their account.
    audience   text NOT NULL DEFAULT 'everyone'
        CONSTRAINT campaigns_audience CHECK (audience IN ('everyone', 'active', 'inactive')),
    -- Templates, filled in for each recipient.
    subject    text NOT NULL,
    text_body  text NOT NULL,
    html_body  text,
    -- `starting`: its job is sent, and has not stored the audience yet.
    state      text NOT NULL DEFAULT 'draft'
        CONSTRAINT campaigns_state CHECK (
            state IN ('draft', 'starting', 'sending', 'paused', 'sent', 'cancelled', 'refused')
        ),
    -- Why it was refused, or paused by itself.
    error      text,
    -- The batch of its jobs; NULL before the first and after the last one.
    batch      uuid,
    -- The last recipient that has a job.
    cursor     bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT workshed.now(),
    started_at timestamptz,
    ended_at   timestamptz,
    -- Whether its recipients were named when it was created, by a list or a query.
    chosen     boolean NOT NULL DEFAULT false,
    -- When it is to begin; NULL: as soon as it is started.
    starts_at  timestamptz,
    -- When a campaign that paused because no mail could be sent resumes, and how long after the
    -- pause that is. Both stay while it is sending: if it pauses again soon, it pauses for longer.
    resumes_at timestamptz,
    pauses_for interval,
    CONSTRAINT campaigns_started CHECK (
        state IN ('cancelled', 'refused')
        OR (started_at IS NULL) = (state IN ('draft', 'starting'))
    ),
    CONSTRAINT campaigns_ended CHECK (
        (ended_at IS NOT NULL) = (state IN ('sent', 'cancelled', 'refused'))
    ),
    CONSTRAINT campaigns_batch CHECK (batch IS NULL OR state IN ('sending', 'paused', 'cancelled'))
);

-- Maintenance deletes the oldest.
CREATE INDEX campaigns_ended ON shop.campaigns (ended_at);

-- No foreign keys, because they would be checked for each of a million rows, and lock as many
-- users. Half of each page is left for the updates of its rows.
CREATE TABLE shop.campaign_recipients (
    campaign_id bigint NOT NULL,
    user_id     bigint NOT NULL,
    -- `handed`: there is a job; `gone`: the user was deleted meanwhile; `rejected`: the mail server
    -- refused it for good; `unknown`: it may or may not have arrived, and is not sent again;
    -- `failed`: its job died, or was cancelled.
    state       text NOT NULL DEFAULT 'waiting'
        CONSTRAINT campaign_recipients_state CHECK (
            state IN ('waiting', 'handed', 'sent', 'unsubscribed', 'gone', 'rejected', 'unknown',
                      'failed')
        ),
    -- Why it was not sent.
    reason      text,
    batch       uuid,
    email_id    bigint,
    PRIMARY KEY (campaign_id, user_id)
) WITH (fillfactor = 50);

-- Assign the next recipients after `behind`, at most so many, to a batch, and return them.
--
-- Planned for any number of rows: the planner has no statistics of a campaign that has just begun,
-- and would read all of a million recipients for each hundred.
CREATE FUNCTION shop.assign_recipients(campaign bigint, behind bigint, most integer, to_batch uuid)
    RETURNS SETOF bigint
    LANGUAGE sql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    UPDATE shop.campaign_recipients
       SET state = 'handed', reason = NULL, batch = to_batch
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM shop.campaign_recipients
            WHERE campaign_id = campaign AND user_id > behind AND state = 'waiting'
            ORDER BY user_id
            LIMIT most
              FOR UPDATE))
    RETURNING user_id
$$;

-- Return whether more were rejected than received the mail, and more than a few, of the thousand up
-- to one.
CREATE FUNCTION shop.is_mostly_rejected(campaign bigint, up_to bigint, few integer)
    RETURNS boolean
    LANGUAGE sql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT count(*) FILTER (WHERE state = 'rejected')
           > GREATEST(few, count(*) FILTER (WHERE state = 'sent'))
      FROM (SELECT state FROM shop.campaign_recipients
             WHERE campaign_id = campaign AND user_id <= up_to
             ORDER BY user_id DESC
             LIMIT 1000) AS last
$$;

-- Return whether more were refused for now than received the mail, and more than a few, of the
-- thousand up to one. Such a recipient has a job that is retried, and the answer of the server as
-- its reason.
CREATE FUNCTION shop.is_mostly_deferred(campaign bigint, up_to bigint, few integer)
    RETURNS boolean
    LANGUAGE sql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT count(*) FILTER (WHERE state = 'handed' AND reason IS NOT NULL)
           > GREATEST(few, count(*) FILTER (WHERE state = 'sent'))
      FROM (SELECT state, reason FROM shop.campaign_recipients
             WHERE campaign_id = campaign AND user_id <= up_to
             ORDER BY user_id DESC
             LIMIT 1000) AS last
$$;
