"""The packages of a commit, built twice."""

import sys
import tarfile
from io import BytesIO
from pathlib import Path

from tools.release.errors import ReleaseError
from tools.release.programs import plain_environment, run_git, run_program

WAYS = (
    ("first", {"TZ": "UTC", "PYTHONHASHSEED": "1"}, 0o022),
    ("second/in/another/folder", {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2"}, 0o077),
)
"""Two folders, each with variables and a umask of its own; none of them may change a byte."""


def build_packages(root: Path, folder: Path) -> tuple[Path, Path]:
    """Build wheel and sdist in two ways; return the first, once the second has the same bytes."""
    first, second = (build_once(root, folder / name, env, umask) for name, env, umask in WAYS)
    found = {path.name: path.read_bytes() for path in second.iterdir()}
    built = {path.name: path.read_bytes() for path in first.iterdir()}
    if differing := sorted(name for name in built | found if built.get(name) != found.get(name)):
        raise ReleaseError(
            f"Two builds of the same commit differ: {', '.join(differing)}. Compare {first} with "
            f"{second}; a time, a path or an order that the build writes is the usual cause"
        )
    [wheel], [sdist] = first.glob("*.whl"), first.glob("*.tar.gz")
    return wheel, sdist


def build_once(root: Path, folder: Path, env: dict[str, str], umask: int) -> Path:
    """Build the sdist of the commit that is checked out, and the wheel of that sdist."""
    source, packages = folder / "source", folder / "packages"
    unpack_commit(root, source)
    run_program(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", packages, source),
        folder=source,
        env=plain_environment(SOURCE_DATE_EPOCH=find_commit_time(root), **env),
        umask=umask,
    )
    return packages


def unpack_commit(root: Path, folder: Path) -> None:
    """Write the files of the commit that is checked out, and no other."""
    folder.mkdir(parents=True)
    packed = folder.with_suffix(".tar")
    run_git(root, "archive", "--output", str(packed), "HEAD")
    with tarfile.open(fileobj=BytesIO(packed.read_bytes())) as tar:
        tar.extractall(folder, filter="data")


def find_commit_time(root: Path) -> str:
    """Return the time of the commit, in seconds of Unix; all files of a package have it."""
    return run_git(root, "log", "-1", "--format=%ct").strip()
