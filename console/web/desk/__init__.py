"""The console of operators: pages about jobs, and what may be done with them."""

from console.web.desk.app import create_app
from console.web.desk.who import Who

__all__ = ["Who", "create_app"]
