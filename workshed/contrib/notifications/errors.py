"""What can be wrong with a token that a browser presents.

WorkshedError
└── TokenError      the token does not identify a user
"""

from workshed.errors import WorkshedError


class TokenError(WorkshedError):
    """The token does not identify a user; the reason contains nothing of the token."""

    def __init__(self, reason: str) -> None:
        """Keep the reason, the rest of a sentence that begins with "the token"."""
        super().__init__(f"the token {reason}")
        self.reason = reason
