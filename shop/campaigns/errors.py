"""Errors of campaigns; retrying helps with none of them.

PermanentError
├── CampaignNameError       its name cannot be stored
├── EmptyAudienceError      none of the named recipients can be sent it
├── TemplateError           a template cannot be rendered, or lacks something required
└── CampaignStateError      its state does not allow the action
"""

from workshed.errors import PermanentError


class CampaignNameError(PermanentError):
    """The name of a campaign cannot be stored; nothing was stored."""

    def __init__(self, name: str, reason: str) -> None:
        """Keep the name as given; the message shows it escaped."""
        super().__init__(f"the name {name[:100]!a} cannot be used: {reason}")
        self.name = name
        self.reason = reason


class EmptyAudienceError(PermanentError):
    """None of the named recipients can be sent the campaign; nothing was stored."""

    def __init__(self) -> None:
        super().__init__("none of the named recipients is a user who has not unsubscribed")


class TemplateError(PermanentError):
    """A campaign's template cannot be rendered, or lacks something required; nothing was sent."""

    def __init__(self, part: str, reason: str) -> None:
        """Name the part (`subject`, `text` or `HTML`) and what is wrong with it."""
        super().__init__(f"the {part} cannot be sent: {reason}")
        self.part = part
        self.reason = reason


class CampaignStateError(PermanentError):
    """The state of the campaign does not allow the action; nothing has changed."""

    def __init__(self, campaign_id: int, state: str, action: str) -> None:
        super().__init__(f"campaign {campaign_id} is {state}: it cannot be {action}")
        self.campaign_id = campaign_id
        self.state = state
