"""The actor that makes images, with the middleware around a job."""

import pytest

import actors
from actors import process_image
from shop import images
from workshed import db
from workshed.contrib.storage import storage
from workshed.jobs import RecordMissing
from workshed.settings import settings

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def refusal(attachment_id):
    query = "SELECT refusal FROM shop.attachments WHERE id = %s"
    with db.transaction() as conn:
        return conn.execute(query, (attachment_id,)).fetchone()[0]


def test_an_upload_becomes_an_image_and_its_user_is_notified(
    jobs, upload, picture, variants, notifications, content
):
    attachment = upload(picture(1600, 1200))

    jobs.drain()

    (variant,) = variants(attachment)
    assert (variant["media_type"], variant["width"], variant["height"]) == ("image/jpeg", 800, 600)
    assert content(variant["sha256"]).size == (800, 600)
    data = {
        "attachment_id": attachment,
        "width": 800,
        "height": 600,
        "media_type": "image/jpeg",
        "variant": variant["sha256"],
    }
    assert notifications() == [("image_processed", data)]


def test_contents_may_be_in_s3(jobs, bucket, upload, picture, variants, content, monkeypatch):
    monkeypatch.setenv("WORKSHED_STORAGE_URL", bucket.url)
    settings.cache_clear()
    attachment = upload(picture(1600, 1200))

    jobs.drain()

    (variant,) = variants(attachment)
    assert content(variant["sha256"]).size == (800, 600)
    assert len(bucket.objects()) == 2


def test_one_job_per_image_is_alive_until_it_is_executed(jobs, upload, picture, caplog):
    attachment = upload(picture())
    caplog.set_level("INFO")

    again = process_image.send(attachment)

    (waiting,) = jobs.enqueued
    assert again.message_id == waiting.message_id
    assert f"holds the unique key 'process_image:[{attachment},800,600,85]'" in caplog.text
    process_image.send(attachment, 200, 200)
    assert len(jobs.enqueued) == 2


def test_a_job_delivered_twice_makes_and_notifies_once(
    jobs, upload, picture, variants, notifications
):
    attachment = upload(picture())
    jobs.drain()

    jobs.perform(process_image, attachment)

    assert len(variants(attachment)) == 1
    assert len(notifications()) == 1


def test_the_same_content_is_decoded_once_and_both_are_notified(
    jobs, upload, picture, notifications, monkeypatch
):
    upload(picture())
    jobs.drain()
    monkeypatch.setattr(images.conversion.decoder, "decode", pytest.fail)

    upload(picture(), "copy.jpg")
    jobs.drain()

    assert [event for event, _ in notifications()] == ["image_processed"] * 2


@pytest.mark.parametrize(
    ("image_format", "media_type"),
    [("jpeg", "image/jpeg"), ("webp", "image/webp"), ("avif", "image/avif")],
)
def test_the_format_is_a_setting(
    jobs, upload, picture, variants, monkeypatch, image_format, media_type
):
    monkeypatch.setenv("SHOP_IMAGE_FORMAT", image_format)
    settings.cache_clear()
    attachment = upload(picture())

    jobs.drain()

    assert variants(attachment)[0]["media_type"] == media_type


@pytest.mark.parametrize(
    ("bytes_", "filename", "reason"),
    [
        (b"", "photo.jpg", "0 bytes"),
        (SVG, "drawing.svg", "SVG"),
        (b"GIF89a", "photo.gif", ""),
        (b"no image", "photo.jpg", ""),
    ],
)
def test_other_files_are_discarded_with_the_reason(
    jobs, upload, notifications, bytes_, filename, reason
):
    attachment = upload(bytes_, filename)

    with jobs.expect_discard(reason):
        jobs.drain()

    assert jobs.enqueued == []
    assert jobs.dead == []
    assert reason in refusal(attachment)
    assert notifications() == [
        ("image_refused", {"attachment_id": attachment, "reason": refusal(attachment)})
    ]


def test_a_photo_with_a_trailer_and_another_name_is_made_and_noted(
    jobs, upload, picture, variants, caplog
):
    caplog.set_level("INFO", "shop.images.conversion")
    attachment = upload(picture() + b"MRM" * 100, "photo.png")

    jobs.drain()

    assert len(variants(attachment)) == 1
    assert [record.message for record in caplog.records] == [
        f"attachment {attachment}: it is named .png and is a JPEG",
        f"attachment {attachment}: 300 bytes follow the end of the JPEG at {len(picture())}",
    ]


def test_the_settings_let_a_jpeg_have_more_pixels_than_others(
    jobs, upload, picture, variants, monkeypatch
):
    """For example a photo of 48 megapixels, which takes no more memory than a small PNG."""
    monkeypatch.setenv("SHOP_IMAGE_MAX_PIXELS", "1000000")
    monkeypatch.setenv("SHOP_IMAGE_MAX_JPEG_PIXELS", "2000000")
    settings.cache_clear()
    allowed, too_large = upload(picture(1600, 1200)), upload(picture(2000, 1500))

    jobs.drain()

    assert refusal(allowed) is None
    assert len(variants(allowed)) == 1
    assert refusal(too_large) == "it has 3000000 pixels; at most 2000000 are allowed"


@pytest.mark.parametrize("strict", [False, True])
def test_the_same_bytes_get_the_same_answer_whatever_was_made_before(
    jobs, upload, picture, variants, monkeypatch, strict
):
    """In strict mode the name counts too, even if the content is already known."""
    monkeypatch.setenv("SHOP_IMAGE_STRICT", str(strict))
    settings.cache_clear()
    misnamed = upload(picture(), "photo.png")
    jobs.drain()
    upload(picture(), "photo.jpg")
    jobs.drain()
    again = upload(picture(), "photo.png")
    jobs.drain()

    said = "it is named .png and is a JPEG" if strict else None
    assert [refusal(misnamed), refusal(again)] == [said, said]


def test_a_refusal_delivered_twice_notifies_once(jobs, upload, notifications):
    attachment = upload(b"")
    jobs.drain()

    jobs.perform(process_image, attachment)

    assert len(notifications()) == 1


def test_a_refused_one_that_is_replaced_is_made(jobs, upload, replace, picture, variants):
    attachment = upload(b"")
    jobs.drain()

    replace(attachment, picture())
    jobs.drain()

    assert refusal(attachment) is None
    assert len(variants(attachment)) == 1


def test_one_that_is_replaced_while_it_is_decoded_records_only_the_new_one(
    jobs, upload, replace, picture, variants, notifications, content, monkeypatch
):
    attachment = upload(picture(color="red"))
    make, others = images.convert_image, [picture(color="blue")]

    def replaced_meanwhile(*args):
        made = make(*args)
        while others:
            replace(attachment, others.pop())
        return made

    monkeypatch.setattr(images, "convert_image", replaced_meanwhile)
    jobs.drain()

    (variant,) = variants(attachment)
    red, _, blue = content(variant["sha256"]).getpixel((0, 0))
    assert blue > red
    assert [data["variant"] for _, data in notifications()] == [variant["sha256"]]
    with db.transaction() as conn:
        assert conn.execute("SELECT count(*) FROM shop.image_variants").fetchone() == (1,)


def test_a_replaced_one_is_not_refused_for_what_it_held(
    jobs, upload, replace, picture, notifications, monkeypatch
):
    attachment = upload(b"")
    make, others = images.convert_image, [picture()]

    def replaced_meanwhile(*args):
        while others:
            replace(attachment, others.pop())
        return make(*args)

    monkeypatch.setattr(images, "convert_image", replaced_meanwhile)
    jobs.drain()

    assert refusal(attachment) is None
    assert [event for event, _ in notifications()] == ["image_processed"]


def test_one_that_is_replaced_between_its_record_and_its_end_is_made_again(
    jobs, upload, replace, picture, variants, content, monkeypatch
):
    """An ordinary send would not get the unique key, which the old job still holds."""
    attachment = upload(picture(color="red"))
    emit_after, others = jobs._broker.emit_after, [picture(color="blue")]

    def replaced_first(*args, **kwargs):
        while others:
            replace(attachment, others.pop())
        emit_after(*args, **kwargs)

    monkeypatch.setattr(jobs._broker, "emit_after", replaced_first)
    jobs.drain()

    (variant,) = variants(attachment)
    red, _, blue = content(variant["sha256"]).getpixel((0, 0))
    assert blue > red


def test_replacing_makes_all_earlier_variants_again(jobs, upload, replace, picture, variants):
    attachment = upload(picture(color="red"))
    process_image.send(attachment, 100, 100, 50)
    jobs.drain()

    replace(attachment, picture(color="blue"))
    jobs.drain()

    assert [(v["box_width"], v["quality"]) for v in variants(attachment)] == [(100, 50), (800, 85)]


def test_an_attachment_that_is_gone_is_discarded(jobs, upload, picture):
    attachment = upload(picture())
    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.attachments")

    with jobs.expect_discard(f"attachment {attachment} does not exist"):
        jobs.drain()


def test_one_that_goes_while_it_is_decoded_is_discarded(
    jobs, upload, picture, notifications, monkeypatch
):
    attachment = upload(picture())
    make = images.convert_image

    def gone_meanwhile(*args):
        with db.transaction() as conn:
            conn.execute("DELETE FROM shop.attachments")
        return make(*args)

    monkeypatch.setattr(images, "convert_image", gone_meanwhile)
    with jobs.expect_discard(f"attachment {attachment} does not exist"):
        jobs.drain()

    assert notifications() == []


def test_a_content_that_is_not_there_is_looked_for_again(jobs, upload, picture, variants):
    content = picture()
    attachment = upload(content)
    with db.transaction() as conn:
        sha256 = images.get_original(conn, attachment).sha256
    storage().delete(sha256)

    with jobs.expect_retry():
        jobs.drain()

    assert variants(attachment) == []


@pytest.mark.parametrize("box", [(0, 600, 85), (800, 20_000, 85), (800, 600, 0), (800, 600, 101)])
def test_a_box_that_makes_no_sense_is_dead_at_once(jobs, upload, picture, box):
    attachment = upload(picture())
    jobs.drain()

    with pytest.raises(images.InvalidOptionsError):
        jobs.perform(process_image, attachment, *box)

    assert len(jobs.dead) == 1


def test_an_upload_of_an_unknown_user_stores_nothing(jobs, stored, picture):
    blob = stored(picture())

    with pytest.raises(RecordMissing), db.transaction() as conn:
        actors.attach_image(conn, 404, "photo.jpg", blob)

    assert jobs.enqueued == []


def test_an_upload_is_stored_with_its_job_or_not_at_all(jobs, user, stored, picture):
    """An attachment without its job would never become an image."""
    blob = stored(picture())

    def attach_and_fail():
        with db.transaction() as conn:
            actors.attach_image(conn, user.id, "photo.jpg", blob)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        attach_and_fail()

    with db.transaction() as conn:
        assert conn.execute("SELECT count(*) FROM shop.attachments").fetchone() == (0,)
    assert jobs.enqueued == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("C:\\Users\\ada\\photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a\0b\n.png", "a\ufffdb\ufffd.png"),
        ("", "unnamed"),
        ("x" * 300 + ".webp", "x" * 250 + ".webp"),
        ("photo\ud800.jpg", "photo\ufffd.jpg"),
    ],
)
def test_a_name_that_cannot_be_shown_is_made_one_that_can(upload, picture, given, kept):
    attachment = upload(picture(), given)

    with db.transaction() as conn:
        assert images.get_original(conn, attachment).filename == kept
