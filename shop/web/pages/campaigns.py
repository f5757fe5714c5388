"""Console pages for campaigns and the outcome of each recipient."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from actors import cancel_campaign, resume_campaign
from shop import campaigns
from shop.campaign_actions import as_data, count_by_state, require_campaign
from shop.campaigns import (
    Campaign,
    CampaignProgress,
    CampaignStateError,
    RecipientOutcome,
    ResendState,
)
from workshed.console.errors import NotFoundError
from workshed.console.operations.environment import require_broker
from workshed.console.web.view.page import (
    ROWS,
    Action,
    ActionRequest,
    ActionResult,
    BadQueryError,
    Page,
    PageRequest,
)
from workshed.db import Connection
from workshed.errors import WorkshedError

MAX_COUNTED = 5_000
"""An ended campaign with more recipients than this is not counted on the list page."""
PER_PAGE = 20
MAX_DIGITS = 18
"""Digits that always fit into PostgreSQL's bigint."""


def load_list(ask: PageRequest) -> Mapping[str, Any]:
    """Show the newest campaigns."""
    found = campaigns.list_campaigns(ask.conn, PER_PAGE + 1, before=ask.number("before"))
    older = found[PER_PAGE - 1].id if len(found) > PER_PAGE else None
    counted = _count_progress(ask.conn, found[:PER_PAGE])
    shown = [as_data(one, counted.get(one.id)) for one in found[:PER_PAGE]]
    return {"campaigns": shown, "older": older}


def load_detail(ask: PageRequest) -> Mapping[str, Any]:
    """Show a campaign, with its recipients in one state, or by default all who did not get it."""
    found = require_campaign(ask.conn, ask.number("id") or 0)
    of = campaigns.get_progress(ask.conn, found.id)
    wanted, after = _requested_states(ask), ask.number("after") or 0
    rows: list[campaigns.Recipient] = []
    if any(
        count_by_state(of)[state] for state in wanted
    ):  # otherwise all would be read to find none
        rows = campaigns.list_recipients(
            ask.conn, found.id, states=wanted, after=after, limit=ROWS + 1
        )
    return {
        "campaign": as_data(found, of) | {"subject": found.subject, "batch": found.batch},
        "templates": {"text": found.text_body, "html": found.html_body},
        "recipients": rows[:ROWS],
        "next": rows[ROWS - 1].user_id if len(rows) > ROWS else None,
    }


def pause_sending(deed: ActionRequest) -> ActionResult:
    """Pause a campaign until it is resumed; emails that are being sent are not stopped."""
    found = _requested_campaign(deed)
    if not campaigns.pause(deed.conn, found.id):
        raise CampaignStateError(found.id, require_campaign(deed.conn, found.id).state, "paused")
    return _build_result(found, f"Campaign {found.id} is paused.")


def resume_sending(deed: ActionRequest) -> ActionResult:
    """Resume a campaign."""
    require_broker()
    found = _requested_campaign(deed)
    resume_campaign(deed.conn, found.id)
    return _build_result(found, f"Campaign {found.id} goes on.")


def resend_campaign(deed: ActionRequest) -> ActionResult:
    """Send a campaign once more to recipients in some states, which may include unknown ones."""
    require_broker()
    found, states = _requested_campaign(deed), deed.form.all("state")
    wanted = [state for state in get_args(ResendState) if state in states]
    if not wanted or len(wanted) != len(states):
        raise BadQueryError(f"each is one of {', '.join(get_args(ResendState))}", "state")
    people = sum(
        count_by_state(campaigns.get_progress(deed.conn, found.id))[state] for state in wanted
    )
    if not people:
        raise WorkshedError(f"Campaign {found.id} has no recipients who are {' or '.join(wanted)}.")
    if not deed.form.has("sure"):
        said = f"This would send {found.name!r} once more to {_format_people(people)}."
        if "unknown" in wanted:
            said += " Some of them may have received it already, and may get it twice."
        fields = [("id", str(found.id)), *(("state", state) for state in wanted), ("sure", "yes")]
        return _build_confirmation(found, said, people, fields, f"Send to {_format_people(people)}")
    resume_campaign(deed.conn, found.id, wanted)
    said = f"Campaign {found.id} is sent once more to {_format_people(people)}."
    return _build_result(found, said, count=people, again=wanted)


def cancel_sending(deed: ActionRequest) -> ActionResult:
    """Cancel a campaign for good."""
    require_broker()
    found = _requested_campaign(deed)
    if not deed.form.has("sure"):
        if found.ended_at is not None:
            raise CampaignStateError(found.id, found.state, "cancelled")
        left = campaigns.get_progress(deed.conn, found.id)
        unsent = left.waiting + left.handed
        said = (
            f"This would cancel {found.name!r}, which {_format_people(unsent)} have yet to get. "
            "This cannot be undone."
        )
        fields = [("id", str(found.id)), ("sure", "yes")]
        return _build_confirmation(found, said, unsent, fields, "Cancel the campaign")
    cancel_campaign(deed.conn, found.id)
    return _build_result(found, f"Campaign {found.id} is cancelled.")


def _count_progress(conn: Connection, found: Sequence[Campaign]) -> dict[int, CampaignProgress]:
    """Count the recipients of campaigns that have not ended, and of small ones that have."""
    ended = [one.id for one in found if one.ended_at is not None]
    others = [one.id for one in found if one.ended_at is None]
    return {
        **campaigns.get_progress_of_small(conn, ended, MAX_COUNTED),
        **campaigns.get_progress_of_each(conn, others),
    }


def _requested_states(ask: PageRequest) -> list[str]:
    state = ask.text("state")
    if state is None:
        return [one for one in get_args(RecipientOutcome) if one != "sent"]
    if state not in CampaignProgress.__slots__:
        raise BadQueryError(
            f"{state!r} is none of {', '.join(CampaignProgress.__slots__)}", "state"
        )
    return [state]


def _requested_campaign(deed: ActionRequest) -> Campaign:
    said = deed.form.one("id")
    if not (said.isascii() and said.isdigit() and len(said) <= MAX_DIGITS):
        raise NotFoundError(f"There is no campaign {said!r}.")
    return require_campaign(deed.conn, int(said))


def _format_people(number: int) -> str:
    return "1 person" if number == 1 else f"{number} people"


def _build_result(found: Campaign, said: str, count: int = 1, **about: Any) -> ActionResult:
    return ActionResult(said, count, {"campaign_id": found.id, **about}, f"/campaign?id={found.id}")


def _build_confirmation(
    found: Campaign, said: str, count: int, fields: Sequence[tuple[str, str]], button: str
) -> ActionResult:
    back = f"/campaign?id={found.id}"
    return ActionResult(said, count, back=back, confirm=fields, button=button)


PAGES: tuple[Page, ...] = (
    Page(
        "/campaigns",
        "Campaigns",
        "shop.web.pages:campaigns.html",
        load_list,
        group="Product",
        is_live=True,
        required_schema="shop",
    ),
    Page(
        "/campaign",
        "Campaign",
        "shop.web.pages:campaign.html",
        load_detail,
        is_live=True,
        required_schema="shop",
    ),
)
ACTIONS: tuple[Action, ...] = (
    Action("/campaigns/pause", "campaigns.pause", pause_sending, required_schema="shop"),
    Action("/campaigns/resume", "campaigns.resume", resume_sending, required_schema="shop"),
    Action("/campaigns/again", "campaigns.again", resend_campaign, required_schema="shop"),
    Action("/campaigns/cancel", "campaigns.cancel", cancel_sending, required_schema="shop"),
)
