"""Take the screenshots of the README: `python -m tests.service.e2e.screens FOLDER`.

A shop runs on private servers: jobs succeed, fail, wait and are retried, and files are imported.
Then Chromium opens the console, light and dark. This takes about four minutes.
"""

import csv
import math
import secrets
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from shop.demo.subprocesses import run_process
from tests import browser
from workshed.console.cli.setup.dev import apply_migrations
from workshed.console.web.auth.users import format_entry
from workshed.devserver import DevServers
from workshed.devserver.ports import find_free_ports
from workshed.settings import update_environment

PAGES = ("imports", "overview", "job", "dead")
"""In this order, so that an import is still being read in its screenshot."""
SIZE = {"width": 1280, "height": 860}
PASSWORD = secrets.token_urlsafe(12)
PYTHON = [sys.executable, "-m"]
WORKER = [*PYTHON, "dramatiq", "actors", "tests.library.e2e.console_world", "-p", "2", "-t", "4"]
CONSOLE = [*PYTHON, "workshed", "console", "--port"]
SENDS, PAUSE_S, WAVE = 1_200, 0.15, 200
"""The number of sends, the average pause after each, and the number of sends in a wave."""
CARD_EVERY, LATER_EVERY = 25, 150
LONGEST_S = 60
HALF_WAY = """() => [...document.querySelectorAll(".bar")].some((bar) => {
    const widths = [...bar.children].map((part) => Number(part.getAttribute("width")));
    const share = widths.reduce((sum, width) => sum + width, 0) / 100;
    return share > 0.2 && share < 0.999;
})"""


def main(folder: Path) -> None:
    """Take all screenshots."""
    with ExitStack() as stack:
        servers = stack.enter_context(DevServers(fresh=True, talk=print))
        people = format_entry("olga", "operator", PASSWORD)
        update_environment({**servers.environment(), "WORKSHED_CONSOLE_USERS": people})
        update_environment(
            {"WORKSHED_SECRET_KEY": secrets.token_urlsafe(32), "WORKSHED_RELEASE": "2026.11.3"}
        )
        apply_migrations(servers.database_url)
        [port] = find_free_ports(1)
        at, state = f"http://127.0.0.1:{port}", servers.state.folder
        stack.enter_context(run_process(WORKER, state / "screens.log"))
        stack.enter_context(run_process([*CONSOLE, str(port)], state / "screens.log"))
        job = at_work(state)
        paths = {"imports": "/imports", "overview": "/", "job": f"/job?id={quote(job)}"}
        opened = stack.enter_context(browser.chromium())
        pages = {scheme: logged_in(opened, at, scheme) for scheme in ("light", "dark")}
        for name in PAGES:
            for scheme, page in pages.items():
                page.goto(at + paths.get(name, f"/{name}"))
                if name == "imports":
                    page.wait_for_function(HALF_WAY, timeout=LONGEST_S * 1_000)
                page.screenshot(path=folder / f"console-{name}-{scheme}.png")


def logged_in(opened, at, scheme):
    """Return a page of a user who may do everything."""
    page = opened.new_page(viewport=SIZE, color_scheme=scheme)
    page.goto(at)
    page.fill("input[name=name]", "olga")
    page.fill("input[name=password]", PASSWORD)
    page.click("text=Log in")
    return page


def at_work(folder: Path) -> str:
    """Send the shop's jobs; return a job that was retried manually and died again."""
    from shop import import_actions, people
    from tests.library.e2e import console_world as shop
    from workshed import db
    from workshed.jobs.dead import dead_jobs

    with db.connect() as conn:
        conn.execute("CREATE TABLE public.bank_answers (at timestamptz)")
        conn.execute("CREATE TABLE public.charges (order_id bigint)")
        owner = people.create(conn, name="Olga", email="olga@example.org").id
        file = csv_of_people(folder / "customers.csv", 60_000)
        import_actions.import_file(file, owner, welcome=False, again=False)
        for n in range(SENDS):
            shop.index_product.send(n)
            shop.print_label.send(n % 40)
            if n % CARD_EVERY == 0:
                shop.charge_card.send(4711 + n, "4242 4242 4242 4242")
            if n % LATER_EVERY == 0:
                shop.index_product.send_with_options(args=(n,), delay=timedelta(hours=n + 1))
            time.sleep(PAUSE_S * (1 + 0.8 * math.sin(n * math.tau / WAVE)))
        [first, *_] = dead_jobs.list_ids(conn, dead_jobs.DeadFilter(error="GatewayError"))
        dead_jobs.retry_job(conn, first)
        until = time.monotonic() + LONGEST_S
        while dead_jobs.get_dead_job(conn, first) is None and time.monotonic() < until:
            time.sleep(0.2)
        file = csv_of_people(folder / "newsletter.csv", 500_000)
        import_actions.import_file(file, owner, welcome=False, again=False)
        return first


def csv_of_people(file: Path, rows: int) -> Path:
    """Write a CSV of people, some of whom cannot become users."""
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("name", "email"))
        for n in range(rows):
            wrong, address = n % 97 == 0, f"{file.stem}{n}@example.org"
            writer.writerow((f"Person {n}", "no address" if wrong else address))
    return file


if __name__ == "__main__":
    main(Path(sys.argv[1]))
