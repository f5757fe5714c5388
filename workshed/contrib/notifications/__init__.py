"""Numbered notifications of users, and the tokens with which their browsers read them."""

from workshed.contrib.notifications.errors import TokenError
from workshed.contrib.notifications.rows import (
    Notification,
    after,
    channel,
    delete_of,
    last,
    prune_notifications,
    tell,
)
from workshed.contrib.notifications.tokens import TokenClaims, read, token, user_of

__all__ = [
    "Notification",
    "TokenClaims",
    "TokenError",
    "after",
    "channel",
    "delete_of",
    "last",
    "prune_notifications",
    "read",
    "tell",
    "token",
    "user_of",
]
