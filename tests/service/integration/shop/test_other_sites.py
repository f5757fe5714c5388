"""Forms sent by a page of another site, with or without its visitor's cookie."""

import pytest

FORMS = {
    "/orders": {"data": {"product": "Wall clock", "quantity": "1"}},
    "/imports": {"files": {"file": ("people.csv", b"name,email\n")}},
    "/reports": {"data": {"date": ""}},
    "/sign-out": {},
    "/sign-up": {"data": {"name": "Eve", "email": "eve@example.org"}},
}
CHANGED = """
    SELECT (SELECT count(*) FROM shop.users) - 1, (SELECT count(*) FROM shop.orders),
           (SELECT count(*) FROM shop.imports)
"""


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {},
    ],
    ids=str,
)
def test_a_form_of_another_site_does_nothing(ada, rows, jobs, path, headers):
    before = len(jobs.enqueued)

    answer = ada.post(path, **FORMS[path], headers=headers)

    assert answer.status_code == 403
    assert "Another site has sent this" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert rows(CHANGED) == [(0, 0, 0)]
    assert len(jobs.enqueued) == before


def test_a_browser_that_says_only_its_origin_is_believed(ada, rows):
    """Without TLS or loopback, browsers send only `Origin`, and only with the page's policy."""
    assert ada.client.get("/").headers["Referrer-Policy"] == "same-origin"

    ada.submit("/orders", FORMS["/orders"]["data"], headers={"Origin": "http://testserver"})

    assert rows(CHANGED) == [(0, 1, 0)]


def test_a_page_may_run_only_our_script_and_style(ada):
    for path in ("/", "/pictures/"):
        page = ada.client.get(path)

        assert page.headers["Cache-Control"] == "no-store"
        assert "script-src 'self'; style-src 'self'" in page.headers["Content-Security-Policy"]
        assert "style=" not in page.text
        assert "<script>" not in page.text


@pytest.mark.parametrize("name", ["shop.js", "shop.css", "pictures.css", "icon.svg"])
def test_files_that_the_page_loads_exist(browser, name):
    assert browser.client.get(f"/static/{name}").status_code == 200
