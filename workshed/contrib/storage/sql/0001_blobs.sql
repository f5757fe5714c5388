-- What is kept in the storage: one row for each content.
CREATE SCHEMA workshed_storage;

-- A content is named by its SHA-256. The row is committed before the content is written, and deleted,
-- under its lock, after the content is: so a content without a row cannot exist, and one that is
-- stored again while it is deleted waits for the deletion, and is then written again.
--
-- Refer to a content by a foreign key to this table, from any table: a content to which a row refers
-- is kept, and all others are deleted some time after they were last stored.
CREATE TABLE workshed_storage.blobs (
    sha256     text PRIMARY KEY CONSTRAINT blobs_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size_bytes bigint NOT NULL CONSTRAINT blobs_size CHECK (size_bytes >= 0),
    -- When it was last stored.
    stored_at  timestamptz NOT NULL DEFAULT workshed.now()
);

-- Contents are deleted by age.
CREATE INDEX blobs_stored ON workshed_storage.blobs (stored_at);
