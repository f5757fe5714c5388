"""Make the packages of a release: `python -m tools.release [FOLDER]`, by default `dist`."""

import hashlib
import shutil
import sys
import tempfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from tools.release.builds import build_packages, find_commit_time
from tools.release.contents import PACKAGE, check_contents, read_wheel
from tools.release.errors import ReleaseError
from tools.release.programs import run_program
from tools.release.refusals import check_commit
from tools.release.sbom import list_extras, write_sbom
from tools.release.trial import install_package, run_job
from workshed import __version__

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
SUMS = "SHA256SUMS"
PLAIN_EXTRA = "dev"
"""The extra that a trial needs at least: the worker, and its private servers."""


def main(words: list[str]) -> int:
    """Make a release; print each step on stderr, and at the end what it wrote."""
    target = Path(words[0] if words else "dist").resolve()
    try:
        check_commit(ROOT, __version__)
    except ReleaseError as err:
        print(err, file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="workshed-release-"))
    try:
        write_release(folder, target)
    except ReleaseError as err:
        print(f"{err}\nWhat was made until then is in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print((target / SUMS).read_text("utf-8"), end="")
    return 0


def write_release(folder: Path, target: Path) -> None:
    """Build, check and try the packages; write them with their bill of materials and sums."""
    report("Building twice, and comparing")
    wheel, sdist = build_packages(ROOT, folder / "builds")
    report("Checking what the packages hold")
    run_program(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, folder=folder)
    check_contents(ROOT, wheel, sdist, __version__, folder)
    said = read_metadata(wheel)
    extras = ",".join(list_extras(said))
    report(f"Running a job with the wheel and its extras {extras}")
    python = install_package(wheel, extras, folder / "wheel", LOCK)
    run_job(python, __version__, folder / "job-of-wheel")
    report(f"Running a job with the sdist and its extra {PLAIN_EXTRA}")
    from_source = install_package(sdist, PLAIN_EXTRA, folder / "sdist", LOCK)
    run_job(from_source, __version__, folder / "job-of-sdist")
    report("Writing the bill of materials")
    bill = folder / f"{PACKAGE}-{__version__}.cdx.json"
    write_sbom(python, said, find_commit_time(ROOT), bill, folder)
    write_files([wheel, sdist, bill], target)


def report(step: str) -> None:
    """Say what happens now."""
    print(f"{step} …", file=sys.stderr, flush=True)


def read_metadata(wheel: Path) -> Message:
    """Return the metadata of a wheel."""
    return message_from_bytes(read_wheel(wheel)[f"{PACKAGE}-{__version__}.dist-info/METADATA"])


def write_files(files: list[Path], target: Path) -> None:
    """Replace a folder by these files and their sums."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    lines = []
    for path in sorted(files, key=lambda one: one.name):
        shutil.copyfile(path, target / path.name)
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    (target / SUMS).write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
