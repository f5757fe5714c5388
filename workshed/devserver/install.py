"""Find RabbitMQ on this machine, or install it as root or with the user's consent."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from workshed.devserver.errors import NotInstalledError, ServerError

PROGRAM = "rabbitmq-server"

# Folders of RabbitMQ's own scripts. Debian's /usr/sbin/rabbitmq-server is a wrapper that refuses
# every user but root and rabbitmq, so it is not among them.
SCRIPT_FOLDERS = (
    "/usr/lib/rabbitmq/bin",  # Debian, Ubuntu
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",  # Fedora
    "/usr/lib64/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/rabbitmq/sbin",  # the official container image
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/home/linuxbrew/.linuxbrew/opt/rabbitmq/sbin",
)

INSTALL_HINT = """RabbitMQ is not installed. Install it and run this again:
  Debian, Ubuntu   sudo apt-get install --no-install-recommends rabbitmq-server
  Fedora           sudo dnf install rabbitmq-server
  macOS            brew install rabbitmq
or set WORKSHED_BROKER_URL to your own server. Its system service is not needed: Workshed runs
a private copy of it."""
WITHOUT_RABBITMQ = """To go on without RabbitMQ, on PostgreSQL alone:
  workshed dev --broker postgresql
Everywhere else, WORKSHED_BROKER_URL=postgresql: does the same."""

INSTALL_AS_ROOT = ("sudo", sys.executable, "-m", "workshed.devserver.install")

APT = ("apt-get", "-o", "DPkg::Lock::Timeout=120")
POLICY_FILE = Path("/usr/sbin/policy-rc.d")
# Asked by Debian's packages before they start a service; 101 is "not allowed".
REFUSE_ALL = "#!/bin/sh\nexit 101\n"


def find_scripts(places: Iterable[str] = SCRIPT_FOLDERS) -> Path | None:
    """Return the folder of RabbitMQ's scripts, the newest if there are several."""
    for place in places:
        for folder in sorted(Path("/").glob(place.lstrip("/")), reverse=True):
            if os.access(folder / PROGRAM, os.X_OK):
                return folder
    on_path = shutil.which(PROGRAM) if places is SCRIPT_FOLDERS else None
    if on_path:
        folder = Path(on_path).resolve().parent
        # RabbitMQ's scripts are in the same folder, but not in that of a wrapper.
        return folder if (folder / "rabbitmq-env").exists() else None
    return None


def ensure_installed(talk: Callable[[str], None], places: Iterable[str] = SCRIPT_FOLDERS) -> Path:
    """Return the folder of RabbitMQ's scripts, after installing it from Debian if necessary.

    Installs it as root, or by `sudo` after a person at the terminal has agreed. Otherwise raises
    `NotInstalledError` with what to install.
    """
    found = find_scripts(places)
    if found is None and shutil.which("apt-get") and places is SCRIPT_FOLDERS:
        if os.geteuid() == 0:
            install_package(talk)
        elif ask_to_install():
            subprocess.run(INSTALL_AS_ROOT, check=False)
        found = find_scripts(places)
    if found is None:
        raise NotInstalledError(f"{INSTALL_HINT}\n{WITHOUT_RABBITMQ}")
    return found


def ask_to_install() -> bool:
    """Ask the person at the terminal; without a terminal the answer is no."""
    if not (shutil.which("sudo") and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{PROGRAM} is not installed. Install it now with sudo? [y/N] ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def install_package(talk: Callable[[str], None]) -> None:
    """Install it from Debian's packages, as root; raises `ServerError` with apt's output."""
    talk(f"Installing {PROGRAM} with apt-get; its system service is not started …")
    with prevent_service_start():
        output = _apt("update", "--quiet")
        done = _apt("install", "--yes", "--quiet", "--no-install-recommends", PROGRAM)
    if done.returncode:
        raise ServerError(
            f"apt-get could not install {PROGRAM}:\n{output.stdout}{done.stdout}".rstrip()
            + f"\n{WITHOUT_RABBITMQ}"
        )
    talk(f"Installed {PROGRAM}.")
    if Path("/run/systemd/system").exists():
        talk(f"To keep the system from starting it at boot: systemctl disable {PROGRAM}")


def _apt(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*APT, *words],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def prevent_service_start(policy: Path = POLICY_FILE) -> Generator[None]:
    """Prevent packages from starting services; an existing policy is left unchanged."""
    try:
        with policy.open("x") as file:
            file.write(REFUSE_ALL)
    except FileExistsError:
        yield
        return
    try:
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink()


if __name__ == "__main__":
    install_package(print)
