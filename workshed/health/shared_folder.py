"""The folder where the processes of one supervisor or master keep metrics and status.

A master is a process of `dramatiq`, a supervisor one of `workshed worker`; one process exposes all.
"""

import contextlib
import importlib
import logging
import os
import re
import stat
from pathlib import Path

from workshed.errors import WorkshedError
from workshed.settings import MULTIPROCESS_VARIABLE, SHARED_VARIABLE, settings, update_environment

logger = logging.getLogger(__name__)

FOLDER_MODE = 0o700
LIVE_GAUGE_FILE = re.compile(r"gauge_live[a-z]*_(\d+)\.db")
VALUES_SUFFIX = ".values"
"""Of files with what processes have measured. Other files, `.db`, are of `prometheus_client`, for
an application's own metrics."""
START_TIME_FIELD = 19
"""Index of the start time in /proc/PID/stat, counted from the field after the name."""


class ForeignFolderError(WorkshedError):
    """The folder belongs to another user, who could read and forge metrics."""


def share_folder(master: int) -> Path | None:
    """Let this process and its children report their status in the folder of a master.

    The folder is named after the master's pid and start time, so that a later process with the same
    pid does not inherit its metrics. Returns `None`, and logs why, if there can be no folder.
    """
    try:
        folder = base_folder() / process_name(master)
        folder.mkdir(FOLDER_MODE, exist_ok=True)
    except (OSError, ForeignFolderError) as err:
        logger.warning("no metrics are collected: %s", err)
        return None
    update_environment({SHARED_VARIABLE: str(folder)})
    return folder


def share_metrics_folder(master: int) -> Path | None:
    """Let them also keep their metrics there."""
    folder = share_folder(master)
    if folder is not None:
        update_environment({MULTIPROCESS_VARIABLE: str(folder)})
    return folder


def folder_for_master(master: int) -> Path | None:
    """Share a master's folder, with metrics unless they are off or the program has its own folder.

    A program with its own folder for metrics exposes them itself.
    """
    return share_metrics_folder(master) if settings().has_shared_metrics else share_folder(master)


def join_folder(folder: Path) -> bool:
    """Register this process in the folder, if it is one of Workshed's; `False` if that fails."""
    try:
        if folder.parent == base_folder():
            (folder / process_name(os.getpid())).touch(FOLDER_MODE)
    except (OSError, ForeignFolderError) as err:
        logger.warning("no metrics are collected: %s", err)
        return False
    return True


def reserve_application_files(folder: Path) -> None:
    """Reserve the blocks of the files in which `prometheus_client` has this process measure.

    Otherwise a full disk would end it with SIGBUS. Logs a warning if there is no space.
    """
    for file in folder.glob(f"*_{os.getpid()}.db"):
        try:
            with file.open("ab") as out:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(out.fileno(), 0, out.tell())
        except OSError as err:
            logger.warning("no space for the metrics of the application: %s", err)


def values_file(folder: Path) -> Path:
    """Return the file with what this process has measured."""
    # Names with a dash are those of status files.
    return folder / f"{process_name(os.getpid()).replace('-', '_')}{VALUES_SUFFIX}"


def values_owner(file: Path) -> str | None:
    """Return the `process_name` of the process that measures into a file; `None` if none does."""
    name = file.stem.replace("_", "-")
    is_of_process = file.suffix == VALUES_SUFFIX and name.partition("-")[0].isdecimal()
    return name if is_of_process else None


def base_folder() -> Path:
    """Return the folder that holds those of this user; create it if needed."""
    found = default_base_folder()
    found.mkdir(FOLDER_MODE, exist_ok=True)
    if not is_own_folder(found):
        raise ForeignFolderError(f"{found} is not a folder of this user; remove it to get metrics")
    found.chmod(FOLDER_MODE)
    return found


def default_base_folder() -> Path:
    """Return the path of that folder, whether it exists or not."""
    # Programs that only send do not need it: it takes 3 ms, and has `shutil` with all compressions.
    temporary = importlib.import_module("tempfile").gettempdir()
    return Path(temporary) / f"workshed-metrics-{os.getuid()}{pid_namespace()}"


def is_own_folder(folder: Path) -> bool:
    """Return whether a path is a folder, and belongs to this user."""
    state = folder.lstat()  # not `stat`: a link could lead anywhere
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()


def remove_stale() -> None:
    """Delete the folders of masters that are gone."""
    remove = importlib.import_module("shutil").rmtree  # not by programs that only send
    for folder in base_folder().iterdir():
        if not is_alive(folder.name):
            remove(folder, ignore_errors=True)


def remove_dead_process_files(folder: Path) -> None:
    """Delete the live gauges of dead processes; their counters stay."""
    living = {one.name.partition("-")[0] for one in folder.glob("*-*") if is_alive(one.name)}
    for file in folder.glob("gauge_live*.db"):
        found = LIVE_GAUGE_FILE.fullmatch(file.name)
        if found and found[1] not in living:
            file.unlink(missing_ok=True)


def is_alive(called: str) -> bool:
    """Return whether the process with this `process_name` is alive."""
    pid = called.partition("-")[0]
    return pid.isdecimal() and process_name(int(pid)) == called and process_exists(int(pid))


def process_name(pid: int) -> str:
    """Return a name that no later process has: the pid, the start time, and the boot id."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:  # the process is gone; or this is not Linux, and the pid has to do
        return f"{pid}-"
    return f"{pid}-{words[START_TIME_FIELD]}-{boot}"


def process_exists(pid: int) -> bool:
    """Return whether a process has this pid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def pid_namespace() -> str:
    """Return the id of the pid namespace, because pids mean nothing in another container's."""
    with contextlib.suppress(OSError):
        return "-" + re.sub(r"\D", "", Path("/proc/self/ns/pid").readlink().name)
    return ""
