"""What commands and pages say of a campaign."""

from typing import Any

from shop import campaigns
from shop.campaigns import Campaign, CampaignProgress
from workshed.console.errors import NotFoundError
from workshed.db import Connection
from workshed.jobs import RecordMissing

PARTS = (
    *("id", "name", "audience", "state", "error"),
    *("created_at", "starts_at", "started_at", "resumes_at", "ended_at"),
)


def known(conn: Connection, campaign_id: int) -> Campaign:
    """Return a campaign; raises `NotFoundError`."""
    try:
        return campaigns.find(conn, campaign_id)
    except RecordMissing:
        raise NotFoundError(
            f"there is no campaign {campaign_id}; see `python -m shop campaigns`"
        ) from None


def counts(of: CampaignProgress) -> dict[str, int]:
    """Return how many are in which state."""
    return {name: getattr(of, name) for name in of.__slots__}


def as_data(found: Campaign, of: CampaignProgress | None) -> dict[str, Any]:
    """Return a campaign as programs read it; its templates are not part of that.

    `of`: `None` where its recipients were not counted.
    """
    facts = {part: getattr(found, part) for part in PARTS}
    if of is None:
        return facts | {"recipients": None}
    return facts | {"recipients": {"total": of.total, "ended": of.ended, **counts(of)}}
