"""The users of the product, and how far each has come with signing up."""

from shop.people.errors import (
    AddressTakenError,
    InvalidNameError,
    PersonError,
    UnsubscribeTokenError,
)
from shop.people.users import (
    User,
    create,
    find_by_address,
    find_users,
    get_user,
    is_reminder_due,
    lock_admins,
    lock_user,
    mark_activated,
    mark_unsubscribed,
    mark_welcomed,
)
from workshed.errors import InvalidAddressError

__all__ = [
    "AddressTakenError",
    "InvalidAddressError",
    "InvalidNameError",
    "PersonError",
    "UnsubscribeTokenError",
    "User",
    "create",
    "find_by_address",
    "find_users",
    "get_user",
    "is_reminder_due",
    "lock_admins",
    "lock_user",
    "mark_activated",
    "mark_unsubscribed",
    "mark_welcomed",
]
