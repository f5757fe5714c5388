"""What can be wrong with a token that a browser shows.

WorkshedError
└── TokenError      the token proves nobody to be anybody
"""

from workshed.errors import WorkshedError


class TokenError(WorkshedError):
    """The token proves nobody to be anybody; the reason shows nothing of it."""

    def __init__(self, reason: str) -> None:
        """Keep the reason, a sentence about the token without its subject."""
        super().__init__(f"the token {reason}")
        self.reason = reason
