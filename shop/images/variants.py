"""The images that were made, each from one original and one set of options."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib.metadata import version

from psycopg.rows import class_row

from shop.images import attachments
from shop.images.attachments import Original
from shop.images.options import Options
from shop.people.user_notifications import notify_user
from shop.pixels import CODEC as OURS
from workshed.db import Connection

CODEC = f"{OURS}-{version('pillow')}"
"""Changes with `shop.pixels.CODEC` and with the version of Pillow. The next request for a variant
then makes it again."""


@dataclass(frozen=True, slots=True)
class Variant:
    """An image that was made: its content, and its size in pixels."""

    sha256: str
    media_type: str
    width: int
    height: int
    frames: int


def find_variant(conn: Connection, original: Original, options: Options) -> Variant | None:
    """Return the variant that was made from this content before, whichever user uploaded it."""
    query = """
        SELECT sha256, media_type, width, height, frames
          FROM shop.image_variants
         WHERE original = %(original)s AND box_width = %(width)s AND box_height = %(height)s
           AND quality = %(quality)s AND format = %(format)s AND codec = %(codec)s
    """
    row = {**asdict(options), "original": original.sha256, "codec": CODEC}
    with conn.cursor(row_factory=class_row(Variant)) as cur:
        return cur.execute(query, row).fetchone()


def record_variant(
    conn: Connection, original: Original, options: Options, variant: Variant
) -> None:
    """Store a variant of the attachment's current content, and notify its user, once.

    Raises `RecordMissing`, and `Snooze` if the content was replaced in the meantime; then nothing
    is stored.
    """
    attachments.lock_unchanged(conn, original)
    query = """
        INSERT INTO shop.image_variants (original, box_width, box_height, quality, format, codec,
                                            sha256, media_type, width, height, frames)
        VALUES (%(original)s, %(box_width)s, %(box_height)s, %(quality)s, %(format)s, %(codec)s,
                %(sha256)s, %(media_type)s, %(width)s, %(height)s, %(frames)s)
            ON CONFLICT DO NOTHING
    """
    box = {"box_width": options.width, "box_height": options.height}
    made = {**asdict(options), **asdict(variant), **box, "codec": CODEC}
    conn.execute(query, {**made, "original": original.sha256})
    data = {
        "attachment_id": original.attachment_id,
        "width": variant.width,
        "height": variant.height,
        "media_type": variant.media_type,
        "variant": variant.sha256,
    }
    notify_user(
        conn, original.user_id, "image_processed", data, key=_notification_key(original, options)
    )


def delete_orphaned_variants(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete variants whose original no attachment has any more; return how many.

    Only originals that were stored so long ago are considered, because a recent one may be about to
    be attached. Afterwards the contents can be swept.
    """
    query = """
        DELETE FROM shop.image_variants
         WHERE ctid = ANY (ARRAY(
               SELECT v.ctid
                 FROM shop.image_variants v
                 JOIN workshed_storage.blobs b ON b.sha256 = v.original
                WHERE b.stored_at < workshed.now() - %(older_than)s
                  AND NOT EXISTS (
                      SELECT FROM shop.attachments a WHERE a.sha256 = v.original)
                LIMIT %(limit)s
                  FOR UPDATE OF b SKIP LOCKED))
    """
    return conn.execute(query, {"older_than": older_than, "limit": limit}).rowcount


def _notification_key(original: Original, options: Options) -> str:
    """Return the notification's key: one per attachment, content, options and codec."""
    what = f"{options.width}x{options.height}q{options.quality}.{options.format}.{CODEC}"
    return f"image_processed:{original.attachment_id}:{original.sha256}:{what}"
