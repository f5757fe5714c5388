"""What is in a package, and what must not be."""

import email
import email.policy
import re
import tarfile
import zipfile
from email.message import EmailMessage
from pathlib import Path

from readme_renderer import markdown

from tools.release.errors import ReleaseError
from tools.release.programs import run_git

PACKAGE = "workshed"
LICENCE = "LICENSE"
LICENCES = "LICENSES-THIRD-PARTY.md"
NOT_PACKED = ".ci/"
ADDRESS = re.compile(r'\b(?:href|src)="([^"]*)"')
ABSOLUTE = ("https://", "mailto:", "#")
Files = dict[str, bytes]


def read_wheel(path: Path) -> Files:
    """Return the files of a wheel."""
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def read_sdist(path: Path) -> Files:
    """Return the files of an sdist, without the folder that all of them are in."""
    with tarfile.open(path) as packed:
        return {
            one.name.partition("/")[2]: opened.read()
            for one in packed.getmembers()
            if (opened := packed.extractfile(one))
        }


def list_faults(root: Path, wheel: Path, sdist: Path, version: str, folder: Path) -> list[str]:
    """Return what is wrong with two packages that were built below a folder."""
    committed = set(run_git(root, "ls-files", "-z").split("\0")) - {""}
    in_wheel, in_sdist = read_wheel(wheel), read_sdist(sdist)
    named = f"{PACKAGE}-{version}.dist-info"
    paths = machine_paths(root, folder)
    return [
        *compare_wheel(in_wheel, committed, named),
        *compare_sdist(in_sdist, committed),
        *check_metadata(in_wheel.get(f"{named}/METADATA", b""), version),
        *(f"{wheel.name}: {one}" for one in find_paths(in_wheel, paths)),
        *(f"{sdist.name}: {one}" for one in find_paths(in_sdist, paths)),
    ]


def compare_wheel(files: Files, committed: set[str], named: str) -> list[str]:
    """Compare a wheel with the library of the commit."""
    library = {path for path in committed if path.startswith(f"{PACKAGE}/")}
    own = {f"{named}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    return compare_names("the wheel", set(files), library | own | {f"{named}/licenses/{LICENCE}"})


def compare_sdist(files: Files, committed: set[str]) -> list[str]:
    """Compare an sdist with the files of the commit."""
    packed = {path for path in committed if not path.startswith(NOT_PACKED)}
    return compare_names("the sdist", set(files), packed | {"PKG-INFO", LICENCE, LICENCES})


def compare_names(package: str, found: set[str], expected: set[str]) -> list[str]:
    """Return a fault for each file that is missing, or that no commit has."""
    missing = (f"{package} lacks {name}" for name in sorted(expected - found))
    strange = (f"{package} has {name}, which no commit has" for name in sorted(found - expected))
    return [*missing, *strange]


def check_metadata(text: bytes, version: str) -> list[str]:
    """Check the version of the metadata, and that an index can show the description."""
    headers = email.message_from_bytes(text, _class=EmailMessage, policy=email.policy.compat32)
    found = []
    if headers["Version"] != version:
        found.append(f"METADATA has version {headers['Version']}, not {version}")
    html = markdown.render(text.decode().partition("\n\n")[2])
    if not html:
        return [*found, "METADATA has no description that an index can show"]
    astray = sorted({one for one in ADDRESS.findall(html) if not one.startswith(ABSOLUTE)})
    return found + [f"the description has a relative link or picture: {one}" for one in astray]


def machine_paths(root: Path, folder: Path) -> list[str]:
    """Return the folders of this machine that no file may name."""
    home = Path.home()
    named = [home] if len(home.parts) > 2 else []  # noqa: PLR2004 -- /root is a word of many pages
    return [str(path) for path in (root, folder, *named)]


def find_paths(files: Files, paths: list[str]) -> list[str]:
    """Return a fault for each file that names one of these folders."""
    return [
        f"{name} names the folder {path} of this machine"
        for name, content in files.items()
        for path in paths
        if re.search(rb"(?<![\w/.-])" + re.escape(path.encode()) + rb"(?![\w-])", content)
    ]


def check_contents(root: Path, wheel: Path, sdist: Path, version: str, folder: Path) -> None:
    """Raise `ReleaseError` with all faults of two packages."""
    if faults := list_faults(root, wheel, sdist, version, folder):
        raise ReleaseError("\n".join(("The packages are not what they must be:", *faults)))
