-- Mails, their files, and the mail servers that take them.
DO $$ BEGIN
    IF to_regclass('workshed_storage.blobs') IS NULL THEN
        RAISE EXCEPTION 'the files of mails are kept by workshed.contrib.storage, whose tables are missing'
            USING HINT = 'Name `workshed_storage` before `workshed_mail` in `migrations` of your App.';
    END IF;
END $$;

CREATE SCHEMA workshed_mail;

-- One row per mail, committed before any mail server is asked: the intent to send it.
CREATE TABLE workshed_mail.emails (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind                text NOT NULL
        CONSTRAINT emails_kind CHECK (kind ~ '^[a-z][a-z0-9_]{0,62}$'),
    -- Who it is for: an id of the application's. NULL if the address belongs to no user.
    user_id             text CONSTRAINT emails_user_id CHECK (user_id <> ''),
    -- Tells two mails of a kind to one person apart, such as a date; empty if there is only one.
    about               text NOT NULL DEFAULT '',
    recipient           text NOT NULL
        CONSTRAINT emails_recipient CHECK (
            length(recipient) <= 254 AND recipient LIKE '%_@_%' AND recipient !~ '[[:cntrl:]]'
        ),
    recipient_name      text NOT NULL
        CONSTRAINT emails_recipient_name CHECK (recipient_name !~ '[[:cntrl:]\u0085\u2028\u2029]'),
    subject             text NOT NULL
        CONSTRAINT emails_subject CHECK (
            length(subject) BETWEEN 1 AND 250 AND subject !~ '[[:cntrl:]\u0085\u2028\u2029]'
        ),
    text_body           text NOT NULL,
    html_body           text,
    -- The same on every delivery, so that a mail sent twice can be shown once.
    message_id          text NOT NULL CONSTRAINT emails_message_id UNIQUE,
    -- RabbitMQ's, high first: alerts 4, single mails 2, bulk 0.
    priority            smallint NOT NULL DEFAULT 2
        CONSTRAINT emails_priority CHECK (priority BETWEEN 0 AND 4),
    -- `unknown`: the mail was handed over and no answer came, so it may or may not have arrived.
    state               text NOT NULL DEFAULT 'pending'
        CONSTRAINT emails_state CHECK (
            state IN ('pending', 'sending', 'sent', 'unknown', 'failed')
        ),
    claim               uuid,
    claimed_until       timestamptz,
    attempts            integer NOT NULL DEFAULT 0,
    -- How often it was sent again although it may have arrived already.
    possible_duplicates integer NOT NULL DEFAULT 0,
    last_error          text,
    -- Of an unknown one: it may have arrived twice already, and an operator decides whether it is
    -- sent once more.
    held_at             timestamptz,
    created_at          timestamptz NOT NULL DEFAULT workshed.now(),
    sent_at             timestamptz,
    -- Each mail exists once, however often the job that wants it runs.
    CONSTRAINT emails_once UNIQUE NULLS NOT DISTINCT (kind, user_id, about),
    CONSTRAINT emails_claimed CHECK (
        (state = 'sending') = (claim IS NOT NULL) AND (claim IS NULL) = (claimed_until IS NULL)
    ),
    CONSTRAINT emails_sent CHECK ((state = 'sent') = (sent_at IS NOT NULL))
);

-- The mails of somebody who leaves are deleted.
CREATE INDEX emails_of_user ON workshed_mail.emails (user_id);

-- The backlog and what failed; sent mails are the vast majority.
CREATE INDEX emails_unsent ON workshed_mail.emails (state, created_at) WHERE sent_at IS NULL;

-- Few mails are ever in doubt. All are listed and counted.
CREATE INDEX emails_in_doubt ON workshed_mail.emails (id) WHERE possible_duplicates > 0;

-- Few are ever held, and each is listed and counted.
CREATE INDEX emails_held ON workshed_mail.emails (id) WHERE held_at IS NOT NULL;

-- The files of a mail; a hundred mails with the same one share its content.
CREATE TABLE workshed_mail.email_files (
    email_id   bigint NOT NULL REFERENCES workshed_mail.emails ON DELETE CASCADE,
    -- From 1, as they stand in the mail.
    position   smallint NOT NULL CONSTRAINT email_files_position CHECK (position > 0),
    filename   text NOT NULL
        CONSTRAINT email_files_filename CHECK (
            length(filename) BETWEEN 1 AND 255 AND filename !~ '[[:cntrl:]/\u0085\u2028\u2029]'
        ),
    media_type text NOT NULL
        CONSTRAINT email_files_media_type CHECK (media_type ~ '^[a-z]+/[a-z0-9.+-]+$'),
    -- By which the HTML shows it; null for what is attached.
    content_id text
        CONSTRAINT email_files_content_id CHECK (content_id ~ '^[A-Za-z0-9._-]+@[A-Za-z0-9.-]+$'),
    sha256     text NOT NULL REFERENCES workshed_storage.blobs,
    PRIMARY KEY (email_id, position)
);

-- Whether a content is some mail's.
CREATE INDEX email_files_of_blob ON workshed_mail.email_files (sha256);

-- Mail servers: one that is in trouble is left alone for a while.
CREATE TABLE workshed_mail.mail_servers (
    -- `host:port`, or the folder that mails are written to.
    name               text PRIMARY KEY,
    -- Mails in a row that met trouble of the server, since when, and its words.
    failures           integer NOT NULL DEFAULT 0,
    failing_since      timestamptz,
    last_error         text,
    -- The circuit breaker: when it opened, and until when no mail is sent.
    circuit_opened_at  timestamptz,
    circuit_open_until timestamptz,
    -- When the one mail was sent that probes the server after that; no other is sent until its
    -- outcome is known.
    probe_at           timestamptz,
    CONSTRAINT mail_servers_failing CHECK ((failures > 0) = (failing_since IS NOT NULL)),
    CONSTRAINT mail_servers_circuit CHECK ((circuit_opened_at IS NULL) = (circuit_open_until IS NULL)),
    CONSTRAINT mail_servers_probe CHECK (probe_at IS NULL OR circuit_opened_at IS NOT NULL)
);
