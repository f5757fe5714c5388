"""The commands of docs/bulk-mail.md, run with real workers."""

import http.client
import json
import os
import re
import shlex
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from actors import start_campaign
from shop import campaigns, people
from shop.campaigns import CampaignProgress
from shop.settings import ShopSettings
from tests import pages
from tests.service.integration.notifications.served import Served
from workshed import db
from workshed.settings import settings

PAGE = pages.text("docs/bulk-mail.md")
[(NAME, TEXT)] = pages.files("docs/bulk-mail.md").items()
COMMANDS = pages.block("docs/bulk-mail.md", "run")
PEOPLE = ("ada@example.org", "grace@example.org", "bob@example.org")
SERVING = ("-m", "tests.service.integration.campaigns.serving")


@pytest.fixture
def users(broker, environment, monkeypatch):
    """Users whose email links lead to this machine, and the environment of all programs."""
    monkeypatch.setenv("WORKSHED_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("SHOP_SITE_URL", "https://shop.example")
    settings.cache_clear()
    with db.transaction() as conn:
        return [people.create(conn, name="Someone", email=email).id for email in PEOPLE]


@pytest.fixture
def commands(tmp_path, environment):
    """`commands()` runs the page's commands in order and returns the output of each."""
    (tmp_path / NAME).write_text(TEXT)
    environment = {**os.environ, **environment}

    def run():
        said = []
        for line in COMMANDS.splitlines():
            words = [sys.executable, *shlex.split(line, comments=True)[1:]]
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
                timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            said.append(done.stdout)
        return said

    return run


def test_the_commands_of_the_page_send_a_mail_to_each(
    users, commands, start_worker, mail_server, tmp_path
):
    start_worker()

    added, preview, started, shown = commands()

    assert added == "1\n"
    assert "News for Zoë <Sample> O'Neill & Sons" in preview
    assert started == "1  starting\n"
    assert re.search(r"^state +sent", shown, re.MULTILINE)
    assert re.search(r"^recipients +3 of 3", shown, re.MULTILINE)
    assert sorted(mail.recipients for mail in mail_server.received) == [
        (email,) for email in sorted(PEOPLE)
    ]

    mail = mail_server.received[0].message
    link = urlsplit(mail["List-Unsubscribe"].strip("<>"))
    page = Served.started(tmp_path / "page.log", *SERVING)
    try:
        status, _, _ = page.ask(
            link.path,
            method="POST",
            body=mail["List-Unsubscribe-Post"],
            Content_Type="application/x-www-form-urlencoded",
        )
    finally:
        page.end()
    assert status == http.client.OK
    with db.transaction() as conn:
        left = people.find_by_address(conn, mail_server.received[0].recipients[0])
    assert left.unsubscribed_at is not None


def test_no_more_are_sent_per_minute_than_may_be(
    users, start_worker, mail_server, conn, eventually
):
    """Two a second, with a burst of two: eight take three seconds."""
    wanted = 8 - len(users)
    with db.transaction() as own:
        for number in range(wanted):
            people.create(own, name="One", email=f"one{number}@example.org")
        found = campaigns.create(own, name="News", subject="News", text="{{ unsubscribe_url }}")
        start_campaign(own, found.id)

    start_worker(env={"SHOP_CAMPAIGN_RATE": "120"})

    query = """
        SELECT count(*), extract(epoch FROM max(sent_at) - min(sent_at)) FROM workshed_mail.emails
         WHERE state = 'sent'
    """
    conn.autocommit = True
    eventually(lambda: conn.execute(query).fetchone()[0] == 8)
    assert conn.execute(query).fetchone()[1] > 2.5


def test_the_states_of_the_page_are_those_there_are():
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, re.MULTILINE)

    names = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert names - {name for name in names if name.startswith("SHOP_")} == set(
        CampaignProgress.__slots__
    )


def test_the_settings_of_the_page_are_those_there_are():
    names = set(re.findall(r"`SHOP_((?:BULK|CAMPAIGN)_\w+)`", PAGE))

    assert names == {
        name.upper()
        for name in ShopSettings.model_fields
        if name.startswith(("bulk_", "campaign_"))
    }


def test_the_page_says_what_a_mail_must_have():
    for words in ("List-Unsubscribe=One-Click", "RFC 8058", "`unsubscribe_url`"):
        assert words in PAGE
    assert json.dumps(TEXT).count("{{ unsubscribe_url }}") == 1
