"""Make images of uploads, and notify the browsers of their users."""

from datetime import timedelta

from middleware.uniqueness import ONE_IMAGE
from shop import images
from shop.images import Blob
from shop.settings import settings
from workshed import actor, db, schedule
from workshed.db import Connection

DEFAULT_BOX = (800, 600, 85)
"""The box, in pixels, and the quality of the image that is made of every upload."""


@actor(
    queue="images",
    time_limit=timedelta(minutes=6),
    unique=ONE_IMAGE,
    discard_on=images.ImageRefusedError,
)
def process_image(
    attachment_id: int, width: int = 800, height: int = 600, quality: int = 85
) -> None:
    """Make an image of an attachment that fits within a box, and notify its user's browser.

    Idempotent: an image is made once per content and options, and its user is notified once.
    On crash: image and notification commit together; a file without a row is swept after a day. An
    attachment that is replaced meanwhile is processed again.
    """
    options = images.Options(width, height, quality, settings().image_format)
    with db.transaction() as conn:
        original = images.get_original(conn, attachment_id)
        # In strict mode the name counts, too, so an image of the same content proves nothing.
        strict = settings().image_strict
        variant = None if strict else images.find_variant(conn, original, options)
    try:
        variant = variant or images.convert_image(original, options)
    except images.ImageRefusedError as refusal:
        with db.transaction() as conn:
            images.record_refusal(conn, original, refusal.reason)
        raise
    with db.transaction() as conn:
        images.record_variant(conn, original, options, variant)


def attach_image(conn: Connection, user_id: int, filename: str, blob: Blob) -> int:
    """Store an upload and send its job, both in the caller's transaction; return its id.

    Raises `RecordMissing` if the user does not exist.
    """
    attachment_id = images.create_attachment(conn, user_id, filename, blob.sha256)
    schedule.send(conn, process_image.message(attachment_id))
    return attachment_id


def replace_image(conn: Connection, attachment_id: int, filename: str, blob: Blob) -> None:
    """Give an attachment a new content, and make the same images of it as of the old one.

    Jobs for the old content are ended, because their keys would block the new jobs.
    """
    before = images.replace_content(conn, attachment_id, filename, blob.sha256)
    for box in {DEFAULT_BOX, *((made.width, made.height, made.quality) for made in before)}:
        args = (attachment_id, *box)
        schedule.send(conn, process_image.message_with_options(args=args, on_conflict="replace"))
