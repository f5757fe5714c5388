"""The page of a user's pictures, in headless Chromium."""

import functools
import io
import os
import secrets
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.service.integration.notifications import uploads
from tests.service.integration.notifications.conftest import (
    _environment,
    ada,
    people,
    serve,
    served,
)
from workshed.contrib import notifications
from workshed.settings import settings

__all__ = ["_environment", "ada", "people", "serve", "served"]

SHOTS = os.environ.get("SHOTS")
"""A folder for screenshots of the page, for a person to look at."""


@pytest.fixture
def complaints():
    """The browser's complaints, which must be empty at the end of the test."""
    found = []
    yield found
    assert found == []


@pytest.fixture
def open_page(chromium, served, ada, complaints):
    """`open_page(width=1200, dark=False)`: Ada's page, opened by a link with a token."""
    contexts = []

    def open_page(width=1200, *, dark=False):
        scheme = "dark" if dark else "light"
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda said: said.type in ("error", "warning") and complaints.append(said.text),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{served.url}/?token={notifications.token(ada)}")
        expect(page.get_by_role("heading", name="Pictures")).to_be_visible()
        expect(page.get_by_text("Live")).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def shoot():
    """`shoot(page, "name")`: take a screenshot of the page, if `SHOTS` is set."""

    def shoot(page, name):
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)

    return shoot


@pytest.fixture
def run(connect):
    conn = connect(autocommit=True)
    return lambda query, *values: conn.execute(query, values)


@pytest.fixture
def keep(connect):
    """`keep(content)`: store a content as a job would, and return its SHA-256."""
    return functools.partial(uploads.keep, connect(autocommit=True))


@pytest.fixture
def attach(connect, ada):
    """`attach("cat.jpg")`: add an attachment of Ada's and return its id."""
    conn = connect(autocommit=True)
    return lambda filename: uploads.attach(conn, ada, filename, secrets.token_bytes(8))


@pytest.fixture
def tell(connect, ada):
    conn = connect()

    def tell(event, key, **data):
        notifications.notify(conn, ada, event, data, key=key)
        conn.commit()

    return tell


@pytest.fixture
def process(run, keep, tell):
    """`process(attachment_id, "teal")`: do what a successful job does."""

    def process(attachment_id, colour="teal", size=(800, 600)):
        sha256 = keep(jpeg(colour, size))
        query = """
            INSERT INTO shop.image_variants
            SELECT sha256, 800, 600, 85, 'jpeg', 'test', %s, 'image/jpeg', %s, %s, 1
              FROM shop.attachments
             WHERE id = %s
        """
        run(query, sha256, *size, attachment_id)
        picture_data = {"width": size[0], "height": size[1], "media_type": "image/jpeg"}
        key = f"{attachment_id} {sha256}"
        tell("image_processed", key, attachment_id=attachment_id, variant=sha256, **picture_data)

    return process


@pytest.fixture
def refuse(run, tell):
    """`refuse(attachment_id, "…")`: do what the job does with a file that is no image."""

    def refuse(attachment_id, reason):
        query = """
            UPDATE shop.attachments SET refusal = %s, refused_at = workshed.now() WHERE id = %s
        """
        run(query, reason, attachment_id)
        key = f"{attachment_id} refused"
        tell("image_refused", key, attachment_id=attachment_id, reason=reason)

    return refuse


def jpeg(colour, size):
    file = io.BytesIO()
    picture = Image.new("RGB", size, colour)
    picture.paste("white", (size[0] // 3, size[1] // 3, size[0] // 2, size[1] // 2))
    picture.save(file, "JPEG")
    return file.getvalue()


def item(page, attachment_id):
    return page.locator(f"#picture-{attachment_id}")


def is_loaded(image):
    """Return whether the browser could decode an image."""
    return image.evaluate("image => image.decode().then(() => image.naturalWidth)")


def test_a_picture_appears_without_loading_the_page_again(open_page, attach, process, shoot):
    cat = attach("cat.jpg")
    page = open_page()
    expect(item(page, cat)).to_contain_text("Being processed")
    page.evaluate("window.mark = 'same page'")

    process(cat)

    image = item(page, cat).get_by_role("img", name="cat.jpg")
    expect(image).to_be_visible()
    assert is_loaded(image) == 800
    expect(item(page, cat)).not_to_contain_text("Being processed")
    expect(page.locator("#said")).to_have_text("cat.jpg is ready.")
    assert page.evaluate("window.mark") == "same page"


def test_a_refusal_appears_with_its_reason(open_page, attach, refuse):
    bomb = attach("bomb.png")
    page = open_page()

    refuse(bomb, "it has 900 000 000 pixels; at most 40 000 000 are processed")

    expect(item(page, bomb)).to_contain_text("it has 900 000 000 pixels")
    expect(page.locator("#said")).to_contain_text("No picture can be made of bomb.png")


def test_an_upload_on_the_page_appears_on_it(open_page, process, run, shoot):
    page = open_page()
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    files = [
        {"name": name, "mimeType": "image/jpeg", "buffer": jpeg("navy", (90, 60))}
        for name in ("Zoë's 100% cat.jpg", "dog.jpg")
    ]

    page.get_by_label("Add pictures").set_input_files(files)
    page.get_by_role("button", name="Upload").click()

    expect(page.get_by_role("listitem")).to_have_count(2)
    expect(page.get_by_role("listitem").last).to_contain_text("Zoë's 100% cat.jpg")
    expect(page.get_by_text("Nothing here yet")).to_be_hidden()
    (newest,) = run("SELECT max(id) FROM shop.attachments").fetchone()
    process(newest)
    expect(item(page, newest).get_by_role("img", name="dog.jpg")).to_be_visible()


def test_nothing_can_be_uploaded_before_the_page_can_send_it(open_page):
    page = open_page()
    held = []

    def hold(route):
        held.append(route)

    page.route("**/pictures.js", hold)
    page.reload(wait_until="commit")
    upload = page.get_by_role("button", name="Upload")
    expect(upload).to_be_disabled()

    (script,) = held
    script.continue_()

    expect(upload).to_be_enabled()


def test_an_upload_in_another_window_appears_too(open_page, attach, process):
    page = open_page()

    cat = attach("cat.jpg")
    process(cat)

    expect(item(page, cat).get_by_role("img")).to_be_visible()


def test_a_picture_that_appears_while_the_list_is_fetched_stays(open_page, attach, process):
    """A list from before the picture was made must not replace it."""
    cat = attach("cat.jpg")
    page = open_page()
    image = item(page, cat).get_by_role("img")

    def answer_late(route):
        old = route.fetch()
        process(cat)
        expect(image).to_be_visible()
        route.fulfill(response=old)

    page.route(page.url, answer_late, times=1)
    files = [{"name": "dog.jpg", "mimeType": "image/jpeg", "buffer": jpeg("navy", (90, 60))}]
    page.get_by_label("Add pictures").set_input_files(files)
    page.get_by_role("button", name="Upload").click()

    expect(page.get_by_role("listitem")).to_have_count(2)
    expect(image).to_be_visible()


def test_a_file_that_is_too_large_is_not_even_sent(open_page, run, tmp_path):
    page = open_page()
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(30_000_001)

    page.get_by_label("Add pictures").set_input_files(large)
    page.get_by_role("button", name="Upload").click()

    expect(page.locator("#said")).to_have_text("large.jpg: larger than 30 MB.")
    assert run("SELECT count(*) FROM shop.attachments").fetchone() == (0,)


def test_a_page_catches_up_after_its_server_was_away(
    open_page, served, serve, attach, process, refuse, complaints
):
    cat, dog = attach("cat.jpg"), attach("dog.jpg")
    page = open_page()

    served.stop()
    expect(page.get_by_text("Connecting again")).to_be_visible()
    process(cat)
    refuse(dog, "it is no image")
    serve(port=served.port)

    expect(item(page, cat).get_by_role("img")).to_be_visible()
    expect(item(page, dog)).to_contain_text("it is no image")
    expect(page.get_by_text("Live")).to_be_visible()
    assert all("ERR_CONNECTION_REFUSED" in text for text in complaints)
    complaints.clear()


def test_a_page_catches_up_after_an_answer_that_was_no_stream(
    open_page, attach, process, complaints
):
    """For example the 502 of a proxy: the browser gives up, and only the script retries."""
    cat = attach("cat.jpg")
    page = open_page()
    page.route("**/events*", lambda route: route.fulfill(status=502), times=1)

    page.reload()
    process(cat)

    expect(item(page, cat).get_by_role("img")).to_be_visible()
    complaints.clear()  # the browser reports the 502


def test_a_page_whose_token_has_expired_says_so(monkeypatch, serve, chromium, ada):
    monkeypatch.setenv("WORKSHED_TOKEN_LIFETIME", "3")
    settings.cache_clear()
    served = serve()
    page = chromium.new_page()

    page.goto(f"{served.url}/?token={notifications.token(ada)}")

    expect(page.get_by_text("This page has expired")).to_be_visible()
    page.context.close()


def test_a_link_on_another_site_leads_to_the_page(chromium, served, ada):
    """After a redirect the browser would not send the cookie, because another site linked to it."""
    page = chromium.new_page()
    link = f'<a href="{served.url}/?token={notifications.token(ada)}">My pictures</a>'
    page.route("http://mail.example/", lambda r: r.fulfill(body=link, content_type="text/html"))
    page.goto("http://mail.example/")

    page.get_by_role("link").click()

    expect(page.get_by_role("heading", name="Pictures")).to_be_visible()
    assert page.url == f"{served.url}/"
    page.context.close()


@pytest.mark.sample(2)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_fits_any_screen_in_light_and_dark(
    open_page, attach, process, refuse, shoot, width, dark
):
    for name, colour, size in (
        ("harbour at dusk.jpg", "#c2703d", (800, 533)),
        ("portrait.png", "#3d6fc2", (450, 600)),
        ("a-very-long-name-without-any-space-" * 4 + ".webp", "#4b7f52", (800, 200)),
    ):
        process(attach(name), colour, size)
    refuse(attach("bomb.png"), "it has 900 000 000 pixels; at most 40 000 000 are processed")
    attach("on its way.gif")

    page = open_page(width, dark=dark)

    for image in page.get_by_role("img").all():
        image.scroll_into_view_if_needed()
        assert is_loaded(image)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(background.removeprefix("rgb(").split(",")[0])
    assert (red < 60) == dark
    shoot(page, f"{width}-{'dark' if dark else 'light'}")


def test_the_page_can_be_used_by_keyboard_and_shows_the_focus(open_page, shoot):
    page = open_page()

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Upload"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    shoot(page, "focus")


def test_without_a_token_a_page_says_what_to_do(chromium, served, shoot):
    page = chromium.new_page()

    page.goto(served.url)

    expect(page.get_by_role("heading")).to_have_text("We do not know who you are.")
    shoot(page, "unknown")
    page.context.close()
