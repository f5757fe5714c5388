"""A user of the console, and what they may do."""

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["reader", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Who:
    """An authenticated user."""

    name: str
    role: Role

    @property
    def may_act(self) -> bool:
        """Tell whether they may change anything; a reader may only look."""
        return self.role == "operator"
