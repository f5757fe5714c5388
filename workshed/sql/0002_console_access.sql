-- -------------------------------------------------------------------------------------------------
-- Who is in the console, and who tries to get in
-- -------------------------------------------------------------------------------------------------

-- One row per session of a user who has logged in with a password. A session ends when its row is
-- deleted: at the logout, by its user, or by an operator.
CREATE TABLE workshed.console_sessions (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- SHA-256 of the random token in the cookie. The token is too long to be guessed, so it needs no
    -- slow hash, and a copy of this table lets no one in.
    token_hash bytea NOT NULL CONSTRAINT console_sessions_token_hash UNIQUE,
    -- Signed with WORKSHED_SECRET_KEY: the token's hash with the user's name, role and password hash.
    -- A role that may write this table can therefore make no session and change no session's user,
    -- and every session of a user ends when the user's entry in the settings changes.
    proof      text NOT NULL,
    user_name  text NOT NULL,
    -- Where the user logged in.
    address    text NOT NULL,
    browser    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT workshed.now(),
    -- When the user last requested a page, give or take a minute.
    seen_at    timestamptz NOT NULL DEFAULT workshed.now(),
    -- Requests move it on, up to a fixed age of the session.
    expires_at timestamptz NOT NULL
);

CREATE INDEX console_sessions_user ON workshed.console_sessions (user_name, created_at);

-- Maintenance deletes those that have expired.
CREATE INDEX console_sessions_expired ON workshed.console_sessions (expires_at);

-- How many logins failed in each minute, by address, by name and by browser. A table of its own,
-- because `counters` also has the limits of jobs, which the role of the console may not write. It
-- replaces `workshed.count_login`, which stays for consoles of the release before.
CREATE TABLE workshed.login_failures (
    key    text NOT NULL,
    minute timestamptz NOT NULL,
    count  bigint NOT NULL CHECK (count > 0),
    PRIMARY KEY (key, minute)
);

-- Maintenance deletes those that no limit looks at any more.
CREATE INDEX login_failures_minute ON workshed.login_failures (minute);

-- A page of the audit without the logins, of which strangers can cause many.
CREATE INDEX audit_without_logins ON workshed.audit (id) WHERE NOT starts_with(action, 'console.');

-- Write a login, a failed or refused one, or a logout into the audit. SECURITY DEFINER, because a
-- console may connect as a role that changes nothing, and its logins are audited all the same. Such
-- a role can forge these entries, but none about what operators did.
CREATE FUNCTION workshed.audit_login(
    performed_by text, action text, details jsonb, count bigint, summary text
) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry bigint;
BEGIN
    IF action <> ALL (ARRAY['console.login', 'console.login_failed', 'console.login_refused',
                            'console.logout']) THEN
        RAISE EXCEPTION 'workshed.audit_login does not record the action %', action
              USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO workshed.audit AS a (performed_by, action, details, count, summary)
    VALUES (audit_login.performed_by, audit_login.action, audit_login.details, audit_login.count,
            audit_login.summary)
    RETURNING a.id INTO entry;
    RETURN entry;
END
$$;

REVOKE EXECUTE ON FUNCTION workshed.audit_login FROM PUBLIC;
