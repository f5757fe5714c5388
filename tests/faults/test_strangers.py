"""Unauthorised requests to all buttons and pages of the console, while jobs run.

`tests/library/integration/desk/test_evil.py` tests hostile texts on its pages.
"""

import itertools
from contextlib import ExitStack
from datetime import timedelta

import httpx2
import pytest

from tests.faults.experiment import Remedy, experiment
from tests.library.e2e.desk import running
from tests.library.integration.desk.conftest import Browser
from workshed.console.web.pages import list_actions, list_downloads, list_pages

REFUSED = {401, 403}
ACTIONS = [action for action in list_actions() if not action.is_personal]
"""Those that a reader may not do."""
EVIL = "https://evil.example"
JOBS_A_PRESS = 8
LATER = timedelta(seconds=2)
ROUNDS = 20
WAITING = "SELECT message_id FROM workshed.schedule WHERE claimed_by IS NULL LIMIT 50"


@pytest.fixture
def console(warm, ledger, environment, tmp_path):
    """The console of this load; olga may do everything, rita may only read."""
    with running(warm, environment, tmp_path, olga="operator", rita="reader") as started:
        yield started


@pytest.fixture
def strangers(console):
    """The unauthorised clients."""
    with ExitStack() as stack:

        def browser(name=None):
            client = stack.enter_context(httpx2.Client(base_url=console.url, timeout=60))
            found = Browser(client)
            if name is not None:
                assert found.log_in(name, origin=console.url).status_code == 303
            return found

        yield Strangers(console.url, browser)


class Strangers:
    """Unauthorised clients; `accepted` has each button that did something, and who pressed it."""

    def __init__(self, origin, browser):
        self.tried, self.accepted = 0, []
        self._origin = origin
        self._anonymous, self._reader, self._operator = browser(), browser("rita"), browser("olga")
        other = browser("olga")
        secret, another = self._operator.csrf(), other.csrf()
        operator = self._operator
        self.ways = {
            "stranger": (self._anonymous, self._anonymous.csrf("/login"), {}),
            "a reader": (self._reader, self._reader.csrf(), {}),
            "a page of another site": (operator, secret, {"origin": EVIL}),
            "a page of a sibling": (operator, secret, {"sec-fetch-site": "same-site"}),
            "a form without the secret": (operator, "", {}),
            "a form of another browser": (operator, another, {}),
        }

    def press(self, way, path, fields):
        """Send a form as one of the clients."""
        self.tried += 1
        browser, secret, headers = self.ways[way]
        answer = browser.post(path, fields, csrf=secret, **{"origin": self._origin, **headers})
        if answer.status_code not in REFUSED:
            self.accepted.append((way, path, answer.status_code))

    def read(self, path):
        """Request a page without a login."""
        self.tried += 1
        answer = self._anonymous.get(f"{path}?id=1")
        if answer.status_code not in REFUSED and "/login" not in answer.headers.get("location", ""):
            self.accepted.append(("stranger", path, answer.status_code))


@pytest.mark.timeout(1800)
@experiment(
    "strangers",
    number=25,
    fails_by="lost",
    fault="every button of the console, pressed without a login, by a reader, by pages of other "
    "sites, and by forms without their token; every page, read without a login",
    load="each of them 20 times, with 8 jobs alongside each, one of which waits for 2 s",
    remedy=Remedy(
        "workshed/console/web/auth/csrf.py",
        "    if not _is_valid_token(request, name, form.one(FIELD)):",
        "    if form is None:",
    ),
)
def test_the_console_does_nothing_for_strangers(
    ledger, two_workers, strangers, all_refused, connect, scale
):
    conn = connect(autocommit=True)
    numbers = itertools.count(1)
    for _ in range(scale(ROUNDS)):
        for way, action in itertools.product(strangers.ways, ACTIONS):
            ledger.commit(next(numbers), LATER)
            for number in itertools.islice(numbers, JOBS_A_PRESS - 1):
                ledger.send(number)
            waiting = [str(one) for (one,) in conn.execute(WAITING)]
            named = [("id", one) for one in waiting]
            strangers.press(way, action.path, [*named, ("name", "parts"), ("sure", "yes")])
        for page in (*list_pages(), *list_downloads()):
            strangers.read(page.path)

    all_refused(strangers)
    done = "SELECT count(*) FROM workshed.audit WHERE action <> 'console.login'"
    assert conn.execute(done).fetchone() == (0,)
