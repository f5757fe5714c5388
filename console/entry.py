"""The `workshed` command: all of it with the extra `server`, two commands without."""

from workshed.extras import MissingExtraError, require

SERVER = (
    "argon2",
    "itsdangerous",
    "jinja2",
    "rich",
    "sse_starlette",
    "starlette",
    "typer",
    "uvicorn",
)
"""What the extra brings: an application may have some of it for itself."""


def main() -> None:
    """Run the command line that this installation has."""
    try:
        require("server", *SERVER)
    except MissingExtraError:
        from console.plain import main as run
    else:
        from console.cli import main as run
    run()
