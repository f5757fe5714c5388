"""The example of docs/images.md, run as printed, and its list of settings."""

import http.client
import io
import re

from PIL import Image

from shop import people
from shop.people.user_notifications import notify_user
from tests import pages
from tests.service.integration.notifications.served import Served
from tests.service.variables import NAMES
from tests.transcripts import begin
from workshed import db
from workshed.contrib import notifications

PAGE = pages.text("docs/images.md")
[(NAME, TEXT)] = pages.files("docs/images.md").items()
SERVED = pages.block("docs/images.md", "export WORKSHED_SECRET_KEY")
TELL = pages.block("docs/images.md", "notify(")


def test_an_upload_of_the_page_becomes_an_image(
    tmp_path, run, environment, broker, start_worker, count, eventually
):
    (tmp_path / NAME).write_text(TEXT)
    file = io.BytesIO()
    Image.new("RGB", (1600, 1200), "red").save(file, "JPEG")
    (tmp_path / "photo.jpg").write_bytes(file.getvalue())
    with db.transaction() as conn:
        user = people.create(conn, name="Ada", email="ada@example.org")
    start_worker()

    code, said = run(NAME, str(user.id), "photo.jpg", **environment)

    assert code == 0, said
    eventually(lambda: count("shop.image_variants") == 1)
    eventually(
        lambda: count("workshed_notifications.notifications WHERE event = 'image_processed'") == 1
    )


def test_the_page_of_pictures_is_served_as_it_says(environment, broker, tmp_path):
    script = SERVED.replace("uvicorn shop", "exec uvicorn --port 0 shop")
    log = tmp_path / "pictures.log"
    page = Served(begin(script, log, **environment), log)
    try:
        status, _, _ = page.ask("/")
    finally:
        page.end()

    assert status == http.client.UNAUTHORIZED  # a token is required


def test_any_job_can_tell_a_browser(database):
    with db.transaction() as conn:
        user_id = people.create(conn, name="Ada", email="ada@example.org").id
        names = {"notify": notify_user, "conn": conn, "user_id": user_id}
        exec(TELL, names)  # noqa: S102 -- from our own page
        exec(TELL, names)  # noqa: S102
        assert notifications.last_number(conn, str(user_id)) == 1


def test_the_settings_of_the_page_exist():
    names = set(re.findall(r"`((?:WORKSHED|SHOP)_\w+)", PAGE))
    names |= {f"SHOP_IMAGE_{name}" for name in re.findall(r"`…_(MAX_\w+)`", PAGE)}

    assert len(names) > 5
    assert names <= NAMES
