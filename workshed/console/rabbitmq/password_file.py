"""A file of passwords, one line `user=password` for each, that its owner alone may read."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from workshed.console.errors import PasswordFileError

BYTES = 24
"""Of chance in a password that is made here."""


def ensure_passwords(file: Path, users: Iterable[str]) -> dict[str, str]:
    """Return the passwords of a file by user; those that it lacks are made, and added to it.

    Raises `PasswordFileError` for a file that cannot be read or written, or has another line.
    """
    try:
        known = read_passwords(file)
        missing = {user: secrets.token_urlsafe(BYTES) for user in users if user not in known}
        if missing:
            append_passwords(file, missing)
    except (OSError, UnicodeDecodeError) as err:
        raise PasswordFileError(f"{file}: {getattr(err, 'strerror', None) or err}") from None
    return known | missing


def read_passwords(file: Path) -> dict[str, str]:
    """Return what a file has; nothing where there is none."""
    found: dict[str, str] = {}
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    for number, line in enumerate(lines, 1):
        user, _, password = line.partition("=")
        if line and not (user and password):  # the line itself may be a secret
            raise PasswordFileError(f"{file}: line {number} is not like user=password")
        if line:
            found[user] = password
    return found


def append_passwords(file: Path, passwords: dict[str, str]) -> None:
    """Write lines at the end; a file that is made is its owner's alone."""
    text = file.read_text("utf-8") if file.exists() else ""
    ended = "" if not text or text.endswith("\n") else "\n"
    made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o600)
    with os.fdopen(made, "w", encoding="utf-8") as out:
        out.write(ended + "".join(f"{user}={value}\n" for user, value in passwords.items()))
