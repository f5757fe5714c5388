"""`workshed doctor` on the service: its own checks and settings."""

import sys

import pytest

from shop.reports.attachments import load_draw_chart
from tests.library.integration.console.test_doctor import healthy, levels, only, relay, worked
from tests.service.integration.console import kinds
from workshed.console.doctor import build_context, list_checks, run_checks

__all__ = ["healthy", "relay", "worked"]


@pytest.fixture
def examined():
    """Return the current findings of the checks, by name."""

    def run():
        here = build_context(("actors",), 1, 8)
        return run_checks(here, list_checks(here))

    return run


def test_all_is_well(workshed, worked):
    load_draw_chart()  # loads Matplotlib, which on a busy machine takes longer than a check may
    words = ("--import", "actors", "--processes", "1", "--stop-within", "30s")
    done = workshed("doctor", *words)

    assert done.code == 0, done.out
    assert {line.split()[0] for line in done.lines if line[0] != " "} == {"ok"}
    assert max(map(len, done.lines)) <= 80
    assert done.err.endswith(" ok\n")


@pytest.mark.parametrize(
    ("check", "name", "value", "said"),
    [
        ("mail", "MAIL_FROM", "Ada", "'Ada' is not like Name <someone@example.org>"),
        ("mail", "SMTP_URL", "smtp://u:secret@h:port", "host or port cannot be read"),
        ("storage", "STORAGE_URL", "s3://bucket?regoin=x", "regoin"),
    ],
)
def test_settings_of_an_added_check_are_reported_by_it(
    examined, healthy, env, check, name, value, said
):
    env(**{name: value})

    first = examined()[check][0]

    assert (first.level, said in first.message) == ("failed", True), first.message
    assert first.message.startswith(f"WORKSHED_{name}: ")
    assert first.fix.endswith(f"unset WORKSHED_{name}")
    assert "secret" not in first.message


def test_settings_of_an_application_are_checked_like_ours(examined, healthy, monkeypatch):
    monkeypatch.setenv("SHOP_SYNC_EVRY", "60")
    monkeypatch.setenv("SHOP_IMAGE_MAX_BYTES", "s3cret")

    found = [one for one in examined()["environment"] if one.message.startswith("SHOP_")]

    assert [one.level for one in found] == ["failed"] * 2
    assert found[0].message == "SHOP_SYNC_EVRY is not a setting; did you mean SHOP_SYNC_EVERY?"
    assert found[1].message.startswith("SHOP_IMAGE_MAX_BYTES: Input should be a valid integer")
    assert found[1].fix.endswith("use the default (30000000): unset SHOP_IMAGE_MAX_BYTES")
    assert "s3cret" not in found[1].message + found[1].fix


def test_a_mail_server_that_does_not_take_the_login(examined, healthy, mail_server, env):
    env(SMTP_URL=mail_server.url.replace("smtp://", "smtp://ada:secret@"))

    found = only(examined()["mail"])

    assert found.level == "failed"
    assert "secret" not in found.message + found.fix


def test_a_mail_server_that_takes_no_mails_and_mails_that_are_held(examined, healthy):
    assert only(examined()["mails"]).level == "ok"
    kinds.mail_in_doubt()

    server, held = examined()["mails"]

    assert (server.level, held.level) == ("warning", "warning")
    assert "mail.example.org:25 accepts no emails, since" in server.message
    assert "it answered 421 closing" in server.message
    assert held.message == "held mails that may have arrived twice: 1"


def test_mails_into_a_folder(examined, healthy, tmp_path, env):
    env(SMTP_URL=f"maildir:{tmp_path}/new/mail")
    assert only(examined()["mail"]).level == "ok"

    (tmp_path / "file").write_text("")
    env(SMTP_URL=f"maildir:{tmp_path}/file/mail")

    assert "mails cannot be written to" in only(examined()["mail"]).message


def test_charts_that_cannot_be_drawn(examined, healthy, monkeypatch):
    load_draw_chart()  # loads Matplotlib, which on a busy machine takes longer than a check may

    assert levels(examined()["charts"]) == ["ok"]

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "shop.reports.chart", raising=False)

    found = only(examined()["charts"])
    assert (found.level, found.fix) == ("warning", "pip install matplotlib")
