"""The folder in which the servers keep their data, logs, ports and passwords."""

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from workshed.devserver.account import UNPRIVILEGED, server_account
from workshed.devserver.errors import ServerError

FOLDER_NAME = "workshed-dev"
NOTES_FILE = "servers.json"
PROJECT_FILE = "project"
"""Has the folder of the project whose data these are; wiping the data leaves it."""
PROJECT_MARKS = ("pyproject.toml", "manage.py", ".git")
WIPED_NAMES = ("postgres", "rabbitmq", "cluster", "mail", "storage", "logs", NOTES_FILE)

# Servers whose parent was killed stop within about a second and hold the lock until then.
LOCK_TIMEOUT_S = 15
MOST_FOLDERS = 20


class StateFolder:
    """A folder in use by one set of servers."""

    def __init__(self, folder: Path, lock: int) -> None:
        """Use a folder whose `lock`, a file descriptor, is held."""
        self.folder = folder
        self.lock = lock

    def create_subfolder(self, name: str) -> Path:
        """Create a folder that only the servers' user may enter."""
        path = self.folder / name
        path.mkdir(mode=0o700, exist_ok=True)
        return server_account().make_owner(path)

    def log_path(self, name: str) -> Path:
        """Return the path of a server's output."""
        return self.create_subfolder("logs") / f"{name}.log"

    def read_notes(self) -> dict[str, str]:
        """Return the values of earlier runs: ports, and passwords that the data depend on."""
        return read_notes(self.folder)

    def write_notes(self, **values: str) -> None:
        """Keep values for the next run, readable only by our user."""
        draft = self.folder / f"{NOTES_FILE}.new"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(self.read_notes() | values, indent=1) + "\n")
        draft.replace(self.folder / NOTES_FILE)

    def leftover_files(self) -> list[Path]:
        """Return the files that `wipe` would delete."""
        found = []
        for name in WIPED_NAMES:
            path = self.folder / name
            if path.is_file() or path.is_symlink():
                found.append(path)
            for at, _, files in os.walk(path):
                found += [Path(at, file) for file in files]
        return found

    def wipe(self) -> None:
        """Delete what the servers created; anything else in the folder stays."""
        for name in WIPED_NAMES:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock_folder(folder: Path | None = None) -> Generator[StateFolder]:
    """Lock `folder`, or by default that of this project; if that is in use, another one.

    Raises `ServerError` if a given folder is in use.
    """
    candidates = list_project_folders() if folder is None else [folder.absolute()]
    for candidate in candidates:
        lock = _acquire_lock(_create_folder(candidate))
        if lock is not None:
            try:
                if folder is None:
                    (candidate / PROJECT_FILE).write_text(f"{find_project()}\n")
                yield StateFolder(candidate, lock)
            finally:
                os.close(lock)
            return
    raise ServerError(f"{candidates[0]} is in use by another `workshed dev`; stop that one first")


@contextlib.contextmanager
def lock_temporary_folder() -> Generator[StateFolder]:
    """Lock a new folder, and remove it afterwards."""
    for parent in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 - mkdtemp names a fresh one
        if parent.is_dir() and server_account().can_traverse(parent):
            break
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_NAME}-", dir=parent))
    folder.chmod(_folder_mode())
    try:
        with lock_folder(folder) as state:
            yield state
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_notes(folder: Path) -> dict[str, str]:
    """Return the values kept in a folder; empty if there are none."""
    with contextlib.suppress(FileNotFoundError):
        notes: dict[str, str] = json.loads((folder / NOTES_FILE).read_text())
        return notes
    return {}


def list_own_folders() -> list[Path]:
    """Return the folders that this user's servers may use, in order."""
    first = default_folder()
    return [first, *(first.with_name(f"{FOLDER_NAME}-{n}") for n in range(2, MOST_FOLDERS + 1))]


def list_project_folders() -> list[Path]:
    """Return the folders of this user in the order in which this project may use them.

    Those that it has used come first, those of other projects that still exist come last. So a
    project finds its own data, whichever was started first today.
    """
    mine = find_project()

    def rank(folder: Path) -> int:
        with contextlib.suppress(OSError, ValueError):
            owner = Path((folder / PROJECT_FILE).read_text().strip())
            return 0 if owner == mine else (2 if owner.is_dir() else 1)
        return 1

    return sorted(list_own_folders(), key=rank)


def find_project() -> Path:
    """Return the nearest folder above that looks like a project, or the working directory."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any((folder / mark).exists() for mark in PROJECT_MARKS):
            return folder
    return here


def default_folder() -> Path:
    """Return the folder of this user, outside of homes that the servers' user cannot enter."""
    if server_account().is_other_user:
        return Path("/var/lib") / FOLDER_NAME
    base = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):  # relative ones are to be ignored  # noqa: PTH117
        return Path(base) / FOLDER_NAME
    home = os.environ.get("HOME") or _home_of_account()
    if os.path.isabs(home) and os.access(home, os.W_OK | os.X_OK):  # noqa: PTH117
        return Path(home) / ".local" / "state" / FOLDER_NAME
    return Path(tempfile.gettempdir()) / f"{FOLDER_NAME}-of-{os.geteuid()}"


def _home_of_account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container's user need not have an account
        return ""


def _create_folder(folder: Path) -> Path:
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(_folder_mode())
    if folder.stat().st_uid != os.geteuid():
        # In a shared folder such as /tmp, another user may have created it first.
        raise ServerError(f"{folder} belongs to another user; choose one with --state")
    if not server_account().can_traverse(folder):
        raise ServerError(
            f"the servers run as the user {UNPRIVILEGED!r}, which cannot enter {folder}; "
            "choose one with --state"
        )
    return folder


def _folder_mode() -> int:
    """Close the folder, but let servers with an account of their own reach subfolders."""
    return 0o711 if server_account().is_other_user else 0o700


def _acquire_lock(folder: Path) -> int | None:
    """Take the folder's lock, which the servers inherit, so it is held until the last has ended."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _is_running(os.pread(fd, 20, 0)) or time.monotonic() > deadline:
                os.close(fd)
                return None
            time.sleep(0.05)
        else:
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            return fd


def _is_running(pid: bytes) -> bool:
    if not pid.isdigit():  # the holder of the lock is about to write its pid
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
