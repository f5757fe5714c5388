"""`workshed demo`: sign people up, and watch what becomes of each."""

from workshed.extras import require

require("server", "rich", "starlette", "typer", "uvicorn")
require("shop", "css_inline", "email_validator", "httpx2", "PIL")
