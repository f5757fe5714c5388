"""Who may log in, and what they may do."""

import itertools

import pytest

from tests import pages
from workshed.console.web import Who, create_app, menu
from workshed.console.web.pages import list_actions, list_downloads
from workshed.console.web.pages import list_pages as desk_pages
from workshed.errors import SettingsError
from workshed.settings import settings

SECRET = "s" * 40
OPERATORS = [action for action in list_actions() if not action.is_personal]
OTHERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""Headers of all answers, apart from their content security policy."""
[MOUNTED] = pages.files("docs/console.md").values()


def test_the_console_does_not_start_without_users(database, monkeypatch):
    monkeypatch.setenv("WORKSHED_SECRET_KEY", "k" * 40)
    settings.cache_clear()

    with pytest.raises(SettingsError, match="no user may use the console"):
        create_app()


@pytest.mark.parametrize("page", desk_pages(), ids=lambda page: page.path)
def test_a_stranger_sees_no_page(browsers, page):
    stranger = browsers()

    shown = stranger.get(page.path)
    json_answer = stranger.client.get(f"{page.path.rstrip('/') or '/overview'}.json")

    assert shown.status_code == 303
    assert shown.headers["location"].startswith("/login?next=")
    assert json_answer.status_code == 401
    assert [*json_answer.json()] == ["error", "status"]


@pytest.mark.parametrize("download", list_downloads(), ids=lambda download: download.path)
def test_without_a_login_nothing_is_downloaded(browsers, download):
    stranger = browsers()

    shown = stranger.get(f"{download.path}?id=1")
    json_answer = stranger.client.get(download.path, headers={"accept": "application/json"})

    assert shown.status_code == 303
    assert shown.headers["location"].startswith("/login?next=")
    assert json_answer.status_code == 401


@pytest.mark.parametrize("download", list_downloads(), ids=lambda download: download.path)
def test_a_download_of_a_missing_record_is_not_found(reader, download):
    assert reader.get(f"{download.path}?id=1&date=2026-03-01").status_code == 404


@pytest.mark.fresh_database
@pytest.mark.parametrize(
    "path",
    [one.path for one in (*desk_pages(), *list_downloads()) if one.required_schema == "shop"],
)
def test_a_page_that_an_installation_lacks_is_not_found(reader, conn, monkeypatch, path):
    conn.execute("DROP SCHEMA shop CASCADE")
    monkeypatch.setattr(menu, "_checked_schemas", {})

    answer = reader.get(path)

    assert answer.status_code == 404
    assert "feature is not enabled" in answer.text


@pytest.mark.fresh_database
@pytest.mark.parametrize(
    "path", [action.path for action in list_actions() if action.required_schema == "shop"]
)
def test_an_action_that_an_installation_lacks_is_not_found(operator, conn, monkeypatch, path):
    csrf = operator.csrf()
    conn.execute("DROP SCHEMA shop CASCADE")
    monkeypatch.setattr(menu, "_checked_schemas", {})

    assert operator.post(path, {"id": "1"}, csrf=csrf).status_code == 404


@pytest.mark.parametrize("action", list_actions(), ids=lambda action: action.path)
def test_without_a_login_no_action_is_done(browsers, action):
    stranger = browsers()

    assert stranger.post(action.path, csrf=stranger.csrf("/login")).status_code == 401


@pytest.mark.parametrize("action", OPERATORS, ids=lambda action: action.path)
def test_a_reader_can_do_no_action(reader, action, conn):
    answer = reader.post(action.path)

    assert answer.status_code == 403
    assert "may not change anything" in answer.text
    assert conn.execute("SELECT count(*) FROM workshed.audit").fetchone() == (0,)


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data", ""])
def test_a_body_that_is_no_form_is_refused(operator, kind):
    """Scripts of other sites may send some of these without asking."""
    csrf = operator.csrf()

    answer = operator.post("/queues/pause", {"name": "x"}, csrf=csrf, **{"content-type": kind})

    assert answer.status_code == 415


@pytest.mark.parametrize("action", list_actions(), ids=lambda action: action.path)
def test_a_form_of_another_site_does_nothing(operator, reader, action, conn):
    """The same holds for a form without the page's token, or with that of another browser."""
    csrf = operator.csrf()

    answers = [
        operator.post(action.path, csrf=csrf, origin="https://evil.example"),
        operator.post(action.path, csrf=csrf, **{"sec-fetch-site": "cross-site"}),
        operator.post(action.path, csrf=csrf, **{"sec-fetch-site": "same-site"}),
        operator.post(action.path, csrf=csrf, origin="null"),
        operator.post(action.path, csrf=csrf, origin="http://["),
        operator.post(action.path, csrf=csrf, origin="http://testserver:81"),
        operator.post(action.path, csrf=csrf, origin="http://testserver@evil.example"),
        operator.post(action.path, csrf=csrf, origin=""),
        operator.post(action.path, csrf=""),
        operator.post(action.path, csrf=csrf[:-2]),
        operator.post(action.path, csrf=reader.csrf()),
    ]

    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert conn.execute("SELECT count(*) FROM workshed.audit").fetchone() == (0,)


def test_every_route_is_a_page_an_action_or_known(browsers):
    """A new route must be in one of the lists that these tests use."""
    paths = {route.path for route in create_app()._app._app.routes}
    shown = itertools.chain.from_iterable(
        (page.path, f"{page.path.rstrip('/') or '/overview'}.json") for page in desk_pages()
    )

    assert paths == {
        *shown,
        *(download.path for download in list_downloads()),
        *(action.path for action in list_actions()),
        *("/login", "/logout", "/live", "/livez", "/readyz", "/static/{path:path}"),
    }


def test_the_form_of_another_person_does_nothing(browsers):
    """The token of a page belongs to the person for whom the page was made."""
    olga, rita = browsers("olga"), browsers("rita")

    answer = olga.post("/logout", csrf=rita.csrf())

    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//[", "[", "\xff"])
def test_an_origin_that_cannot_be_read_is_refused(browsers, path, origin):
    """Before a login, anyone can send one."""
    someone = browsers()

    answer = someone.post(path, csrf=someone.csrf("/login"), origin=origin.encode("latin-1"))

    assert answer.status_code == (403 if path == "/login" else 303)


def test_a_stranger_sends_no_large_form(browsers):
    someone = browsers()

    answer = someone.post("/login", {"name": "x" * 10_001}, csrf=someone.csrf("/login"))

    assert answer.status_code == 413
    assert "at most 10000 bytes" in answer.text


def test_a_form_without_an_origin_is_refused(operator):
    answer = operator.client.post(
        "/logout",
        content=f"csrf={operator.csrf()}",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )

    assert answer.status_code == 403


def test_the_login_leads_to_the_page_that_was_requested(browsers):
    someone = browsers()
    fields = {"name": "olga", "password": "correct horse battery", "next": "/audit?who=olga"}

    answer = someone.post("/login", fields, csrf=someone.csrf("/login"))

    assert answer.headers["location"] == "/audit?who=olga"


@pytest.mark.parametrize(
    "expected",
    [
        "//evil.example",
        "///evil.example",
        "https://evil.example",
        "HTTPS:evil.example",
        "http:/evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "evil.example",
        "@evil.example",
        "/x\r\nSet-Cookie: a=b",
        "/\u2028",
    ],
)
def test_the_login_leads_to_no_other_site(browsers, expected):
    someone = browsers()
    fields = {"name": "olga", "password": "correct horse battery", "next": expected}

    answer = someone.post("/login", fields, csrf=someone.csrf("/login"))

    assert answer.headers["location"] == "/"


def test_cookies_are_hidden_from_scripts_and_from_other_sites(browsers):
    someone = browsers()
    first = someone.get("/login").headers["set-cookie"]

    second = someone.log_in("olga").headers["set-cookie"]

    for cookie in (first, second):
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Secure" not in cookie


def test_no_answer_allows_scripts_of_other_sites(operator, browsers):
    answers = [operator.get("/"), operator.get("/nothing"), browsers().get("/login")]

    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert all(answer.headers[name] == value for name, value in OTHERS.items())


def test_a_proxy_that_knows_the_secret_is_trusted(browsers, monkeypatch):
    monkeypatch.delenv("WORKSHED_CONSOLE_USERS")
    monkeypatch.setenv("WORKSHED_CONSOLE_PROXY_SECRET", SECRET)
    settings.cache_clear()
    someone = browsers()
    vouched = {"x-workshed-secret": SECRET, "x-workshed-user": "ada", "x-workshed-role": "reader"}

    shown = someone.get("/", **vouched)

    assert shown.status_code == 200
    assert "ada" in shown.text
    assert someone.get("/").status_code == 401
    assert someone.get("/", **vouched | {"x-workshed-secret": "x"}).status_code == 401
    assert someone.get("/", **vouched | {"x-workshed-role": "root"}).status_code == 401
    assert someone.get("/", **vouched | {"x-workshed-user": ""}).status_code == 401
    assert someone.get("/login").status_code == 404


@pytest.mark.parametrize("is_async", [False, True])
def test_a_host_application_can_authorize(browsers, is_async):
    def decide(request):
        return Who("host", "operator") if request.headers.get("x-host") else None

    async def later(request):
        return decide(request)

    someone = browsers(app=create_app(authorize=later if is_async else decide))

    assert someone.get("/", **{"x-host": "yes"}).status_code == 200
    assert someone.get("/").status_code == 303


def test_a_form_that_is_too_large_is_refused(operator):
    answer = operator.post("/logout", {"much": "x" * 1_100_000})

    assert answer.status_code == 413


def test_a_bad_query_is_reported(operator):
    answer = operator.get("/audit?before=yesterday")

    assert answer.status_code == 400
    assert "is not a number" in answer.text
    assert operator.get("/audit?before=%00").status_code == 200


def test_the_example_of_the_page_mounts_it(people, browsers, conn):
    """The example is in docs/console.md."""
    made = {}
    exec(MOUNTED, made)  # noqa: S102 -- of our own page
    someone = browsers(app=made["app"])
    known = {"x-employee": "ada"}

    shown = someone.get("/jobs-console/", **known)
    stranger = someone.get("/jobs-console/audit")

    assert 'href="/jobs-console/audit"' in shown.text
    assert 'action="/jobs-console/logout"' in shown.text
    assert someone.get("/jobs-console/static/console.css").status_code == 200
    assert stranger.headers["location"] == "/jobs-console/login?next=%2Faudit"
