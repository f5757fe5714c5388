"""The console of operators: pages about jobs, and what may be done with them."""

from workshed.console.web.app import create_app
from workshed.console.web.desk.who import Who

__all__ = ["Who", "create_app"]
