-- The people of the product, and every mail meant for somebody.
CREATE SCHEMA product;

-- `workshed.people` says more clearly what is wrong with a name or an address; the checks here are
-- for rows that come another way. None of what becomes a header may hold a line break of any kind.
CREATE TABLE product.users (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL
        CONSTRAINT users_name CHECK (
            length(name) BETWEEN 1 AND 100 AND name !~ '[[:cntrl:]\u0085\u2028\u2029]'
        ),
    email           text NOT NULL
        CONSTRAINT users_email_form CHECK (
            length(email) <= 254 AND email LIKE '%_@_%' AND email !~ '[[:cntrl:]]'
        ),
    created_at      timestamptz NOT NULL DEFAULT jobs.now(),
    welcomed_at     timestamptz,
    activated_at    timestamptz,
    unsubscribed_at timestamptz,
    -- Message id of the reminder in `jobs.schedule`, so that it can be cancelled.
    reminder_id     text
);

-- One person per address, however it is spelt.
CREATE UNIQUE INDEX users_email ON product.users (lower(email));

-- One row per mail, committed before any mail server is asked: the intent to send it.
CREATE TABLE product.emails (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL,
    -- A mail in wait must not reach somebody who left, and its text is personal data.
    user_id        bigint REFERENCES product.users ON DELETE CASCADE,
    -- What tells two mails of a kind to one person apart, such as a date; empty if there is one.
    about          text NOT NULL DEFAULT '',
    recipient      text NOT NULL
        CONSTRAINT emails_recipient CHECK (
            length(recipient) <= 254 AND recipient LIKE '%_@_%' AND recipient !~ '[[:cntrl:]]'
        ),
    recipient_name text NOT NULL
        CONSTRAINT emails_recipient_name CHECK (recipient_name !~ '[[:cntrl:]\u0085\u2028\u2029]'),
    subject        text NOT NULL
        CONSTRAINT emails_subject CHECK (
            length(subject) BETWEEN 1 AND 250 AND subject !~ '[[:cntrl:]\u0085\u2028\u2029]'
        ),
    text_body      text NOT NULL,
    html_body      text,
    -- The same on every delivery, so that a mail sent twice can be shown once.
    message_id     text NOT NULL CONSTRAINT emails_message_id UNIQUE,
    -- RabbitMQ's, high first: alerts 4, single mails 2, bulk 0.
    priority       smallint NOT NULL DEFAULT 2
        CONSTRAINT emails_priority CHECK (priority BETWEEN 0 AND 4),
    -- `unknown`: the mail was handed over and no answer came, so it may or may not have arrived.
    state          text NOT NULL DEFAULT 'pending'
        CONSTRAINT emails_state CHECK (
            state IN ('pending', 'sending', 'sent', 'unknown', 'failed')
        ),
    claim          uuid,
    claimed_until  timestamptz,
    attempts       integer NOT NULL DEFAULT 0,
    -- How often it was sent again although it may have arrived already.
    ambiguous      integer NOT NULL DEFAULT 0,
    last_error     text,
    created_at     timestamptz NOT NULL DEFAULT jobs.now(),
    sent_at        timestamptz,
    -- Each mail exists once, however often the job that wants it runs.
    CONSTRAINT emails_once UNIQUE NULLS NOT DISTINCT (kind, user_id, about),
    CONSTRAINT emails_claimed CHECK (
        (state = 'sending') = (claim IS NOT NULL) AND (claim IS NULL) = (claimed_until IS NULL)
    ),
    CONSTRAINT emails_sent CHECK ((state = 'sent') = (sent_at IS NOT NULL))
);

-- Deleting a user looks for their mails.
CREATE INDEX emails_of_user ON product.emails (user_id);

-- The backlog and what failed; sent mails are the vast majority.
CREATE INDEX emails_unsent ON product.emails (state, created_at) WHERE sent_at IS NULL;

-- Few are ever ambiguous, and each is listed and counted.
CREATE INDEX emails_ambiguous ON product.emails (id) WHERE ambiguous > 0;
