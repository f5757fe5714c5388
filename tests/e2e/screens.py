"""Take the pictures of the README: `python -m tests.e2e.screens FOLDER`.

A shop at work on private servers: jobs are done, fail, wait and are retried, a file is imported;
then the console is looked at in Chromium, light and dark.
"""

import csv
import secrets
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from console.cli.dev import apply_migrations
from console.demo.running import running
from console.servers import Servers
from console.servers.ports import free_ports
from tests.e2e import browser
from workshed.settings import use

PAGES = ("overview", "job", "dead", "imports")
SIZE = {"width": 1280, "height": 860}
PASSWORD = secrets.token_urlsafe(12)
PYTHON = [sys.executable, "-m"]
WORKER = [*PYTHON, "dramatiq", "actors", "tests.e2e.console_world", "-p", "2", "-t", "4"]
CONSOLE = [*PYTHON, "console", "console", "--port"]
ROWS = 60_000
LONGEST_S = 120


def main(folder: Path) -> None:
    """Take them all."""
    with ExitStack() as stack:
        servers = stack.enter_context(Servers(fresh=True, talk=print))
        use({**servers.environment(), **people(), "WORKSHED_RELEASE": "2026.11.3"})
        apply_migrations(servers.database_url)
        [port] = free_ports(1)
        log = servers.state.folder / "screens.log"
        stack.enter_context(running(WORKER, log))
        stack.enter_context(running([*CONSOLE, str(port)], log))
        job, import_id = at_work(csv_of_people(servers.state.folder))
        opened = stack.enter_context(browser.chromium())
        addresses = {
            "overview": "/",
            "job": f"/job?id={quote(job)}",
            "dead": "/dead",
            "imports": f"/import?id={import_id}",
        }
        for scheme in ("light", "dark"):
            page = opened.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(f"http://127.0.0.1:{port}/")
            page.fill("input[name=name]", "olga")
            page.fill("input[name=password]", PASSWORD)
            page.click("button")
            for name in PAGES:
                page.goto(f"http://127.0.0.1:{port}{addresses[name]}")
                page.wait_for_load_state()
                page.screenshot(path=folder / f"console-{name}-{scheme}.png")
            page.close()


def people() -> dict[str, str]:
    """Let one operator in."""
    from console.web.desk.users import entry

    said = entry("olga", "operator", PASSWORD)
    return {"WORKSHED_CONSOLE_USERS": said, "WORKSHED_SECRET_KEY": secrets.token_urlsafe(32)}


def at_work(file: Path) -> tuple[str, int]:
    """Send what the shop has to do; return a job that was retried by hand, and the import."""
    from console import importing
    from tests.e2e import console_world as shop
    from workshed import db, people
    from workshed.jobs import dead

    with db.connect() as conn:
        conn.execute("CREATE TABLE public.bank_answers (at timestamptz)")
        conn.execute("CREATE TABLE public.charges (order_id bigint)")
        owner = people.create(conn, name="Olga", email="olga@example.org")
        import_id = importing.hand_in(file, owner.id, welcome=False, again=False)
        for n in range(300):
            shop.index_product.send(n)
            shop.print_label.send(n % 40)
            if n % 25 == 0:
                shop.charge_card.send(4711 + n, "4242 4242 4242 4242")
            if n % 50 == 0:
                shop.index_product.send_with_options(args=(n,), delay=timedelta(hours=n + 1))
            time.sleep(0.15)
        until = time.monotonic() + LONGEST_S
        while dead.count(conn) < 13 and time.monotonic() < until:
            time.sleep(0.2)
        [first, *_] = dead.ids(conn, dead.Which(error="GatewayError"))
        dead.retry(conn, first)
        while dead.get(conn, first) is None and time.monotonic() < until:
            time.sleep(0.2)
        return first, import_id


def csv_of_people(folder: Path) -> Path:
    """Of whom some cannot become users."""
    file = folder / "customers.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("name", "email"))
        for n in range(ROWS):
            writer.writerow((f"Person {n}", f"person{n}@example.org" if n % 97 else "no address"))
    return file


if __name__ == "__main__":
    main(Path(sys.argv[1]))
