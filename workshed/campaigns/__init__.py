"""Mails to many: what each says, who is to have it, and what became of every one."""

from workshed.campaigns.errors import CampaignStateError, TemplateError
from workshed.campaigns.recipients import (
    Outcome,
    Progress,
    Recipient,
    Unsent,
    arrived,
    claim,
    note_error,
    progress,
)
from workshed.campaigns.recipients import find as recipients
from workshed.campaigns.stored import (
    Audience,
    Campaign,
    Handed,
    audience,
    begin,
    cancel,
    create,
    end_batch,
    every,
    find,
    hand_out,
    leave_batch,
    pause,
    prune,
    refuse,
    resume,
)
from workshed.campaigns.templates import check

__all__ = [
    "Audience",
    "Campaign",
    "CampaignStateError",
    "Handed",
    "Outcome",
    "Progress",
    "Recipient",
    "TemplateError",
    "Unsent",
    "arrived",
    "audience",
    "begin",
    "cancel",
    "check",
    "claim",
    "create",
    "end_batch",
    "every",
    "find",
    "hand_out",
    "leave_batch",
    "note_error",
    "pause",
    "progress",
    "prune",
    "recipients",
    "refuse",
    "resume",
]
