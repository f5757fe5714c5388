"""`python -m shop.demo`: show what the jobs of this service do, on private servers."""

import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workshed.console.cli import run_command
from workshed.console.cli.terminal.options import BrokerKind

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from rich.console import Console

    from shop.demo.faulty_api import FaultyApi
    from shop.demo.mailbox import Mailbox
    from shop.demo.people import Person
    from shop.demo.pictures import UploadDemo
    from shop.demo.scenario import DemoScenario
    from shop.demo.signups import SignupDemo
    from workshed.devserver import DevServers

POLL_S = 0.1
TIMEOUT_S = 180
WIDTH = 132
OPERATOR = "demo"
SERVICE = {"WORKSHED_APP": "brokers.app:app"}
"""The demo always runs this application, wherever it is started."""
CHART_PATH = Path("var/report.png")
"""Outside the demo's temporary folder, so that it is still there after the demo."""
LOAD_MODULE = "shop.demo.fairness_actors"
WORKER = [
    sys.executable,
    "-m",
    "dramatiq",
    "actors",
    LOAD_MODULE,
    "--processes",
    "1",
    "--threads",
    "4",
]


def demo(
    *,
    broker: Annotated[
        BrokerKind | None,
        typer.Option(
            help="Queue jobs in rabbitmq, or in postgresql alone; default: in RabbitMQ if it is "
            "installed or can be.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Watch emails, a picture, an import, a report, a sync, a campaign, an outage, full queues.

    Starts private servers, a worker and a web page; signs people up; imports
    10 000 more from a CSV file; stores 30 days of orders; syncs from an API
    that misbehaves; emails 500 customers, and stops the mail server in the
    middle of that; fills five queues; and shows what happens to each. On a
    terminal everything stays up until Ctrl-C. Otherwise it stops by itself, and
    the exit code is 0 only if every step was seen.
    """
    from rich.console import Console

    from shop.demo import display, pictures
    from shop.demo.broker_choice import choose_servers
    from shop.demo.faulty_api import FaultyApi
    from shop.demo.people import read_people
    from shop.demo.subprocesses import run_process
    from workshed.console.cli.setup.dev import apply_migrations, print_message, stop_on_signal
    from workshed.console.web.auth.users import format_entry
    from workshed.devserver import DevServers
    from workshed.devserver.ports import find_free_ports
    from workshed.settings import update_environment

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    cast = read_people()
    busy = [person.email for person in cast if person.role == "busy"]
    missing: list[str] = []
    with stop_on_signal():
        given = choose_servers(console, broker)
        with (
            DevServers(fresh=True, given=given, talk=print_message, busy_once=busy) as servers,
            FaultyApi() as api,
        ):
            update_environment(
                {**SERVICE, **servers.environment(), "SHOP_SYNC_ORIGINS": api.origin}
            )
            apply_migrations(servers.database_url)
            log = servers.state.folder / "worker.log"
            [port] = find_free_ports(1)
            password = secrets.token_urlsafe(9)
            update_environment({"SHOP_SITE_URL": pictures.site_url(port)})
            update_environment(
                {"WORKSHED_CONSOLE_USERS": format_entry(OPERATOR, "operator", password)}
            )
            with run_process(WORKER, log) as worker, pictures.serve_pages(port, log):
                display.print_addresses(console, servers, str(log))
                login = f"login {OPERATOR}, {password}"
                console.print(
                    f"Console      {pictures.site_url(port)}/console/  {login}", soft_wrap=True
                )
                missing = run_scenarios(console, servers, cast, worker, log, port, api)
                if sys.stdout.isatty() and sys.stdin.isatty():
                    keep_running(console, servers, pictures.site_url(port))
    if missing:
        raise typer.Exit(1)


def run_scenarios(
    console: "Console",
    servers: "DevServers",
    cast: "list[Person]",
    process: "subprocess.Popen[bytes]",
    log: Path,
    port: int,
    api: "FaultyApi",
) -> list[str]:
    """Sign people up, begin the rest, and watch until all is seen; return what was not seen."""
    from shop.demo import campaign, display, fairness, imports, pictures, results_table, sources
    from shop.demo import orders as shop
    from shop.demo.mailbox import Mailbox
    from shop.demo.outage import OutageDemo
    from shop.demo.signups import update_signups
    from workshed import db
    from workshed.devserver.process import has_ended

    started = time.monotonic()
    mailbox = Mailbox(servers.maildir)
    sightings = [sign_up(person) for person in cast]
    user = sightings[0].user_id
    uploads = pictures.upload_files(user)
    sent = campaign.begin_campaign(servers.mail.refuse_with if servers.mail else None)
    parts: list[DemoScenario] = [
        imports.begin_import(user),
        shop.open_shop(CHART_PATH),
        sources.begin_sync(api, len(shop.ADMINS)),
        sent,
        *([OutageDemo(servers.mail, sent)] if servers.mail else []),
    ]
    console.print(f"Pictures     {pictures.pictures_url(port, user)}", soft_wrap=True)
    console.print(f"Signed up {len(cast)} people; `dramatiq actors` sends their welcomes:")
    leaving = sum(person.role == "leaves" for person in cast)
    with (
        db.connect() as conn,
        display.ProgressDisplay(console, len(cast), len(cast) - leaving) as bars,
        pictures.EventFollower(port, user) as browser,
    ):

        def is_over() -> bool:
            """Look once; return whether every step was seen, or it is too late to see more."""
            mailbox.read_new()
            update_signups(conn, mailbox, sightings)
            pictures.record_events(browser, uploads)
            for part in parts:
                part.update(conn)
            bars.update(sightings, parts)
            is_late = time.monotonic() - started > TIMEOUT_S or has_ended(process)
            return is_late or not list_pending(sightings, uploads, parts, mailbox)

        wait_until(is_over)
        if not list_pending(sightings, uploads, parts, mailbox):
            parts.append(fairness.fill_queues())  # only now, when the worker has nothing else to do
            wait_until(is_over)
        missing = list_pending(sightings, uploads, parts, mailbox)
        counted = list(results_table.read_rows(conn, mailbox))
    display.print_people(console, sightings)
    display.print_uploads(console, cast[0], uploads)
    for part in parts:
        display.print_scenario(console, part)
    display.print_results(console, counted)
    for line in missing:
        console.print(f"not seen: {line}", style="red", soft_wrap=True)
    if has_ended(process):
        console.print(f"the worker ended with code {process.wait()}; see {log}", style="red")
    if not missing:
        took = time.monotonic() - started
        console.print(f"Every step was seen, {took:.0f} s after the first sign-up.")
    return missing


def wait_until(is_over: "Callable[[], bool]") -> None:
    """Poll until it is over."""
    while not is_over():
        time.sleep(POLL_S)


def sign_up(person: "Person") -> "SignupDemo":
    """Sign a person up, and check that their job was stored in the same transaction."""
    import actors
    from shop.demo.signups import SignupDemo
    from workshed import db
    from workshed.jobs.outbox import schedule

    with db.transaction() as conn:
        user = actors.sign_up(conn, name=person.name, email=person.email)
        stored = schedule.list_scheduled(conn, actor="send_welcome_email")
        mine = [row for row in stored if json.loads(row.body)["args"] == [user.id]]
        if person.role == "leaves":
            # Deleted before the worker gets to it: in this transaction, so that there is no race.
            conn.execute("DELETE FROM shop.users WHERE id = %s", (user.id,))
    return SignupDemo(person, user.id, mine[0].message_id if mine else "", queued=len(mine) == 1)


def list_pending(
    sightings: "list[SignupDemo]",
    uploads: "list[UploadDemo]",
    parts: "list[DemoScenario]",
    mailbox: "Mailbox",
) -> list[str]:
    """Name everything that was not seen yet."""
    mails = [
        f"{sighting.person.email}: {what}"
        for sighting in sightings
        for what in sighting.pending(mailbox_is_ours=mailbox.is_ours)
    ]
    rest = [what for upload in uploads for what in upload.pending]
    return mails + rest + [what for part in parts for what in part.pending]


def keep_running(console: "Console", servers: "DevServers", shop: str) -> None:
    """Keep everything running, so that the user can look around."""
    console.print(f"Sign up yourself, upload, import, order and report: {shop}/", soft_wrap=True)
    console.print("Have a look around, send more from another terminal with these:")
    for name, value in (SERVICE | servers.environment()).items():
        console.print(f"export {name}='{value}'", soft_wrap=True)
    console.print("Ctrl-C stops everything.")
    while True:
        servers.check()
        time.sleep(1)


if __name__ == "__main__":
    os.environ.update(SERVICE)  # before anything reads which application this is
    run_command(demo, "python -m shop.demo")
