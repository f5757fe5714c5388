-- What a listing names that cannot be synced: skipped, and listed for people.

-- How many items the listing has named so far, and how many of them were skipped.
ALTER TABLE product.sync_sources ADD COLUMN listing_named bigint NOT NULL DEFAULT 0;
ALTER TABLE product.sync_sources ADD COLUMN listing_skipped bigint NOT NULL DEFAULT 0;

CREATE TABLE product.sync_skipped (
    source  text NOT NULL REFERENCES product.sync_sources ON DELETE CASCADE,
    -- The item as JSON, as far as it is shown.
    item    text NOT NULL,
    reason  text NOT NULL,
    -- The last listing that had it.
    listing bigint NOT NULL,
    -- When it was seen first.
    since   timestamptz NOT NULL DEFAULT jobs.now(),
    PRIMARY KEY (source, item)
);
