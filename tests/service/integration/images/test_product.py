"""Data of the shipped jobs is deleted when it is old, and not before."""

import pytest

from actors import maintain
from shop import retention
from workshed import db
from workshed.contrib.storage import ContentMissingError, storage


@pytest.fixture
def processed(jobs, upload, picture):
    """An attachment, and the image made from it."""
    attachment = upload(picture())
    jobs.drain()
    return attachment


def contents(attachment_id):
    query = """
        SELECT a.sha256, v.sha256 FROM shop.attachments AS a
          JOIN shop.image_variants AS v ON v.original = a.sha256 WHERE a.id = %s
    """
    with db.transaction() as conn:
        return conn.execute(query, (attachment_id,)).fetchone()


def test_contents_in_use_are_kept(jobs, processed):
    jobs.advance(days=20)

    assert not any(retention.prune_expired().values())
    for sha256 in contents(processed):
        with storage().open(sha256) as file:
            assert file.read()


def test_unused_contents_go_after_a_day_and_notifications_after_thirty(jobs, processed):
    original, variant = contents(processed)
    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.attachments")

    jobs.advance(hours=23)
    assert not any(retention.prune_expired().values())
    jobs.advance(hours=2)
    assert retention.prune_expired() == {
        "notifications": 0,
        "changes of sources": 0,
        "rows of campaigns": 0,
        "imports": 0,
        "variants": 1,
        "contents": 2,
        "drafts of contents": 0,
    }
    jobs.advance(days=30)
    assert retention.prune_expired()["notifications"] == 1

    for sha256 in (original, variant):
        with pytest.raises(ContentMissingError), storage().open(sha256):
            pass


def test_it_is_a_part_of_the_nightly_maintenance(jobs, processed, caplog):
    caplog.set_level("INFO")
    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.attachments")
    jobs.advance(days=2)

    jobs.perform(maintain)

    assert "2 contents" in caplog.text


def test_it_does_not_run_without_its_tables():
    assert maintain.options["needs"] == "shop"


def test_the_sweep_keeps_contents_that_are_stored_again(jobs, processed, stored, picture):
    original, _ = contents(processed)
    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.attachments")
    jobs.advance(days=2)

    assert stored(picture()).sha256 == original
    retention.prune_expired()

    with storage().open(original) as file:
        assert file.read() == picture()
