"""A root file system of Debian's next release, and how to run a command inside."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

SUITE = "sid"
LISTED = Path(__file__).parents[2] / ".ci" / "packages"
"""The programs that the tests run."""
PART = (
    *("ca-certificates", "curl", "git", "iproute2", "procps", "rabbitmq-server"),
    *("python3.14", "python3.14-venv", "python3.15", "python3.15-venv"),
)
WHOLE = (*PART, *re.findall(r"^[a-z][a-z0-9.+-]+", LISTED.read_text("utf-8"), re.MULTILINE))
INSIDE = Path("/matrix")
"""Where the root has the folder of a row."""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.pgp"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# All mounts are private to the namespace, which ends with its last process: a bind mount that is
# left behind would let a later `rm -rf` of the root reach the host's /dev.
ENTER = """
set -eu
root=$1 folder=$2
shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$folder" "$root/matrix"
for place in $GIVEN; do
    mkdir -p "$(dirname "$root$place")"
    if [ -d "$place" ]; then mkdir -p "$root$place"; else touch -a "$root$place"; fi
    mount --bind --read-only "$place" "$root$place"
done
set +e
chroot "$root" /usr/bin/env -i -C "$DIRECTORY" "$@"
exit $?
"""


class RootError(Exception):
    """There can be no root file system here, for the reason that the error states."""


def ensure(cache: Path, log: Path, *, part: bool) -> Path:
    """Return the root file system, made if it is not there yet; raises `RootError`.

    A part needs no browser and no Prometheus, and takes the root of a whole run if there is one.
    """
    for packages in (WHOLE, PART) if part else (WHOLE,):
        made_of = hashlib.sha256(" ".join((SUITE, *packages)).encode()).hexdigest()[:12]
        root = cache / f"{SUITE}-{made_of}"
        if root.is_dir():
            return root
    for older in cache.glob(f"{SUITE}-*"):
        remove(older)
    draft = cache / f"draft-{made_of}"
    remove(draft)
    make(draft, packages, log)
    (draft / INSIDE.relative_to("/")).mkdir()
    draft.rename(root)  # one that was cut short is never taken for a root
    return root


def remove(folder: Path) -> None:
    """Delete a root file system, if there is one; raises `RootError` where something is mounted."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if inside := [place for place in mounted if Path(place).is_relative_to(folder)]:
        raise RootError(f"{inside[0]} is a mount; unmount it before {folder} is deleted")
    shutil.rmtree(folder, ignore_errors=True)


def make(folder: Path, packages: tuple[str, ...], log: Path) -> None:
    """Install Debian's next release into a folder; raises `RootError`."""
    if shutil.which("mmdebstrap") is None:
        raise RootError("mmdebstrap is not installed; run `sh .ci/debian`, or apt-get install it")
    source = f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main"
    command = [
        *("mmdebstrap", "--mode=root", "--variant=minbase"),
        # A mirror may be a snapshot, whose index is older than it says it may get.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        f"--include={','.join(packages)}",
        *(SUITE, str(folder), source),
    ]
    with log.open("ab") as out:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        )
    if done.returncode:
        raise RootError(f"mmdebstrap failed with code {done.returncode}; see {log}")


def mirror() -> str:
    """Return the address from which this host's own apt gets Debian; raises `RootError`."""
    fields = "$(REPO_URI) $(RELEASE) $(ORIGIN)"
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", fields, "Identifier: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    targets = [line.split() for line in done.stdout.splitlines()]
    # Updates and security have suites of their own, with a dash, and not the next release.
    found = [words[0] for words in targets if words[2:] == ["Debian"] and "-" not in words[1]]
    if not found:
        raise RootError(
            "apt has no source of Debian here; run apt-get update, or --only another row"
        )
    return found[0]


def enter(
    root: Path, folder: Path, command: list[str], directory: Path, environment: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs another inside, and its environment.

    All processes of it have a pid namespace of their own, so none outlives it.
    """
    pip, files = pip_settings()
    variables = {
        "PATH": PATH,
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
        **pip,
        **environment,
    }
    namespace = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork"]
    words = [
        *(*namespace, "--kill-child", "sh", "-c", ENTER, "sh", str(root), str(folder)),
        *(f"{name}={value}" for name, value in variables.items()),
        *command,
    ]
    given = {"GIVEN": " ".join(map(shlex.quote, files)), "DIRECTORY": str(directory)}
    return words, {**os.environ, **given}


def pip_settings() -> tuple[dict[str, str], list[str]]:
    """Return what this host tells pip, as variables, and the files and folders that these name."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    command = ["python3", "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.partition(".")
        if section in ("global", "install"):
            variables.setdefault(f"PIP_{option.upper().replace('-', '_')}", value.strip("'\""))
    files = ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs"]
    for value in variables.values():
        files += [word for word in value.split() if word.startswith("/")]
    inside = [one for one in files if any(Path(other) in Path(one).parents for other in files)]
    return variables, [
        place for place in dict.fromkeys(files) if place not in inside and Path(place).exists()
    ]
