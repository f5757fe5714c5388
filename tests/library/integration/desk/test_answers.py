"""How answers are sent: static files that browsers keep, and compression."""

import re

import pytest
from starlette.testclient import TestClient

from workshed.console.web import Who, create_app
from workshed.console.web.view import static_files

FILE = re.compile(r'(?:href|src)="(/static/[^"]+)"')


def test_files_of_a_page_are_kept_for_ever_because_their_address_names_their_version(operator):
    found = FILE.findall(operator.get("/").text)

    assert len(found) >= 5
    for path in found:
        answer = operator.get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.fixture
def copied_files(tmp_path):
    """A folder with the console's files."""
    for file in static_files.FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    yield tmp_path
    static_files.read_files.cache_clear()


def test_a_changed_file_has_another_address(copied_files):
    before = static_files.read_files(copied_files).version
    assert before == static_files.static_version()
    static_files.read_files.cache_clear()

    (copied_files / "console.js").write_text("changed")

    assert static_files.read_files(copied_files).version != before


def test_an_upgrade_changes_no_file_before_the_restart(copied_files):
    """Otherwise a browser would keep the new file under the old address for a year."""
    client = TestClient(static_files.VersionedFiles(copied_files))
    path = f"/{static_files.static_version()}/console.js"
    before = client.get(path)

    (copied_files / "console.js").write_text("changed")
    (copied_files / "console.css").unlink()

    assert client.get(path).content == before.content
    assert client.get("/console.css").status_code == 200
    assert before.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert before.headers["content-type"] == "text/javascript; charset=utf-8"


def test_a_file_of_another_release_is_not_kept(operator):
    """During a deploy, a page of the new release may ask the old one for its files."""
    answer = operator.get("/static/0123456789ab/console.css")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


def test_a_file_without_a_version_is_checked_each_time(operator):
    answer = operator.get("/static/console.css")
    again = operator.get("/static/console.css", **{"if-none-match": answer.headers["etag"]})

    assert answer.headers["cache-control"] == again.headers["cache-control"] == "no-cache"
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    ["%2e%2e/app.py", "0123456789ab/%2e%2e/app.py", "none.css", "0123456789ab", "a%00b", "x" * 999],
)
def test_nothing_else_is_served(operator, path):
    answer = operator.get(f"/static/{path}")

    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/jobs", "/overview.json", "/static/console.css"])
def test_answers_are_compressed(operator, path):
    plain = operator.get(path, **{"accept-encoding": "identity"})
    answer = operator.get(path, **{"accept-encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    if path == "/":
        assert int(answer.headers["content-length"]) < len(plain.content) / 2


@pytest.mark.parametrize(
    ("site", "scheme", "is_compressed"),
    [
        ("cross-site", "http", False),
        ("cross-site", "https", False),
        ("same-site", "https", False),
        ("same-origin", "https", True),
        ("none", "https", True),
        (None, "https", False),
        (None, "http", True),
    ],
)
def test_an_answer_that_another_site_may_have_requested_is_not_compressed(
    browsers, site, scheme, is_compressed
):
    """From its length, that site could learn whether its guess in the address is in the page."""
    operator = browsers(app=create_app(authorize=lambda _: Who("olga", "operator")))
    operator.client.base_url = f"{scheme}://testserver"
    headers = {} if site is None else {"sec-fetch-site": site}

    answer = operator.get("/jobs?actor=guess", **{"accept-encoding": "gzip"}, **headers)

    assert answer.status_code == 200
    assert ("content-encoding" in answer.headers) is is_compressed


@pytest.mark.parametrize(
    ("authorization", "site", "is_compressed"),
    [
        ("Bearer wsc_token", None, True),
        ("Bearer wsc_token", "cross-site", False),
        ("Bearer of.a.proxy", None, False),
        ("Basic wsc_token", None, False),
    ],
)
def test_a_program_gets_a_compressed_answer_over_tls(browsers, authorization, site, is_compressed):
    """Not if a proxy may have added the token to a request that another site has caused."""
    program = browsers(app=create_app(authorize=lambda _: Who("billing", "reader")))
    program.client.base_url = "https://testserver"
    headers = {} if site is None else {"sec-fetch-site": site}

    answer = program.get("/jobs", authorization=authorization, **headers)

    assert answer.status_code == 200
    assert ("content-encoding" in answer.headers) is is_compressed
