"""A campaign to 500 people: one unsubscribes while it is paused, one cannot be reached."""

import http.client
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from actors import resume_campaign, start_campaign
from shop import campaigns
from shop.campaigns import Campaign, CampaignProgress
from shop.people import unsubscribe_links
from workshed import db
from workshed.db import Connection

AUDIENCE, PAUSED_AT = 500, 100
UNREACHABLE = "customer007@shop.example"
"""The mail server refuses this address permanently, if the demo started that server."""
NEWS = """Hello {{ name }},

the walnut desk is back, and a lamp goes with it.

No more of these: {{ unsubscribe_url }}
"""
PAGE = """<style>a { color: #1f6653 }</style>
<p>Hello {{ name }},</p>
<p>the walnut desk is back, and a lamp goes with it: <a href="{{ site_url }}">see both</a>.</p>
<p><a href="{{ unsubscribe_url }}">No more of these</a></p>
"""
Step = Literal["begun", "paused", "resumed"]


@dataclass(slots=True)
class CampaignDemo:
    """The demo's campaign, and what was seen of it so far."""

    campaign_id: int
    refused: int
    """How many addresses the mail server refuses."""
    step: Step = "begun"
    latest: Campaign | None = None
    counts: CampaignProgress = field(default_factory=CampaignProgress)
    paused_at: int = 0
    unsubscribed_address: str = ""
    """Address of the recipient who unsubscribed."""

    @property
    def title(self) -> str:
        """Say what it is."""
        return f"A campaign to {AUDIENCE} customers, behind all other mails"

    @property
    def progress(self) -> tuple[str, int, int]:
        """How many recipients have an outcome."""
        return "campaign", self.counts.with_outcome, AUDIENCE

    @property
    def pending(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        seen = {
            "sent to its end": self.latest is not None and self.latest.state == "sent",
            "paused and resumed": self.step == "resumed",
            "one who unsubscribed": self.counts.unsubscribed == 1,
            f"{self.refused} refused": self.counts.rejected == self.refused,
            f"{AUDIENCE} outcomes": self.counts.with_outcome == AUDIENCE,
        }
        return [f"campaign: {what}" for what, is_seen in seen.items() if not is_seen]

    def update(self, conn: Connection) -> None:
        """Look once; when some of it is sent, pause it, unsubscribe a recipient, and resume it."""
        self.latest = campaigns.get_campaign(conn, self.campaign_id)
        self.counts = campaigns.get_progress(conn, self.campaign_id)
        match self.step:
            case "begun" if self.counts.sent >= PAUSED_AT:
                with db.transaction() as own:
                    campaigns.pause(own, self.campaign_id)
                self.paused_at = campaigns.get_progress(conn, self.campaign_id).sent
                self.unsubscribed_address = _unsubscribe_last(conn, self.campaign_id)
                self.step = "paused"
            case "paused":
                with db.transaction() as own:
                    resume_campaign(own, self.campaign_id)
                self.step = "resumed"

    def summary_lines(self) -> Iterator[str]:
        """Yield lines that say what happened."""
        yield (
            f"paused at {self.paused_at}, {self.unsubscribed_address or 'no recipient'} "
            "unsubscribed, resumed"
        )
        counts = {name: getattr(self.counts, name) for name in self.counts.__slots__}
        yield ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def begin_campaign(refuse: Callable[[int, str | None], None] | None) -> CampaignDemo:
    """Create customers, and start a campaign; `refuse` makes the mail server refuse an address."""
    people = """
        INSERT INTO shop.users (name, email, created_at, activated_at)
        SELECT 'Customer ' || n, 'customer' || to_char(n, 'FM000') || '@shop.example', at, at
          FROM generate_series(1, %s) AS n, (SELECT workshed.now() - interval '90 days') AS t (at)
        RETURNING id
    """
    if refuse is not None:
        refuse(550, UNREACHABLE)
    with db.transaction() as conn:
        # By user id, because other users sign up and are imported at the same time.
        customers = [user_id for (user_id,) in conn.execute(people, (AUDIENCE,)).fetchall()]
        found = campaigns.create(
            conn,
            name="The walnut desk is back",
            subject="The walnut desk is back, {{ name | shortened }}",
            text=NEWS,
            html=PAGE,
            audience=customers,
        )
        start_campaign(conn, found.id)
    return CampaignDemo(found.id, refused=int(refuse is not None))


def _unsubscribe_last(conn: Connection, campaign_id: int) -> str:
    """Unsubscribe the last recipient without an email, as mail programs do; return the address."""
    query = """
        SELECT u.id, u.email
          FROM shop.campaign_recipients AS r JOIN shop.users AS u ON u.id = r.user_id
         WHERE r.campaign_id = %s AND r.email_id IS NULL AND u.email <> %s
         ORDER BY u.id DESC LIMIT 1
    """
    for user_id, email in conn.execute(query, (campaign_id, UNREACHABLE)).fetchall():
        link = urlsplit(unsubscribe_links.build_link(user_id))
        with closing(http.client.HTTPConnection(link.netloc, timeout=10)) as page:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            page.request("POST", link.path, "List-Unsubscribe=One-Click", headers)
            if page.getresponse().status == http.client.OK:
                return str(email)
    return ""
