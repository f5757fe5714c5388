"""The users of the product, and how far each has come with signing up."""

from shop.people.errors import (
    AddressTakenError,
    InvalidNameError,
    PersonError,
    UnsubscribeTokenError,
)
from shop.people.users import (
    User,
    activate,
    create,
    find,
    find_each,
    lock,
    lock_admins,
    mark_welcomed,
    unsubscribe,
    wants_reminder,
    with_address,
)
from workshed.errors import InvalidAddressError

__all__ = [
    "AddressTakenError",
    "InvalidAddressError",
    "InvalidNameError",
    "PersonError",
    "UnsubscribeTokenError",
    "User",
    "activate",
    "create",
    "find",
    "find_each",
    "lock",
    "lock_admins",
    "mark_welcomed",
    "unsubscribe",
    "wants_reminder",
    "with_address",
]
