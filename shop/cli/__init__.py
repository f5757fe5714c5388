"""Commands of the service."""

from workshed.console.entry import SERVER
from workshed.extras import require

require("server", *SERVER)
