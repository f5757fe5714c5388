"""Errors in a person's details; retrying helps with none of them.

PermanentError
└── PersonError                 the person cannot be stored as given
    ├── InvalidNameError        the name cannot be used in an email
    └── AddressTakenError       a user with this address already exists
UnsubscribeTokenError           the link to unsubscribe is not valid

An address that cannot receive email raises `workshed.errors.InvalidAddressError`.
"""

from workshed.errors import PermanentError, WorkshedError


class PersonError(PermanentError):
    """The person cannot be stored as given; nothing was written."""


class InvalidNameError(PersonError):
    """The name cannot be used in an email."""

    def __init__(self, name: str, reason: str) -> None:
        """Keep the name as given; the message shows it escaped."""
        super().__init__(f"the name {name[:100]!a} cannot be used: {reason}")
        self.name = name
        self.reason = reason


class AddressTakenError(PersonError):
    """A user with this address, in upper or lower case, already exists."""

    def __init__(self, address: str) -> None:
        super().__init__(f"the address {address} is taken")
        self.address = address


class UnsubscribeTokenError(WorkshedError):
    """The token in a link to unsubscribe is not one of ours, or incomplete."""

    def __init__(self) -> None:
        super().__init__("the unsubscribe link is invalid or incomplete")
