-- Files of people that users hand in, row by row.

-- Who came with an import keeps its number, also when the import itself was deleted.
ALTER TABLE product.users ADD COLUMN imported_from bigint;

CREATE TABLE product.imports (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner_id   bigint NOT NULL REFERENCES product.users ON DELETE CASCADE,
    filename   text NOT NULL
        CONSTRAINT imports_filename CHECK (
            length(filename) BETWEEN 1 AND 255 AND filename !~ '[[:cntrl:]/\u0085\u2028\u2029]'
        ),
    -- What is read, whatever becomes of the file that was handed in.
    sha256     text NOT NULL REFERENCES workshed_storage.blobs,
    -- The names of its columns as they stand there, once they were read.
    header     text[],
    -- Whether each who is imported is sent a welcome mail.
    welcome    boolean NOT NULL DEFAULT false,
    -- Whether it was asked for although its owner had imported this content before.
    again      boolean NOT NULL DEFAULT false,
    -- `pending`: the file is read; `processing`: its rows become users.
    state      text NOT NULL DEFAULT 'pending'
        CONSTRAINT imports_state CHECK (state IN ('pending', 'processing', 'completed', 'failed')),
    -- How many rows are in `import_rows`, from the first on; the file has no more once it is read.
    landed     bigint NOT NULL DEFAULT 0,
    -- For how many of them, from the first on, jobs were sent.
    handed_out bigint NOT NULL DEFAULT 0,
    -- How many rows the file has; known once it is read.
    total      bigint,
    succeeded  bigint NOT NULL DEFAULT 0,
    failed     bigint NOT NULL DEFAULT 0,
    -- Why it failed as a whole.
    error      text,
    created_at timestamptz NOT NULL DEFAULT jobs.now(),
    ended_at   timestamptz,
    CONSTRAINT imports_handed_out CHECK (handed_out BETWEEN 0 AND landed),
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

-- The same file is taken once, unless its owner insists or it could not be read.
CREATE UNIQUE INDEX imports_once ON product.imports (owner_id, sha256)
    WHERE state <> 'failed' AND NOT again;

-- Whether a content is some import's.
CREATE INDEX imports_of_blob ON product.imports (sha256);

-- Imports are deleted by age.
CREATE INDEX imports_ended ON product.imports (ended_at);

-- No foreign key: it would be asked for each of a million rows. A trigger deletes them instead.
-- Each row is written twice, and half of each page is left for that.
CREATE TABLE product.import_rows (
    import_id bigint NOT NULL,
    -- From 1, without the header.
    number    bigint NOT NULL,
    -- Where the row begins in the file, from 1.
    line      bigint NOT NULL,
    -- Who it is about; null where it cannot become a user.
    name      text,
    email     text,
    -- What stood in the file, of a row that cannot.
    fields    text[],
    -- Null until its job has run.
    outcome   text CONSTRAINT import_rows_outcome CHECK (outcome IN ('succeeded', 'failed')),
    -- What kind of thing is wrong with it, and in words; of some known before its job has run.
    problem   text,
    reason    text,
    user_id   bigint,
    PRIMARY KEY (import_id, number),
    CONSTRAINT import_rows_person CHECK ((name IS NULL) = (email IS NULL)),
    CONSTRAINT import_rows_fields CHECK ((fields IS NULL) = (email IS NOT NULL)),
    CONSTRAINT import_rows_problem CHECK ((problem IS NULL) = (reason IS NULL)),
    CONSTRAINT import_rows_succeeded CHECK (
        outcome IS NULL OR (outcome = 'succeeded') = (problem IS NULL)
    )
) WITH (fillfactor = 50);

-- Which row of an import was the first with an address.
CREATE INDEX import_rows_address ON product.import_rows (import_id, lower(email), number)
    WHERE email IS NOT NULL;

CREATE FUNCTION product.delete_import_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM product.import_rows WHERE import_id = OLD.id;
    RETURN NULL;
END $$;

CREATE TRIGGER imports_deleted AFTER DELETE ON product.imports
    FOR EACH ROW EXECUTE FUNCTION product.delete_import_rows();
