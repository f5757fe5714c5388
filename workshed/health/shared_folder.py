"""Where the processes of one master keep their numbers and pulses, for one to show all."""

import contextlib
import logging
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from workshed.errors import WorkshedError
from workshed.settings import MULTIPROCESS, SHARED, settings, use

logger = logging.getLogger(__name__)

OURS = 0o700
NUMBERS = re.compile(r"gauge_live[a-z]*_(\d+)\.db")
FILES = {
    "counter": 128 * 1024,
    "histogram": 512 * 1024,
    "gauge_livesum": 64 * 1024,
    "gauge_livemin": 64 * 1024,
    "gauge_livemax": 64 * 1024,
}
"""What `prometheus_client` writes, with room in bytes for the numbers of some twenty actors."""
STARTED = 19
"""Place of the start in /proc/PID/stat, counted from behind the name."""


class ForeignFolderError(WorkshedError):
    """What should be our folder belongs to somebody else, who could read and forge numbers."""


def share_folder(master: int) -> Path | None:
    """Let this process, and those it starts, say how they are in the folder of a master.

    It is named for the master's pid and start, so that a process that gets its pid later does not
    inherit its numbers. `None`, and the reason in the log, where there can be no folder.
    """
    try:
        folder = base_folder() / process_name(master)
        folder.mkdir(OURS, exist_ok=True)
    except (OSError, ForeignFolderError) as err:
        logger.warning("nothing is measured: %s", err)
        return None
    use({SHARED: str(folder)})
    return folder


def gather_metrics(master: int) -> Path | None:
    """Keep their numbers there, too."""
    folder = share_folder(master)
    if folder is not None:
        use({MULTIPROCESS: str(folder)})
    return folder


def folder_for_master(master: int) -> Path | None:
    """Share a master's folder, and gather numbers there where they are wanted.

    A program that has named a folder for numbers shows them itself.
    """
    return gather_metrics(master) if settings().counts_in_folder else share_folder(master)


def join_folder(folder: Path) -> bool:
    """Note that this process writes there, if the folder is one of ours; False where it cannot."""
    try:
        if folder.parent == base_folder():
            (folder / process_name(os.getpid())).touch(OURS)
            for kind, size in FILES.items():
                reserve_blocks(folder / f"{kind}_{os.getpid()}.db", size)
    except (OSError, ForeignFolderError) as err:
        logger.warning("nothing is measured: %s", err)
        return False
    return True


def reserve_blocks(file: Path, size_bytes: int) -> None:
    """Let a file have its blocks: in one without, a full disk kills its writer with SIGBUS."""
    with file.open("ab") as out:
        if out.tell() < size_bytes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(out.fileno(), 0, size_bytes)


def base_folder() -> Path:
    """Return the folder of all masters of this user, made if there is none."""
    found = default_base()
    found.mkdir(OURS, exist_ok=True)
    if not is_ours(found):
        raise ForeignFolderError(f"{found} is not a folder of ours; no metrics until it is gone")
    found.chmod(OURS)
    return found


def default_base() -> Path:
    """Say where that folder is, or would be."""
    return Path(tempfile.gettempdir()) / f"workshed-metrics-{os.getuid()}{pid_namespace()}"


def is_ours(folder: Path) -> bool:
    """Tell whether a folder is one, and of this user."""
    state = folder.lstat()  # a link would lead wherever its maker wants
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()


def remove_stale() -> None:
    """Delete the folders of masters that are gone."""
    for folder in base_folder().iterdir():
        if not is_alive(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def remove_dead_process_files(folder: Path) -> None:
    """Delete what processes that died still say of now; what they have counted stays."""
    living = {one.name.partition("-")[0] for one in folder.glob("*-*") if is_alive(one.name)}
    for file in folder.glob("gauge_live*.db"):
        found = NUMBERS.fullmatch(file.name)
        if found and found[1] not in living:
            file.unlink(missing_ok=True)


def is_alive(called: str) -> bool:
    """Tell whether the process of this `name` lives."""
    pid = called.partition("-")[0]
    return pid.isdecimal() and process_name(int(pid)) == called and process_exists(int(pid))


def process_name(pid: int) -> str:
    """Name a process as no later one is: by its pid, and when it started since which boot."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:  # it is gone; or this is no Linux, where a pid must do
        return f"{pid}-"
    return f"{pid}-{words[STARTED]}-{boot}"


def process_exists(pid: int) -> bool:
    """Tell whether there is a process of this pid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def pid_namespace() -> str:
    """Name the pid namespace: in that of another container our pids mean nothing."""
    with contextlib.suppress(OSError):
        return "-" + re.sub(r"\D", "", Path("/proc/self/ns/pid").readlink().name)
    return ""
