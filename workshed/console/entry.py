"""The `workshed` command: complete with the extra `server`, two commands without it."""

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
"""The packages of the extra: an application may have installed some of them itself."""


def main() -> None:
    """Run the complete command line if the extra is installed, otherwise the plain one."""
    try:
        require("server", *SERVER)
    except MissingExtraError:
        from workshed.console.plain import main as run
    else:
        from workshed.console.cli import main as run
    run()
