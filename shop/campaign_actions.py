"""Lookup and data of campaigns, shared by commands and pages."""

from typing import Any

from shop import campaigns
from shop.campaigns import Campaign, CampaignProgress
from workshed.console.errors import NotFoundError
from workshed.db import Connection
from workshed.jobs import RecordMissing

FIELDS = (
    *("id", "name", "audience", "state", "error"),
    *("created_at", "starts_at", "started_at", "resumes_at", "ended_at"),
)


def require_campaign(conn: Connection, campaign_id: int) -> Campaign:
    """Return a campaign; raises `NotFoundError`."""
    try:
        return campaigns.get_campaign(conn, campaign_id)
    except RecordMissing:
        raise NotFoundError(
            f"there is no campaign {campaign_id}; see `python -m shop campaigns`"
        ) from None


def count_by_state(of: CampaignProgress) -> dict[str, int]:
    """Return the number of recipients by state."""
    return {name: getattr(of, name) for name in of.__slots__}


def as_data(found: Campaign, of: CampaignProgress | None) -> dict[str, Any]:
    """Return a campaign as JSON data, without its templates.

    `of` is `None` if its recipients were not counted.
    """
    facts = {part: getattr(found, part) for part in FIELDS}
    if of is None:
        return facts | {"recipients": None}
    return facts | {
        "recipients": {"total": of.total, "ended": of.with_outcome, **count_by_state(of)}
    }
