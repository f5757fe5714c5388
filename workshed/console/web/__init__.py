"""What people see in a browser: ASGI applications, rendered on the server."""

from workshed.console.entry import SERVER
from workshed.extras import require

require("server", *SERVER)
