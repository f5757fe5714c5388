"""The process that started this one, under every start method of `multiprocessing`.

`os.getppid()` names it under `fork` and `spawn` only. Under `forkserver`, the default of Linux from
Python 3.14 on, the kernel's parent is the fork server, which outlives the process that asked it to
fork for as long as any of its children runs.
"""

import ctypes
import os
import signal
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def parent_pid() -> int:
    """Return the pid of the process that started this one."""
    parent = master_process()
    return os.getppid() if parent is None else int(parent.pid or 0)


def master_process() -> "BaseProcess | None":
    """Return the process that started this one with `multiprocessing`; `None` if none did."""
    loaded = _loaded_multiprocessing()
    return loaded.parent_process() if loaded else None


def is_orphan() -> bool:
    """Return whether the process that started this one has ended."""
    if (parent := _fork_server_parent()) is not None:
        return not parent.is_alive()
    # Under `fork`, later siblings hold copies of the pipe that `is_alive` looks at.
    return os.getppid() != parent_pid()


def die_with_parent(parent: int | None = None) -> None:
    """End this process with SIGTERM when its parent ends, also by SIGKILL.

    Pass the parent's pid if you know it, because the parent may have ended already. Unless a fork
    server started this process, only Linux can watch the parent.
    """
    if parent is None and (master := _fork_server_parent()) is not None:
        threading.Thread(target=_exit_after, args=(master,), daemon=True).start()
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != (parent_pid() if parent is None else parent):
        os.kill(os.getpid(), signal.SIGTERM)


def adopt_orphans() -> None:
    """Make this process the parent of each descendant whose own parent ends; only on Linux.

    Raises `OSError` if the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _fork_server_parent() -> "BaseProcess | None":
    """Return the parent if a fork server stands between it and this process."""
    loaded = _loaded_multiprocessing()
    # A child has the start method it was started with.
    if loaded is None or loaded.get_start_method(allow_none=True) != "forkserver":
        return None
    return master_process()


def _loaded_multiprocessing() -> ModuleType | None:
    """Return `multiprocessing` if it is loaded, as in each process that it started.

    Most programs that send jobs do not use it, and its import takes time.
    """
    return sys.modules.get("multiprocessing")


def _exit_after(master: "BaseProcess") -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
    master.join()  # only the master has the other end of the pipe that this waits for
    # To the main thread: a signal to the process may go to another thread, and not wake the main
    # one.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
