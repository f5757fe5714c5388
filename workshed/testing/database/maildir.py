"""The mails that were sent to a maildir."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

NAME = "mails"
"""The maildir in the folder of a test."""


def read_mails(folder: Path) -> list[EmailMessage]:
    """Return the mails of a maildir, the oldest first."""
    files = sorted((folder / "new").glob("*"), key=_number)
    return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]


def _number(file: Path) -> int:
    """Return the sequence number in the file's name, because its time may be of a stopped clock."""
    return int(file.name.split(".")[1].rpartition("Q")[2])
