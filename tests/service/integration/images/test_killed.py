"""The job may be killed at any line and redelivered: everything is made and sent once."""

import hashlib

import pytest

from actors import process_image
from shop import images, people
from workshed import db
from workshed.contrib.storage import storage
from workshed.settings import settings

pytestmark = pytest.mark.one_in(3)  # a kill at every line, each in its own process

MOST_LINES = 1_000


@pytest.fixture
def attach(database, broker, tmp_path, monkeypatch, picture):
    """`attach(7)`: store an attachment with unique content, without a job."""
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    settings.cache_clear()
    with db.transaction() as conn:
        user = people.create(conn, name="Ada", email="ada@example.org")

    def attach(number):
        with storage().draft() as draft:
            draft.write(picture(1000 + number, 1000))
            blob = images.keep(draft)
        with db.transaction() as conn:
            return images.create_attachment(conn, user.id, "photo.jpg", blob.sha256)

    return attach


def one(query, *args):
    with db.transaction() as conn:
        return conn.execute(query, args).fetchone()[0]


@pytest.mark.timeout(3600)
def test_a_job_that_is_killed_at_any_line_ends_the_second_time(
    attach, killed, scale, lane, tmp_path
):
    """At full scale it is killed at each line, otherwise at a few."""
    step = lane(sample=60, exhaustive=31 - scale(30))
    for line in range(1, MOST_LINES, step):
        attachment = attach(line)

        ended = killed(line, "process_image", attachment)
        process_image.fn(attachment)

        made = one(
            """SELECT v.sha256 FROM shop.image_variants AS v
                 JOIN shop.attachments AS a ON a.sha256 = v.original WHERE a.id = %s""",
            attachment,
        )
        with storage().open(made) as file:
            assert hashlib.sha256(file.read()).hexdigest() == made
        notification_count = """
            SELECT count(*) FROM workshed_notifications.notifications
             WHERE data->>'attachment_id' = %s
        """
        assert one(notification_count, str(attachment)) == 1
        if ended:
            break
    else:
        pytest.fail("it never came to its end")
    assert one("SELECT count(*) FROM shop.image_variants") == (line - 1) // step + 1
    assert line > 50
    names = {file.name for file in (tmp_path / "contents").rglob("*") if len(file.name) == 64}
    for name in names:
        with storage().open(name) as file:
            assert hashlib.sha256(file.read()).hexdigest() == name
