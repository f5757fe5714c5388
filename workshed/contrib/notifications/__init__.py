"""Numbered notifications of users, and the tokens with which their browsers read them."""

from workshed.contrib.notifications.errors import TokenError
from workshed.contrib.notifications.notifications import (
    Notification,
    after,
    channel,
    delete_of,
    last_number,
    notify,
    prune_notifications,
)
from workshed.contrib.notifications.tokens import TokenClaims, get_token_user, read_token, token

__all__ = [
    "Notification",
    "TokenClaims",
    "TokenError",
    "after",
    "channel",
    "delete_of",
    "get_token_user",
    "last_number",
    "notify",
    "prune_notifications",
    "read_token",
    "token",
]
