"""The emails that have arrived, as files of a maildir."""

import mailbox
from dataclasses import dataclass
from email.header import decode_header, make_header
from pathlib import Path

ISOLATES = "\u2066\u2067\u2068\u2069"
"""Unicode marks around a name that may run from right to left."""


@dataclass(frozen=True, slots=True)
class MailHeaders:
    """The headers of an email that matter here."""

    message_id: str
    subject: str

    @property
    def kind(self) -> str:
        """Its kind, with which its Message-ID begins."""
        return self.message_id.lstrip("<").partition(".")[0]


class Mailbox:
    """Reads each file once; empty if the demo did not start the mail server."""

    def __init__(self, folder: Path | None) -> None:
        """Open the maildir; `look` reads it."""
        self.is_ours = folder is not None
        self._maildir = mailbox.Maildir(folder, create=True) if folder else None
        self._mails_by_file: dict[str, MailHeaders] = {}

    def read_new(self) -> None:
        """Read what has arrived since the last look."""
        for name in self._maildir.keys() if self._maildir is not None else ():
            if name not in self._mails_by_file:
                assert self._maildir is not None  # noqa: S101 -- for mypy
                mail = self._maildir[name]
                subject = str(make_header(decode_header(str(mail["Subject"]))))
                plain = "".join(c for c in subject if c not in ISOLATES)
                self._mails_by_file[name] = MailHeaders(str(mail["Message-ID"]), plain)

    @property
    def mails(self) -> list[MailHeaders]:
        """All emails that have arrived."""
        return list(self._mails_by_file.values())

    def subjects(self) -> dict[str, str]:
        """Return the subjects by Message-ID."""
        return {mail.message_id: mail.subject for mail in self.mails}

    def count(self, kind: str) -> int:
        """Return how many emails of a kind have arrived."""
        return sum(mail.kind == kind for mail in self.mails)
