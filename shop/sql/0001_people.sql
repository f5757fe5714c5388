-- The people of the product.
CREATE SCHEMA product;

-- `shop.people` says more clearly what is wrong with a name or an address; the checks here are
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

-- Mails and notifications name a person by this id, and have no foreign key to it. What waits must not
-- reach somebody who left, and its text is personal data. As the owner of the tables, like a cascade.
CREATE FUNCTION product.forget_user() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM workshed_mail.emails WHERE user_id = OLD.id::text;
    DELETE FROM workshed_notifications.inboxes WHERE user_id = OLD.id::text;
    DELETE FROM workshed_notifications.notifications WHERE user_id = OLD.id::text;
    RETURN NULL;
END $$;

-- Or everybody could make it the trigger of a table of theirs.
REVOKE EXECUTE ON FUNCTION product.forget_user() FROM PUBLIC;

CREATE TRIGGER users_deleted AFTER DELETE ON product.users
    FOR EACH ROW EXECUTE FUNCTION product.forget_user();
