"""What can be wrong with a campaign; none of it changes by trying again.

PermanentError
├── CampaignNameError       its name cannot be stored
├── EmptyAudienceError      nobody who was named could be sent it
├── TemplateError           a template cannot be filled in, or says too little
└── CampaignStateError      it is not in a state in which that can be done
"""

from workshed.errors import PermanentError


class CampaignNameError(PermanentError):
    """The name of a campaign cannot be stored; nothing was."""

    def __init__(self, name: str, reason: str) -> None:
        """Keep the name as given; the message shows it escaped."""
        super().__init__(f"the name {name[:100]!a} cannot be used: {reason}")
        self.name = name
        self.reason = reason


class EmptyAudienceError(PermanentError):
    """Of those who were named, nobody could be sent the campaign; nothing was stored."""

    def __init__(self) -> None:
        """Say what each of them is."""
        super().__init__("nobody who was named is a user who has not unsubscribed")


class TemplateError(PermanentError):
    """A template of a campaign cannot be filled in, or says too little; nothing was sent by it."""

    def __init__(self, part: str, reason: str) -> None:
        """Name the part, `subject`, `text` or `HTML`, and what to do."""
        super().__init__(f"the {part} cannot be sent: {reason}")
        self.part = part
        self.reason = reason


class CampaignStateError(PermanentError):
    """It is not in a state in which that can be done; nothing has changed."""

    def __init__(self, campaign_id: int, state: str, wanted: str) -> None:
        """Say in which state it is, and what was asked."""
        super().__init__(f"campaign {campaign_id} is {state}: it cannot be {wanted}")
        self.campaign_id = campaign_id
        self.state = state
