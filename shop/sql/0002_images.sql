-- What people upload, and the images made of it.

CREATE TABLE product.attachments (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     bigint NOT NULL REFERENCES product.users ON DELETE CASCADE,
    filename    text NOT NULL
        CONSTRAINT attachments_filename CHECK (
            length(filename) BETWEEN 1 AND 255 AND filename !~ '[[:cntrl:]/\u0085\u2028\u2029]'
        ),
    -- What it holds now; replacing it changes this.
    sha256      text NOT NULL REFERENCES workshed_storage.blobs,
    created_at  timestamptz NOT NULL DEFAULT jobs.now(),
    replaced_at timestamptz,
    -- Why no image can be made of what it holds now.
    refusal     text,
    refused_at  timestamptz,
    CONSTRAINT attachments_refused CHECK ((refusal IS NULL) = (refused_at IS NULL))
);

CREATE INDEX attachments_of_user ON product.attachments (user_id, id);

-- Whose a content is, and whether it is anybody's.
CREATE INDEX attachments_of_blob ON product.attachments (sha256);

-- One row per original and all that decides what is made of it: the same work is not done twice,
-- whoever uploads the same picture, and a new codec makes new rows beside the old ones.
CREATE TABLE product.image_variants (
    original   text NOT NULL REFERENCES workshed_storage.blobs,
    -- The box it fits within, in pixels, and the quality asked for, 1 to 100.
    box_width  integer NOT NULL,
    box_height integer NOT NULL,
    quality    smallint NOT NULL,
    -- The format asked for; what it became is in `media_type`.
    format     text NOT NULL,
    codec      text NOT NULL,
    sha256     text NOT NULL REFERENCES workshed_storage.blobs,
    media_type text NOT NULL,
    width      integer NOT NULL,
    height     integer NOT NULL,
    frames     integer NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT jobs.now(),
    CONSTRAINT image_variants_options CHECK (
        box_width > 0 AND box_height > 0 AND quality BETWEEN 1 AND 100
    ),
    CONSTRAINT image_variants_fit CHECK (
        width BETWEEN 1 AND box_width AND height BETWEEN 1 AND box_height AND frames > 0
    ),
    PRIMARY KEY (original, box_width, box_height, quality, format, codec)
);

-- Whether a content is some variant's.
CREATE INDEX image_variants_of_blob ON product.image_variants (sha256);
