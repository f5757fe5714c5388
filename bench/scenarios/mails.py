"""Emails per second of a campaign, compared with a loop that only talks to the mail server."""

import itertools
import secrets
import smtplib
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path

from bench.measurement import Measurement, alternate_rounds, compare_with_peer
from bench.processes import BenchError, ProcessTree, run_python
from bench.size import Size
from bench.world import THREADS, World, pause_between_rounds
from workshed.devserver.mail import MailCatcher
from workshed.migrate import apply_pending, list_streams

WITHIN_S = 900.0
READY = "Worker process is ready for action."
OURS, BARE = "a campaign", "smtplib in as many threads"
TEXT = "Hello {{ name }}, here is what is new.\n\n{{ unsubscribe_url }}\n"
HTML = (
    '<style>p { color: #123 }</style><p>Hello {{ name }}</p><a href="{{ unsubscribe_url }}">Out</a>'
)
PEOPLE = """
    INSERT INTO shop.users (name, email)
    SELECT 'Ada Lovelace', 'ada' || n || '@example.org' FROM generate_series(1, %s) AS n
"""


def mails(world: World, size: Size) -> list[Measurement]:
    """Send many emails with a worker, and with bare SMTP, to the same kind of server."""
    with world.connect_database() as conn:
        apply_pending(conn, list_streams())

    def measure(way: str) -> dict[str, float]:
        rate = _measure_campaign if way == OURS else _measure_smtp
        with (
            tempfile.TemporaryDirectory(prefix="workshed-bench-mail-") as folder,
            MailCatcher(Path(folder) / "mail") as server,
        ):
            return {"rate": rate(world, server, size.recipients)}

    found = alternate_rounds(size.rounds, (OURS, BARE), measure)
    count = f"{size.recipients:,}".replace(",", " ")
    return [
        compare_with_peer(
            f"campaign of {count}", found[OURS]["rate"], "mails/s", BARE, found[BARE]["rate"]
        )
    ]


def _measure_campaign(world: World, server: MailCatcher, count: int) -> float:
    """Send a campaign with empty tables and a new worker; timed from its start to its end."""
    world.reset()
    with world.connect_database() as conn:
        conn.execute(
            "TRUNCATE shop.users, shop.campaigns, shop.campaign_recipients, "
            "workshed_mail.emails, workshed_notifications.inboxes, "
            "workshed_notifications.notifications, "
            "workshed.batches, workshed.batch_jobs, workshed.batch_callbacks CASCADE"
        )
        conn.execute(PEOPLE, (count,))
    environment = world.environment(
        "ours",
        WORKSHED_SMTP_URL=server.url,
        WORKSHED_SECRET_KEY=secrets.token_urlsafe(32),
        WORKSHED_LOG_LEVEL="INFO",
    )
    command = [sys.executable, "-m", "dramatiq", "actors", "-p", "1", "-t", str(THREADS)]
    with ProcessTree(command, environment, world.folder / "mails.log") as tree:
        tree.wait_until(lambda: READY in tree.log.read_text(), WITHIN_S)
        tree.wait_until_idle(WITHIN_S)
        text, page = world.folder / "news.txt", world.folder / "news.html"
        text.write_text(TEXT)
        page.write_text(HTML)
        parts = ("--subject=News", f"--text={text}", f"--html={page}")
        campaigns = ("-m", "shop", "campaigns")
        added = run_python([*campaigns, "add", "News", *parts], environment, WITHIN_S)
        run_python([*campaigns, "start", added, "--yes"], environment, WITHIN_S)
        run_python([*campaigns, "show", added, "--watch"], environment, WITHIN_S)
        with world.connect_database() as conn:
            query = """
                SELECT state, error, extract(epoch FROM ended_at - started_at)
                  FROM shop.campaigns
            """
            [(state, error, seconds)] = conn.execute(query).fetchall()
    pause_between_rounds()
    if state != "sent" or len(server.received) != count:
        raise BenchError(f"it is {state}, {error}: {len(server.received)} of {count} have arrived")
    return count / float(seconds)


def _measure_smtp(_world: World, server: MailCatcher, count: int) -> float:
    """Send as many over connections that stay open, and store nothing."""
    numbers = itertools.count(1)

    def send(_: int) -> None:
        with smtplib.SMTP("127.0.0.1", server.port or 0) as client:
            while (number := next(numbers)) <= count:
                mail = EmailMessage()
                mail["From"], mail["To"] = "news@example.org", f"ada{number}@example.org"
                mail["Subject"] = "News"
                mail.set_content(TEXT)
                mail.add_alternative(HTML, subtype="html")
                client.send_message(mail)

    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(send, range(THREADS)))
    seconds = time.monotonic() - began
    if len(server.received) != count:
        raise BenchError(f"{len(server.received)} of {count} mails have arrived")
    return count / seconds
