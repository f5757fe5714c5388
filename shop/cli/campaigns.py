"""`python -m shop campaigns`: email campaigns, from the draft to the outcome of each recipient."""

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import DryRun, Json, Limit, Yes
from workshed.console.formatting import TIME_METAVAR, format_ago, format_due, parse_time
from workshed.console.text import escape_control
from workshed.database.postgres import database_now

if TYPE_CHECKING:
    from shop.campaigns import Campaign, CampaignProgress, Choice
    from workshed.db import Connection

campaigns = typer.Typer(
    cls=ListByDefault, add_completion=False, help="Email campaigns, and what became of each."
)

CampaignId = Annotated[int, typer.Argument(metavar="ID", min=1, show_default=False)]
POLL_S = 0.2


@campaigns.command("list")
def listed(*, limit: Limit = 100, as_json: Json = False) -> None:
    """List the campaigns, the newest first; `python -m shop campaigns` does the same."""
    from shop.campaign_actions import as_data
    from shop.campaigns import get_progress_of_each, list_campaigns
    from workshed.console.cli.terminal import output
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn:
        found = list_campaigns(conn, limit)
        counted, now = get_progress_of_each(conn, [one.id for one in found]), database_now(conn)
    if as_json:
        output.print_json([as_data(one, counted[one.id]) for one in found])
    elif found:
        lines = [
            (
                *(one.id, one.name, one.state, format_summary(one, counted[one.id])),
                format_ago(one.created_at, now),
            )
            for one in found
        ]
        output.print_table(("id", "campaign", "state", "recipients", "made"), lines, elastic=1)
    else:
        output.print_message(
            "There are no campaigns; `python -m shop campaigns add NAME` makes a draft."
        )


@campaigns.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    subject: Annotated[str, typer.Option(metavar="TEMPLATE", help="May have {{ name }}.")],
    text: Annotated[
        Path, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Template.")
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Template.")
    ] = None,
    audience: Annotated[
        str,
        typer.Option(
            metavar="everyone|active|inactive", help="Which users, unless they unsubscribed."
        ),
    ] = "everyone",
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="User ids instead, one per line."
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(metavar="SELECT", help="A query instead, which returns user ids."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Store a draft, and print its id; nothing is sent.

    --to and --query choose recipients now, in one statement. Users who
    unsubscribe before the campaign begins are left out.

    Templates are Jinja templates with the variables name, email, product, site_url, campaign and
    unsubscribe_url. Text and HTML must show unsubscribe_url. All are rendered for a sample
    recipient first.
    """
    from shop.campaigns import Audience, check_templates, create
    from shop.campaigns import count_audience as recipients_of
    from workshed import db
    from workshed.console.cli.terminal import output
    from workshed.console.cli.terminal.audit import record_action
    from workshed.console.operations.environment import open_database

    if audience not in get_args(Audience):
        raise typer.BadParameter(f"--audience is one of {', '.join(get_args(Audience))}")
    if (audience != "everyone") + (to is not None) + (query is not None) > 1:
        raise typer.BadParameter("pass one of --audience, --to and --query")
    with open_database("shop"), db.transaction() as conn:
        found = create(
            conn,
            name=name,
            subject=subject,
            text=read_template(text),
            html=read_template(html) if html else None,
            audience=read_recipients(to, query) or audience,  # type: ignore[arg-type]  # as was just asked
        )
        check_templates(found)
        people = recipients_of(conn, found.id)
        record_action(conn, "campaigns.add", {"campaign": found.id}, said=f"{name!r} is a draft.")
    output.print_message(f"It would be sent to {people} people.")
    output.print_json({"campaign_id": found.id}) if as_json else print(found.id)


@campaigns.command()
def preview(campaign: CampaignId, *, as_json: Json = False) -> None:
    """Print the email that a sample recipient would get."""
    from shop.campaign_actions import require_campaign
    from shop.campaigns import check_templates
    from workshed.console.cli.terminal import output
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn:
        found = check_templates(require_campaign(conn, campaign))
    if as_json:
        parts = ("recipient", "recipient_name", "subject", "text_body", "html_body")
        output.print_json({part: getattr(found, part) for part in parts})
        return
    output.print_fields([("to", f"{found.recipient_name} <{found.recipient}>")])
    output.print_fields([("subject", found.subject)])
    print(f"\n{escape_control(found.text_body)}")


@campaigns.command()
def start(
    campaign: CampaignId,
    *,
    at: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_time, metavar=TIME_METAVAR, help="When to send it; with a time zone."
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send a draft to its audience, now or with --at; until then you can cancel it."""
    from actors import start_campaign
    from shop.campaign_actions import require_campaign
    from shop.campaigns import CampaignStateError, check_templates, count_audience
    from shop.settings import settings
    from workshed import db
    from workshed.console.cli.terminal import output
    from workshed.console.cli.terminal.audit import record_action
    from workshed.console.cli.terminal.confirm import require_confirmation
    from workshed.console.operations.environment import open_database, require_broker

    require_broker()
    when = f" at {at.isoformat(' ')}" if at else ""
    with open_database("shop") as conn:
        found = require_campaign(conn, campaign)
        if found.state != "draft":
            raise CampaignStateError(found.id, found.state, "started")
        check_templates(found)
        people = count_audience(conn, found.id)
        if not dry_run:
            require_confirmation(f"Send {found.name!r} to {people} people{when}", yes=yes)
            with db.transaction() as own:
                start_campaign(own, found.id, at=at)
                said = f"{found.name!r} is sent to {people} people{when}."
                record_action(own, "campaigns.start", {"campaign": found.id}, said=said)
    if as_json:
        output.print_json({"campaign_id": found.id, "recipients": people, "started": not dry_run})
    elif dry_run:
        print(f"{found.id}  would be sent to {people} people{when}")
    else:
        print(f"{found.id}  starting{when}")
        output.print_message(
            f"`python -m shop campaigns show {found.id} --watch` shows how far it is."
        )
    if not settings().site_url.startswith("https:"):
        output.print_message(
            "SHOP_SITE_URL is not https, so mail programs show no unsubscribe button."
        )


@campaigns.command("send-test")
def send_test(
    campaign: CampaignId,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Send a campaign's email to one address as a test.

    It is rendered for the user with that address, or else for a sample
    recipient. Its subject begins with [Test], and it is not counted.
    """
    from actors import send_test_email
    from shop.campaign_actions import require_campaign
    from workshed import db
    from workshed.console.cli.terminal import output
    from workshed.console.cli.terminal.audit import record_action
    from workshed.console.operations.environment import open_database, require_broker

    require_broker()
    with open_database("shop") as conn:
        found = require_campaign(conn, campaign)
        with db.transaction() as own:
            email_id = send_test_email(own, found.id, address)
            said = f"{found.name!r} is sent to one address as a test."
            record_action(
                own, "campaigns.send-test", {"campaign": found.id, "mail": email_id}, said=said
            )
    if as_json:
        output.print_json({"campaign_id": found.id, "mail_id": email_id})
    else:
        print(f"{found.id}  is sent to {address} as a test")


@campaigns.command()
def show(
    campaign: CampaignId,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show progress until it has ended or is paused.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what became of the recipients of a campaign."""
    from shop.campaign_actions import as_data, count_by_state, require_campaign
    from shop.campaigns import get_progress
    from workshed.console.cli.terminal import output
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn:
        found = watch_campaign(conn, campaign) if watch else require_campaign(conn, campaign)
        of, now = get_progress(conn, found.id), database_now(conn)
    if as_json:
        output.print_json(as_data(found, of))
        return
    times = {"made": found.created_at, "started": found.started_at, "ended": found.ended_at}
    output.print_fields(
        [
            ("id", found.id),
            ("name", found.name),
            ("audience", found.audience),
            ("state", found.state),
            *([("because", found.error)] if found.error else []),
            *([("goes on", format_due(found.resumes_at, now))] if found.resumes_at else []),
            *([("begins", format_due(at, now))] if (at := planned_start(found)) else []),
            *((name, format_ago(at, now)) for name, at in times.items() if at is not None),
            ("recipients", format_progress(of)),
            *((name, count) for name, count in count_by_state(of).items() if count),
        ]
    )
    if of.with_outcome - of.sent:
        output.print_message(
            f"\n`python -m shop campaigns recipients {found.id}` lists who did not get it."
        )


@campaigns.command()
def recipients(
    campaign: CampaignId,
    *,
    state: Annotated[
        str | None,
        typer.Option(metavar="STATE", help="Only these; by default, all who did not get it."),
    ] = None,
    after: Annotated[int, typer.Option(metavar="USER", help="Only after this user id.")] = 0,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List recipients with their state, and why they did not get it."""
    from shop.campaign_actions import require_campaign
    from shop.campaigns import CampaignProgress, RecipientOutcome, list_recipients
    from workshed.console.cli.terminal import output
    from workshed.console.operations.environment import open_database

    states = CampaignProgress.__slots__
    if state is not None and state not in states:
        raise typer.BadParameter(f"--state is one of {', '.join(states)}")
    wanted = [state] if state else [one for one in get_args(RecipientOutcome) if one != "sent"]
    with open_database("shop") as conn:
        found = list_recipients(
            conn, require_campaign(conn, campaign).id, states=wanted, after=after, limit=limit
        )
    if as_json:
        output.print_json(found)
    elif found:
        lines = [(one.user_id, one.email or "-", one.state, one.reason or "") for one in found]
        output.print_table(("user", "address", "state", "because"), lines, elastic=3)
        if len(found) == limit:
            output.print_message(f"There may be more: --after {found[-1].user_id}")
    else:
        output.print_message("There are no such recipients.")


@campaigns.command()
def pause(campaign: CampaignId, *, as_json: Json = False) -> None:
    """Pause a campaign until it is resumed; emails that are being sent are not stopped."""
    from shop.campaign_actions import require_campaign
    from shop.campaigns import CampaignStateError
    from shop.campaigns import pause as hold
    from workshed import db
    from workshed.console.cli.terminal.audit import record_action
    from workshed.console.cli.terminal.output import print_json
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn, db.transaction() as own:
        found = require_campaign(conn, campaign)
        if not hold(own, found.id):
            raise CampaignStateError(campaign, require_campaign(conn, campaign).state, "paused")
        said = f"{found.name!r} is paused."
        record_action(own, "campaigns.pause", {"campaign": found.id}, said=said)
    if as_json:
        print_json({"campaign_id": campaign, "state": "paused"})
    else:
        print(f"{campaign}  paused")


@campaigns.command()
def resume(
    campaign: CampaignId,
    *,
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="rejected|unknown|failed", help="Send it to these again."),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Resume a campaign that is paused, or whose jobs were purged.

    With --again it is also sent to those who did not get it. Of those whose
    outcome is unknown, some may get it twice.
    """
    from actors import resume_campaign
    from shop.campaign_actions import count_by_state, require_campaign
    from shop.campaigns import ResendState, get_progress
    from workshed import db
    from workshed.console.cli.terminal.audit import record_action
    from workshed.console.cli.terminal.confirm import require_confirmation
    from workshed.console.cli.terminal.output import print_json
    from workshed.console.operations.environment import open_database, require_broker

    wanted = again or []
    if not set(wanted) <= set(get_args(ResendState)):
        raise typer.BadParameter(f"--again is one of {', '.join(get_args(ResendState))}")
    require_broker()
    with open_database("shop") as conn:
        found = require_campaign(conn, campaign)
        people = sum(count_by_state(get_progress(conn, found.id))[state] for state in wanted)
        if wanted and not dry_run:
            require_confirmation(f"Send {found.name!r} to {people} people once more", yes=yes)
        with db.transaction() as own, own.transaction(force_rollback=dry_run):
            resume_campaign(own, found.id, wanted)  # type: ignore[arg-type]  # as was just asked
            said = f"{found.name!r} goes on" + (f", to {people} people again." if wanted else ".")
            record_action(
                own, "campaigns.resume", {"campaign": found.id, "again": wanted}, said=said
            )
    if as_json:
        print_json({"campaign_id": campaign, "again": people, "resumed": not dry_run})
    elif dry_run:
        print(f"{campaign}  would continue" + (f", to {people} people again" if wanted else ""))
    else:
        print(f"{campaign}  sending")


@campaigns.command()
def cancel(
    campaign: CampaignId, *, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Cancel a campaign for good; no more of it is sent."""
    from actors import cancel_campaign
    from shop.campaign_actions import require_campaign
    from shop.campaigns import get_progress
    from workshed import db
    from workshed.console.cli.terminal.audit import record_action
    from workshed.console.cli.terminal.confirm import require_confirmation
    from workshed.console.cli.terminal.output import print_json
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn:
        found = require_campaign(conn, campaign)
        left = get_progress(conn, found.id)
        unsent = left.waiting + left.handed
        if not dry_run:
            require_confirmation(
                f"Cancel {found.name!r}, which {unsent} people have yet to get", yes=yes
            )
            with db.transaction() as own:
                cancel_campaign(own, found.id)
                said = f"{found.name!r} is cancelled, which {unsent} people had yet to get."
                record_action(own, "campaigns.cancel", {"campaign": found.id}, said=said)
    if as_json:
        print_json({"campaign_id": found.id, "unsent": unsent, "cancelled": not dry_run})
    elif dry_run:
        print(f"{found.id}  would be cancelled, which {unsent} people have yet to get")
    else:
        print(f"{found.id}  cancelled")


def read_recipients(to: Path | None, query: str | None) -> "list[int] | Choice | None":
    """Return the recipients that a file or a query names; `None` if neither is given."""
    from psycopg import sql

    from shop.campaigns import Choice

    if query is not None:
        # Safe, because it comes from an operator, who has full access to the database anyway.
        return Choice(sql.SQL(query))
    if to is None:
        return None
    try:
        return [int(word) for word in read_template(to).split()]
    except ValueError as err:
        raise typer.BadParameter(f"{to} holds something other than user ids: {err}") from None


def planned_start(campaign: "Campaign") -> datetime | None:
    """Return when a campaign with a start time begins; `None` if it has begun or has none."""
    return campaign.starts_at if campaign.state == "starting" else None


def format_summary(campaign: "Campaign", of: "CampaignProgress") -> str:
    """Format its progress; once it has ended, its outcomes: `4 624 sent, 376 failed`."""
    return of.summary if campaign.ended_at and of.total else format_progress(of)


def read_template(path: Path) -> str:
    """Read a file; raises `BadParameter` if it is not UTF-8."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path} is not UTF-8") from None


def watch_campaign(conn: "Connection", campaign_id: int) -> "Campaign":
    """Wait until nothing more is sent, with a progress bar on a terminal; return the campaign."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    from shop.campaign_actions import require_campaign
    from shop.campaigns import get_progress

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("mails"), TimeElapsedColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("", total=None)
        while (found := require_campaign(conn, campaign_id)).state in ("starting", "sending"):
            began = time.monotonic()
            of = get_progress(conn, campaign_id)
            bar.update(task, total=of.total, completed=of.with_outcome)
            time.sleep(max(POLL_S, time.monotonic() - began))
    return found


def format_progress(of: "CampaignProgress") -> str:
    """Format its progress: `9990 of 10000`."""
    return f"{of.with_outcome} of {of.total}"
