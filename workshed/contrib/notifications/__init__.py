"""What users are told, in numbered order, and the tokens by which their browsers may read it."""

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
