"""What can be wrong with a person's details; none of it changes by trying again.

PermanentError
└── PersonError                 the person cannot be stored as given
    ├── InvalidNameError        the name cannot stand in a mail
    └── AddressTakenError       somebody with this address exists already
UnsubscribeTokenError           a link by which nobody can unsubscribe

An address that no mail can be sent to is `workshed.errors.InvalidAddressError`.
"""

from workshed.errors import PermanentError, WorkshedError


class PersonError(PermanentError):
    """The person cannot be stored as given; nothing was written."""


class InvalidNameError(PersonError):
    """The name cannot stand in a mail."""

    def __init__(self, name: str, reason: str) -> None:
        """Keep the name as given; the message shows it escaped."""
        super().__init__(f"the name {name[:100]!a} cannot be used: {reason}")
        self.name = name
        self.reason = reason


class AddressTakenError(PersonError):
    """Somebody with this address, in whatever case, exists already."""

    def __init__(self, address: str) -> None:
        """Keep the address that is taken."""
        super().__init__(f"the address {address} is taken")
        self.address = address


class UnsubscribeTokenError(WorkshedError):
    """The last part of a link to unsubscribe is not one of ours, or not whole."""

    def __init__(self) -> None:
        """Quote nothing of it."""
        super().__init__("the link to unsubscribe is not one of ours, or not whole")
