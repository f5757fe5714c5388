"""Commands of the service."""

from console.entry import SERVER
from workshed.extras import require

require("server", *SERVER)
