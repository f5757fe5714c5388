"""Make images of what people upload, and tell their browsers."""

import dramatiq

from middleware.uniqueness import ONE_IMAGE
from shop import images
from shop.images import Blob
from shop.settings import settings
from workshed import broker, db, schedule
from workshed.db import Connection
from workshed.duration import ms

USUAL = (800, 600, 85)
"""The box of what is made of every upload, in pixels, and its quality."""


@dramatiq.actor(
    broker=broker,
    queue_name="images",
    time_limit=ms(minutes=6),
    unique=ONE_IMAGE,
    discard_on=images.ImageRefusedError,
)
def process_image(
    attachment_id: int, width: int = 800, height: int = 600, quality: int = 85
) -> None:
    """Make an image of an attachment that fits within a box, and tell its user's browser.

    Idempotent: an image is made once per content and options, and its user is notified once.
    On crash: image and notification commit together; a file without a row is swept after a day. An
    attachment that is replaced meanwhile is looked at again.
    """
    options = images.Options(width, height, quality, settings().image_format)
    with db.transaction() as conn:
        original = images.find(conn, attachment_id)
        # Strictly the name counts, too, and an image of the same content says nothing about that.
        strict = settings().image_strict
        variant = None if strict else images.find_variant(conn, original, options)
    try:
        variant = variant or images.make(original, options)
    except images.ImageRefusedError as refusal:
        with db.transaction() as conn:
            images.refuse(conn, original, refusal.reason)
        raise
    with db.transaction() as conn:
        images.record(conn, original, options, variant)


def attach_image(conn: Connection, user_id: int, filename: str, blob: Blob) -> int:
    """Store an upload and send its job, both in the caller's transaction; return its id.

    Raises `RecordMissing` when there is no such person.
    """
    attachment_id = images.attach(conn, user_id, filename, blob.sha256)
    schedule.send(conn, process_image.message(attachment_id))
    return attachment_id


def replace_image(conn: Connection, attachment_id: int, filename: str, blob: Blob) -> None:
    """Let an attachment hold another content, and make of it what was made of the one before.

    What is still being made of that is ended: its key must not keep the new job away.
    """
    before = images.replace(conn, attachment_id, filename, blob.sha256)
    for box in {USUAL, *((made.width, made.height, made.quality) for made in before)}:
        args = (attachment_id, *box)
        schedule.send(conn, process_image.message_with_options(args=args, on_conflict="replace"))
