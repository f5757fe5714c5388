"""A root file system of Debian's next release, and a command that runs other commands inside."""

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
WHOLE = (
    *PART,
    *re.findall(r"^[a-z][a-z0-9.+-]+", LISTED.read_text("utf-8"), re.MULTILINE),
)
INSIDE = Path("/matrix")
"""Mount point of the folder of a row."""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.pgp"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# All mounts are private to the namespace, which ends with its last process. If a bind mount stayed,
# a later `rm -rf` of the root would delete files in the host's /dev.
ENTER = """
set -eu
root=$1 folder=$2
shift 2
mount --bind "$root" "$root"  # `ip netns` needs a `/` that is the root of a mount
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
    """The root file system cannot be made here, for the reason that the error states."""


def ensure(cache: Path, log: Path, *, part: bool) -> Path:
    """Return the root file system; make it first if it is missing. Raises `RootError`.

    A partial run needs no browser and no Prometheus, and uses the root of a full run if it exists.
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
    draft.rename(root)  # so an interrupted run leaves no root that looks complete
    return root


def remove(folder: Path) -> None:
    """Delete a root file system if it exists; raises `RootError` if something is mounted in it."""
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
        # A mirror may be a snapshot whose index has expired.
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
    """Return the address of Debian that this host's apt uses; raises `RootError`."""
    fields = "$(REPO_URI) $(RELEASE) $(ORIGIN)"
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", fields, "Identifier: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    targets = [line.split() for line in done.stdout.splitlines()]
    # Suites with a dash, such as those of security updates, do not have the next release.
    found = [words[0] for words in targets if words[2:] == ["Debian"] and "-" not in words[1]]
    if not found:
        raise RootError(
            "apt has no source of Debian here; run apt-get update, or --only another row"
        )
    return found[0]


def enter(
    root: Path, folder: Path, command: list[str], directory: Path, environment: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return a command that runs the given one inside, and its environment.

    Its processes have their own pid namespace, so none outlives the command.
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
    """Return the pip settings of this host as variables, and the files that these name."""
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
