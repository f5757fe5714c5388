"""Show the demo on a terminal, or print it line by line to a log."""

from collections.abc import Iterable
from typing import Self
from urllib.parse import urlsplit

from rich import box
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from shop.demo.people import Person
from shop.demo.pictures import UploadDemo
from shop.demo.results_table import ResultRow
from shop.demo.scenario import DemoScenario
from shop.demo.signups import SignupDemo
from workshed.devserver import DevServers

BAR_WIDTH = 30
RESULT_COLUMNS = ("what", "done", "refused", "retried", "how fast", "found again")
NUMBER_COLUMNS = ("done", "refused", "retried")
WIDEST = 1_000
"""Columns of a terminal on which every table fits."""


class ProgressDisplay:
    """Progress bars on a terminal; otherwise a line for each new event of a welcome email."""

    def __init__(self, console: Console, people: int, welcomed: int) -> None:
        self.console = console
        self._printed: dict[str, set[str]] = {}
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(BAR_WIDTH),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bars = {
            name: self._progress.add_task(name, total=total)
            for name, total in (
                ("queued", people),
                ("sent", welcomed),
                ("delivered", welcomed),
                ("reminder", welcomed),
            )
        }

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self._progress.stop()

    def update(self, sightings: list[SignupDemo], parts: list[DemoScenario]) -> None:
        """Draw the current progress, and print new events."""
        for name, number, total in (one.progress for one in parts):
            if name not in self._bars:
                self._bars[name] = self._progress.add_task(name, total=total)
            self._progress.update(self._bars[name], completed=number)
        for sighting in sightings:
            self._print_news(sighting)
        seen = {
            "queued": sum(s.queued for s in sightings),
            "sent": sum(s.sent_at is not None for s in sightings),
            "delivered": sum(s.delivered for s in sightings),
            "reminder": sum(s.reminder_at is not None for s in sightings),
        }
        for name, number in seen.items():
            self._progress.update(self._bars[name], completed=number)

    def _print_news(self, sighting: SignupDemo) -> None:
        known = {
            "queued": sighting.queued,
            "sent": sighting.sent_at,
            "delivered": sighting.delivered,
            "reminder scheduled": sighting.reminder_at,
        }
        bars = [what for what, seen in known.items() if seen and not self.console.is_terminal]
        news = [f"{attempt.outcome}: {attempt.reason}" for attempt in sighting.attempts]
        shown = self._printed.setdefault(sighting.message_id, set())
        if new := [what for what in news + bars if what not in shown]:
            shown.update(new)
            line = f"  {sighting.person.email:<34} {', '.join(new)}"
            self.console.print(Text(line), soft_wrap=True)


def print_addresses(console: Console, servers: DevServers, log: str) -> None:
    """Print the addresses, logins and files of the demo."""
    if servers.rabbitmq:
        ui = urlsplit(servers.rabbitmq.management_url)
        login = f"login {ui.username}, {ui.password}"
        console.print(f"RabbitMQ UI  http://{ui.hostname}:{ui.port}  {login}", soft_wrap=True)
    if servers.maildir:
        console.print(f"Mails        {servers.maildir}", soft_wrap=True)
    console.print(f"Worker log   {log}", soft_wrap=True)


def print_people(console: Console, sightings: list[SignupDemo]) -> None:
    """Print one row per person."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("person", "address", "sent", "delivered", "reminder due"):
        table.add_column(column, no_wrap=True)
    table.add_column("other outcomes", overflow="fold")
    for s in sightings:
        table.add_row(
            Text(s.person.name),
            Text(s.person.email),
            f"{s.sent_at:%H:%M:%S}" if s.sent_at else "-",
            "yes" if s.delivered else "-",
            f"{s.reminder_at:%a %d %b %H:%M}" if s.reminder_at else "-",
            Text(s.summary_line()),
        )
    console.print(table)


def print_results(console: Console, rows: Iterable[ResultRow]) -> None:
    """Print how much was done, refused and retried, and how fast.

    On a narrow terminal the last columns are left out, so that no number is cut off.
    """
    found = list(rows)
    for number in range(len(RESULT_COLUMNS), len(NUMBER_COLUMNS), -1):
        table = _build_results(found, RESULT_COLUMNS[:number])
        wide = console.options.update_width(WIDEST)  # otherwise it would always seem to fit
        if console.measure(table, options=wide).maximum <= console.width:
            break
    console.print(table)


def _build_results(rows: list[ResultRow], columns: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify: JustifyMethod = "right" if column in NUMBER_COLUMNS else "left"
        table.add_column(column, no_wrap=True, justify=justify)
    for row in rows:
        numbers = (str(number) for number in (row.done, row.refused, row.retried))
        cells = (row.label, *numbers, row.speed, row.cross_check)
        table.add_row(*cells[: len(columns)])
    return table


def print_scenario(console: Console, of: DemoScenario) -> None:
    """Print what happened in a part of the demo."""
    console.print(Text(f"{of.title}:"), soft_wrap=True)
    for line in of.summary_lines():
        console.print(Text(f"  {line}"), soft_wrap=True)


def print_uploads(console: Console, person: Person, uploads: list[UploadDemo]) -> None:
    """Print the events that a person's browser received about their uploads, and how soon."""
    console.print(f"{person.name} uploaded two files; received as server-sent events:")
    for one in uploads:
        after = f"{one.seconds:.1f} s" if one.event_data else "-"
        console.print(
            Text(f"  {one.filename:<12} {after:>6}  {one.summary_line()}"), soft_wrap=True
        )
