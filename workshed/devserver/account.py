"""The user that the servers run as, and how they are made to end with their parent."""

import os
import pwd
import shutil
import signal
import stat
from functools import cache
from pathlib import Path

from workshed.value_class import value_class

UNPRIVILEGED = "nobody"


@value_class
class ServerAccount:
    """The servers' user: ours, or `nobody` for root, because PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @property
    def is_other_user(self) -> bool:
        """Whether it is another user, so that files and processes must be passed to it."""
        return self.uid != os.geteuid()

    def wrap_command(self, *words: str, death: signal.Signals) -> list[str]:
        """Wrap a command to run as this user and get `death` when the thread that starts it ends.

        The kernel watches that thread, not its process, so the thread that starts a server must
        outlive it. Without setpriv (macOS), a server outlives a parent that is killed.
        """
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            return list(words)
        prefix = [setpriv, "--pdeathsig", death.name.removeprefix("SIG")]
        if self.is_other_user:
            prefix += ["--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups"]
        return [*prefix, "--", *words]

    def make_owner(self, path: Path) -> Path:
        """Make this user the owner of a file or folder."""
        if self.is_other_user:
            os.chown(path, self.uid, self.gid)
        return path

    def can_traverse(self, folder: Path) -> bool:
        """Return whether this user may enter a folder and all its parents."""
        folder = folder.resolve()
        return not self.is_other_user or all(
            each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents)
        )

    def can_read(self, file: Path) -> bool:
        """Return whether this user may read a file where it is."""
        file = file.resolve()
        if not self.is_other_user:  # `access` ignores capabilities, which PostgreSQL would not have
            return os.access(file, os.R_OK)
        return bool(file.stat().st_mode & stat.S_IROTH) and self.can_traverse(file.parent)


@cache
def server_account() -> ServerAccount:
    """Return the account for this process."""
    if os.geteuid() != 0:
        return ServerAccount(os.geteuid(), os.getegid())
    user = pwd.getpwnam(UNPRIVILEGED)
    return ServerAccount(user.pw_uid, user.pw_gid)
