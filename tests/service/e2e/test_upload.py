"""From a file in the browser to the picture on the page, with real workers and servers."""

import io
import secrets

import pytest
from PIL import Image
from playwright.sync_api import expect

from shop import people
from tests.service.integration.notifications.served import Served
from workshed import db
from workshed.contrib import notifications
from workshed.settings import settings

PAGE = ("-m", "uvicorn", "shop.web.pictures:app", "--port", "0")
ORIENTATION, TURNED = 0x0112, 6


@pytest.fixture
def page(chromium, broker, environment, start_worker, tmp_path, monkeypatch):
    """The page of a user's pictures, in Chromium."""
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    monkeypatch.setenv("WORKSHED_SECRET_KEY", secrets.token_urlsafe(32))
    settings.cache_clear()
    with db.transaction() as conn:
        user = people.create(conn, name="Ada", email="ada@example.org")
    start_worker(threads=2)
    served = Served.started(tmp_path / "page.log", *PAGE)
    page = chromium.new_page()
    page.goto(f"{served.url}/?token={notifications.token(str(user.id))}")
    yield page
    page.close()
    served.end()


def photo():
    """A photo of 1600x1200, taken with the camera held upright."""
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    file = io.BytesIO()
    Image.new("RGB", (1600, 1200), "teal").save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_a_file_chosen_in_the_browser_appears_there(page):
    files = [
        {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": photo()},
        {"name": "logo.svg", "mimeType": "image/svg+xml", "buffer": b"<svg/>"},
    ]

    page.get_by_label("Add pictures").set_input_files(files)
    page.get_by_role("button", name="Upload").click()

    image = page.get_by_role("img", name="cat.jpg")
    expect(image).to_be_visible()
    size = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    assert image.evaluate(size) == [450, 600]
    expect(page.locator(".refusal")).to_contain_text("it is an SVG")
