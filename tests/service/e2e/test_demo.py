"""`python -m shop.demo` without a terminal returns 0 only if every step was seen."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from shop.demo.broker_choice import choose_servers
from shop.demo.display import BAR_WIDTH, ProgressDisplay
from shop.demo.fairness import FairnessDemo
from shop.demo.people import read_people
from tests import pages
from tests.transcripts import alike
from workshed.console.cli.setup.dev import is_without_rabbitmq
from workshed.console.cli.terminal.options import BrokerKind
from workshed.devserver import install
from workshed.settings import settings

WITHOUT_RABBITMQ = pages.block("docs/demo.md", "postgresql")
TRANSCRIPT = pages.block("docs/demo.md", "transcript")
VARIES = {
    re.compile(r"\w{3} \d\d \w{3} \d\d:\d\d"): "DATE",
    re.compile(r"(?<=login )(\w+), \S+"): "\\1, PASSWORD",
    re.compile(r"\d[\d.,:]*"): "NUMBER",
    re.compile(r"─+"): "RULE",
}
"""Values that differ between runs of the demo."""


def test_every_step_is_seen_and_everything_stops(run_cold, tmp_path):
    code, said = run_cold("-P", "-m", "shop.demo")

    assert code == 0, said
    assert "Every step was seen" in said
    for person in read_people():
        assert person.email in said
    assert "discarded: user 11 does not exist" in said
    assert "retry: MailTemporarilyRefusedError" in said
    assert "RabbitMQ UI  http://127.0.0.1:" in said
    assert re.search(
        r"^Console +http://127\.0\.0\.1:\d+/console/  login demo, \S{12}$", said, re.MULTILINE
    )
    assert "became image/jpeg of 400x600" in said
    assert "refused: it is an SVG" in said
    assert "people.csv became 9697 users and 303 failed rows" in said
    for kind in (
        "no name",
        "no address",
        "address",
        "name",
        "duplicate",
        "taken",
        "columns",
        "nul",
    ):
        assert re.search(rf"^ +\d+ {kind} ", said, re.MULTILINE)
    assert "2 new users, 13 active" in said
    assert "mailed to 2 admins; its chart is in var/report.png" in said
    assert (tmp_path / "var" / "report.png").read_bytes().startswith(b"\x89PNG")
    for error in ("429 Too Many Requests", "500 Internal Server Error", "its answer is no JSON"):
        assert re.search(rf"^  {error}.* waits \d+ s, run at once$", said, re.MULTILINE)
    assert "40 records, and the admins were notified of both" in said
    assert re.search(
        r"^  paused at \d+, customer\d+@shop.example unsubscribed, resumed$", said, re.MULTILINE
    )
    assert "  498 sent, 1 unsubscribed, 1 rejected" in said
    assert "  the campaign paused: " in said
    assert "421 4.3.2 Down for maintenance" in " ".join(said.split())
    assert re.search(
        r"^  \d+ mails waited for it at no attempt, .* 0 jobs died", said, re.MULTILINE
    )
    for queue, weight in (
        ("critical", 3),
        ("default", 2),
        ("imports", 2),
        ("emails", 1),
        ("low", 1),
    ):
        assert re.search(
            rf"^  {queue} +weight {weight} +\d+ of the first 810, ", said, re.MULTILINE
        )
    assert {
        what: numbers
        for what, *numbers in re.findall(
            r"^ (\w[\w ]*?) +(\d+) +(\d+) +(\d+) +\S.*?  (\d+) ", said, re.MULTILINE
        )
    } == {
        "welcome mails": ["11", "1", "1", "11"],
        "pictures": ["1", "1", "0", "6"],
        "imported rows": ["9697", "303", "0", "9697"],
        "report mails": ["2", "0", "0", "2"],
        "synced changes": ["40", "0", "3", "40"],
        "campaign mails": ["498", "2", "0", "498"],
        "jobs of full queues": ["1500", "0", "0", "5"],
    }
    shown = [line for line in TRANSCRIPT.splitlines() if line.strip(" …")]
    assert [line for line in shown if not _is_printed(line, said.splitlines())] == []
    assert "does not answer" not in said
    assert not _left_behind(said)


def test_without_rabbitmq_every_step_is_seen(run_cold):
    """`make demo BROKER=postgresql` passes the option of its page's command."""
    assert WITHOUT_RABBITMQ == "make demo BROKER=postgresql\n"
    make = (pages.ROOT / "Makefile").read_text("utf-8")
    assert "-m shop.demo $(if $(BROKER),--broker $(BROKER))\n" in make

    code, said = run_cold("-P", "-m", "shop.demo", "--broker", "postgresql")

    assert code == 0, said
    assert "jobs are queued in PostgreSQL alone …" in said
    assert "Every step was seen" in said
    assert "RabbitMQ" not in said
    assert re.search(r"^Console +http://127\.0\.0\.1:\d+/console/  login", said, re.MULTILINE)
    assert not _left_behind(said)


@pytest.mark.parametrize("broker", [None, BrokerKind.RABBITMQ])
def test_only_without_a_choice_it_goes_on_where_rabbitmq_cannot_be_had(monkeypatch, broker):
    out = io.StringIO()
    monkeypatch.delenv("WORKSHED_BROKER_URL", raising=False)
    settings.cache_clear()
    monkeypatch.setattr(install, "find_scripts", lambda *_: None)
    monkeypatch.setattr(install.shutil, "which", lambda _: None)  # no package manager

    given = choose_servers(Console(file=out, width=200), broker)

    assert is_without_rabbitmq(given) is (broker is None)
    assert ("RabbitMQ is neither installed nor installable" in out.getvalue()) is (broker is None)


def test_bars_grow_on_a_terminal():
    out = io.StringIO()
    weighed = FairnessDemo({"critical": 3})

    with ProgressDisplay(Console(file=out, force_terminal=True, width=100), 12, 11) as bars:
        for weighed.succeeded in (0, 700, 1_500):
            bars.update([], [weighed])

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    last = [line for line in re.split(r"[\r\n]+", shown) if line.startswith("queues")][-1]
    assert "1500/1500" in last
    assert "━" * BAR_WIDTH in last
    assert re.search(r"^queued .* 0/12 ", shown, re.MULTILINE)


def test_a_step_that_was_not_seen_is_named_and_fails(run_cold, tmp_path):
    """With a worker that finds other actors, nothing is sent, and the demo says so."""
    (tmp_path / "actors.py").write_text("raise ImportError('broken on purpose')\n")

    code, said = run_cold("-P", "-m", "shop.demo")

    assert code == 1
    assert "not seen: ada@example.org: sent" in said
    assert "not seen: beach.jpg: image_processed in the browser" in said
    assert "not seen: report of yesterday: stored" in said
    assert "not seen: crm: its recovery" in said
    assert "not seen: campaign: sent to its end" in said
    assert "not seen: outage: its mails wait for it" in said
    assert "the worker ended with code 2" in said


def _is_printed(line, printed):
    """Return whether the demo printed a line of its page, ignoring values that vary.

    On a busy machine one line may report several steps of a person's welcome.
    """
    if person := re.fullmatch(r"  (\S+@\S+) +(.+)", line):
        steps = " ".join(other for other in printed if other.startswith(f"  {person[1]} "))
        return all(step.rstrip(" …") in steps for step in person[2].split(", "))
    return any(alike(line, other, VARIES) for other in printed)


def _left_behind(said):
    log = next(line.split()[-1] for line in said.splitlines() if line.startswith("Worker log"))
    folder = str(Path(log).parent)
    return [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if folder.encode() in _command_line(path)
    ]


def _command_line(path):
    """Return the command line of a process; empty if it has ended meanwhile."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
