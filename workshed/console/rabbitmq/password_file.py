"""A file of passwords, with lines of `user=password`, readable only by its owner."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from workshed.console.errors import PasswordFileError

PASSWORD_BYTES = 24
"""Random bytes in a generated password."""


def ensure_passwords(file: Path, users: Iterable[str]) -> dict[str, str]:
    """Return the passwords of a file by user; generate and add those that are missing.

    Raises `PasswordFileError` for a file that cannot be read or written, or has an invalid line.
    """
    try:
        known = read_passwords(file)
        missing = {
            user: secrets.token_urlsafe(PASSWORD_BYTES) for user in users if user not in known
        }
        if missing:
            append_passwords(file, missing)
    except (OSError, UnicodeDecodeError) as err:
        raise PasswordFileError(f"{file}: {getattr(err, 'strerror', None) or err}") from None
    return known | missing


def read_passwords(file: Path) -> dict[str, str]:
    """Return the passwords in a file; none if it does not exist."""
    found: dict[str, str] = {}
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    for number, line in enumerate(lines, 1):
        user, _, password = line.partition("=")
        if line and not (user and password):  # never show the line, because it may be a secret
            raise PasswordFileError(f"{file}: line {number} is not of the form user=password")
        if line:
            found[user] = password
    return found


def append_passwords(file: Path, passwords: dict[str, str]) -> None:
    """Append lines; a new file is readable only by its owner."""
    text = file.read_text("utf-8") if file.exists() else ""
    ended = "" if not text or text.endswith("\n") else "\n"
    made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o600)
    with os.fdopen(made, "w", encoding="utf-8") as out:
        out.write(ended + "".join(f"{user}={value}\n" for user, value in passwords.items()))
