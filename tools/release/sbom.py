"""The software bill of materials: all packages that the wheel with its extras installs."""

import json
import sys
from email.message import Message
from pathlib import Path

from packaging.requirements import Requirement

from tools.release.errors import ReleaseError
from tools.release.programs import plain_environment, run_program


def list_extras(said: Message) -> list[str]:
    """Return the extras of a package."""
    return sorted(said.get_all("Provides-Extra") or ())


def write_sbom(python: Path, said: Message, time: str, path: Path, folder: Path) -> None:
    """Write what is installed in an environment, with the package itself as its subject."""
    subject = folder / "pyproject.toml"
    subject.write_text(render_subject(said), "utf-8")
    run_program(
        *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"),
        *("--mc-type", "library", "--pyproject", subject, "--output-file", path, python),
        folder=folder,
        env=plain_environment(SOURCE_DATE_EPOCH=time),
    )
    text = path.read_text("utf-8")
    if "file:" in text or str(folder) in text:
        raise ReleaseError(f"{path.name} names a folder of this machine")


def render_subject(said: Message) -> str:
    """Return the metadata of a package as a project, whose dependencies include all extras."""
    needed = {str(name_package(one)) for one in said.get_all("Requires-Dist") or ()}
    lines = {
        "name": said["Name"],
        "version": said["Version"],
        "description": said["Summary"],
        "license": said["License-Expression"],
        "dependencies": sorted(needed),
    }
    return "[project]\n" + "".join(f"{key} = {json.dumps(one)}\n" for key, one in lines.items())


def name_package(text: str) -> Requirement:
    """Return a requirement that applies without its extra."""
    requirement = Requirement(text)
    if requirement.marker and "extra" in str(requirement.marker):
        requirement.marker = None
    return requirement
