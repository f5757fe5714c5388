"""A user of the console, and what they may do."""

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["reader", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Who:
    """An authenticated user, or a program."""

    name: str
    role: Role
    session: str | None = None
    """The id of the session that a login with a password began; `None` for all others."""
    is_program: bool = False
    """Whether a token of `WORKSHED_CONSOLE_TOKENS` authenticates the request."""

    @property
    def may_act(self) -> bool:
        """Return whether they may change anything; a reader may only look."""
        return self.role == "operator"
