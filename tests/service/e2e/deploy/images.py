"""The image of `deploy/container/Dockerfile`, built by buildah, and its containers, run by crun.

No image registry is used: the base is a Debian that `.ci/image` makes from packages. crun is one
of the programs that Docker and Kubernetes use to start a container.
"""

import contextlib
import fcntl
import json
import os
import resource
import subprocess
import time
from pathlib import Path

from tests.root import ROOT

DEBIAN = ROOT / "var" / "deploy" / "debian.tar"
CERTIFICATES = "/etc/ssl/certs"
# crun needs cgroup v2, which a machine may not have mounted. Each container has its own cgroup,
# because a systemd in it creates others below.
UNIFIED = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && cd /sys/fs/cgroup && "
ENTER = 'mkdir "$0" && echo $$ > "$0/cgroup.procs" && '
LEAVE = 'find "$0" -depth -type d -exec rmdir {} +'


def run(*command, **options):
    """Run a command and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Store:
    """buildah's image store for tests, separate from that of this machine."""

    def __init__(self, folder):
        self._folder = folder
        self._at = ("--root", str(folder / "root"), "--runroot", str(folder / "run"))

    @contextlib.contextmanager
    def alone(self):
        """Keep the other processes of this test run waiting."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def has(self, name):
        return bool(self.buildah("images", "--quiet", "--filter", f"reference={name}"))

    def buildah(self, *words, **options):
        return run("buildah", *self._at, *words, **options).strip()

    def base(self, name):
        """Make an image from Debian's packages, instead of pulling one from a registry."""
        assert DEBIAN.exists(), f"{DEBIAN} is missing: sh .ci/image"
        empty = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", empty, str(DEBIAN), "/")
        self.buildah("commit", "--quiet", "--rm", empty, name)

    def remove(self, pattern):
        for found in self.buildah("images", "--quiet", "--filter", f"reference={pattern}").split():
            self.buildah("rmi", "--force", found)

    def build(self, name, dockerfile, context=ROOT, **arguments):
        """Build an image as Docker would, with pip's and uv's settings for their index."""
        lent = [word for file in lendable() for word in ("--volume", f"{file}:{file}:ro")]
        words = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        self.buildah(
            *("build", "--quiet", "--isolation=chroot", "--network=host", *limits(), *lent),
            *(f"--volume={cache()}:/root/.cache/uv", "--env=SSL_CERT_FILE", *words),
            *("--tag", name, "--file", str(dockerfile), str(context)),
        )

    def config(self, name):
        """Return the configuration of an image."""
        return json.loads(self.buildah("inspect", "--type", "image", name))["OCIv1"]["config"]

    @contextlib.contextmanager
    def unpacked(self, name):
        """Return a folder with a copy of an image's files."""
        container = self.buildah("from", name)
        try:
            yield Path(self.buildah("mount", container))
        finally:
            self.buildah("rm", container)


def limits():
    """Return this process's limits, because buildah would raise them and may not."""
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(number)[1]
        yield f"--ulimit={name}={hard}:{hard}"


def lendable():
    return [path for path in (CERTIFICATES, "/etc/pip.conf") if Path(path).exists()]


def cache():
    """Return uv's cache folder."""
    folder = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache" / "uv"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Container:
    """A running container; its process has pid 1, on the network of this machine."""

    def __init__(self, folder, spec):
        folder.mkdir()
        self.log = folder / "log"
        self._name = f"workshed-{os.getpid()}-{time.monotonic_ns()}"
        self._state = str(folder / "state")
        (folder / "config.json").write_text(json.dumps(spec))
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                self._crun("run", f"--bundle={folder}", self._name, before=ENTER),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def _crun(self, verb, *words, before=""):
        script = f'{UNIFIED}{before}exec crun --cgroup-manager=disabled --root "$@"'
        return ("unshare", "--mount", "bash", "-c", script, self._name, self._state, verb, *words)

    def text(self):
        return self.log.read_text()

    def run(self, *command):
        """Run another command in it and return its output."""
        return run(*self._crun("exec", self._name, *command))

    def attempt(self, *command):
        """Run a command that may fail; return its exit code and output."""
        words = self._crun("exec", self._name, *command)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def stop(self, within):
        """Stop it with SIGTERM alone, as an engine does; return its exit code."""
        run(*self._crun("kill", self._name, "TERM"))
        return self.process.wait(within)

    def end(self):
        """Clean up, whatever the test did."""
        if self.process.poll() is None:
            with contextlib.suppress(AssertionError):
                run(*self._crun("kill", self._name, "KILL"))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()
            self.process.wait(60)
        with contextlib.suppress(AssertionError):  # it may be gone already
            run("unshare", "--mount", "bash", "-c", UNIFIED + LEAVE, self._name)


def spec(root, args, env, *, cwd="/", user="0:0", read_only=False, capabilities=(), mounts=()):
    """Return the OCI configuration for crun: all namespaces except the network's."""
    uid, _, gid = user.partition(":")
    granted = sorted(capabilities)
    kinds = ("bounding", "effective", "permitted")
    return {
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": int(uid), "gid": int(gid)},
            "args": list(args),
            "env": [f"{name}={value}" for name, value in env.items()],
            "cwd": cwd,
            "capabilities": dict.fromkeys(kinds, granted) | {"inheritable": [], "ambient": []},
            "noNewPrivileges": not granted,
        },
        "root": {"path": str(root), "readonly": read_only},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            tmpfs("/dev", "mode=755"),
            tmpfs("/dev/shm", "mode=1777"),  # noqa: S108 -- in the container
            bind("/etc/resolv.conf", "/etc/resolv.conf", "ro"),
            *mounts,
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")]
        },
    }


def tmpfs(folder, *options):
    return {"destination": folder, "type": "tmpfs", "source": "tmpfs", "options": [*options]}


def bind(source, folder, *options):
    words = ["bind", *options]
    return {"destination": folder, "type": "bind", "source": str(source), "options": words}
