"""A mail server that goes down in the middle of a campaign: no email is lost, and no job dies."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from shop.demo.campaign import CampaignDemo
from workshed.db import Connection

if TYPE_CHECKING:
    from workshed.devserver.mail import MailCatcher

STOP_AT = 250
"""It goes down once so many emails of the campaign are sent."""
Step = Literal["up", "down", "up again"]


@dataclass(slots=True)
class OutageDemo:
    """The outage of the demo's mail server, and what was seen of it so far."""

    server: "MailCatcher"
    campaign: CampaignDemo
    step: Step = "up"
    pause_reason: str = ""
    """Why the campaign has paused."""
    waiting_mails: int = 0
    """Emails that were not sent yet."""
    dead_jobs: int | None = field(default=None)

    @property
    def title(self) -> str:
        """Say what it is."""
        return "A mail server that goes down in the middle of it"

    @property
    def progress(self) -> tuple[str, int, int]:
        """How far the outage has come."""
        return "outage", ("up", "down", "up again").index(self.step), 2

    @property
    def pending(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        over = self.campaign.latest is not None and self.campaign.latest.ended_at is not None
        seen = {
            "its mails wait for it": self.step == "up again",
            "all of them sent": over and self.dead_jobs == 0,
        }
        return [f"outage: {what}" for what, is_seen in seen.items() if not is_seen]

    def update(self, conn: Connection) -> None:
        """Look once; stop the server after some emails, start it once the campaign has paused."""
        found = self.campaign.latest
        if found is None:
            return
        if self.step == "up" and self.campaign.step == "resumed":
            if self.campaign.counts.sent >= STOP_AT:
                self.server.go_down()
                self.step = "down"
        elif self.step == "down" and found.resumes_at is not None:
            self.pause_reason = found.error or ""
            self.waiting_mails = self.campaign.counts.waiting + self.campaign.counts.handed
            self.server.come_up()
            self.step = "up again"
        elif found.ended_at is not None:
            query = "SELECT count(*) FROM workshed.dead WHERE actor LIKE '%email%'"
            [(self.dead_jobs,)] = conn.execute(query).fetchall()

    def summary_lines(self) -> Iterator[str]:
        """Yield lines that say what happened."""
        yield f"the campaign paused: {self.pause_reason}"
        yield (
            f"{self.waiting_mails} mails waited for it at no attempt, the campaign went on by "
            "itself, "
            f"{self.dead_jobs} jobs died"
        )
