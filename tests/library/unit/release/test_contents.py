"""What a release finds in packages that are not as they must be."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools.release import contents
from tools.release.contents import list_faults

VERSION = "1.2.3"
NAMED = f"workshed-{VERSION}.dist-info"
METADATA = f"""\
Metadata-Version: 2.4
Name: workshed
Version: {VERSION}
Description-Content-Type: text/markdown

# Workshed

[Docs](https://git.example/team/workshed), [below](#below)
"""
LIBRARY = {"workshed/__init__.py": "", "workshed/sql/0001_first.sql": "SELECT 1"}
OTHERS = {"LICENSE": "MIT", "LICENSES-THIRD-PARTY.md": "", "README.md": "# Workshed"}
WHEEL = {
    **LIBRARY,
    **{f"{NAMED}/{name}": "" for name in ("RECORD", "WHEEL", "entry_points.txt")},
    f"{NAMED}/METADATA": METADATA,
    f"{NAMED}/licenses/LICENSE": "MIT",
}
SDIST = {**LIBRARY, **OTHERS, "PKG-INFO": METADATA}


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """`faults(wheel, sdist)`: what is found in packages with these files."""
    committed = [*LIBRARY, *OTHERS, ".ci/run"]
    monkeypatch.setattr(contents, "run_git", lambda *_: "\0".join(committed) + "\0")

    def faults(wheel=WHEEL, sdist=SDIST):
        with zipfile.ZipFile(tmp_path / "one.whl", "w") as packed:
            for name, text in wheel.items():
                packed.writestr(name, text)
        with tarfile.open(tmp_path / "one.tar.gz", "w:gz") as packed:
            for name, text in sdist.items():
                info = tarfile.TarInfo(f"workshed-{VERSION}/{name}")
                info.size = len(text.encode())
                packed.addfile(info, io.BytesIO(text.encode()))
        packages = (tmp_path / "one.whl", tmp_path / "one.tar.gz")
        return list_faults(Path("/the/clone"), *packages, VERSION, Path("/the/build"))

    return faults


def without(files, name):
    return {one: text for one, text in files.items() if one != name}


def test_packages_of_the_commit_have_no_faults(faults):
    assert faults() == []


def test_a_file_that_is_missing_or_that_no_commit_has_is_named(faults):
    wheel = without(WHEEL, f"{NAMED}/licenses/LICENSE") | {"workshed/left_over.py": ""}
    sdist = without(SDIST, "LICENSES-THIRD-PARTY.md") | {"secrets.env": ""}

    assert faults(wheel, sdist) == [
        f"the wheel lacks {NAMED}/licenses/LICENSE",
        "the wheel has workshed/left_over.py, which no commit has",
        "the sdist lacks LICENSES-THIRD-PARTY.md",
        "the sdist has secrets.env, which no commit has",
    ]


@pytest.mark.parametrize("folder", ["/the/clone", "/the/build"])
def test_a_folder_of_the_machine_is_found(folder, faults):
    [found] = faults(WHEEL | {"workshed/__init__.py": f"HERE = '{folder}/source'"})

    assert found == f"one.whl: workshed/__init__.py names the folder {folder} of this machine"


def test_a_longer_path_or_name_is_no_folder_of_the_machine(faults):
    assert faults(WHEEL | {"workshed/__init__.py": "'/in/the/clone', '/the/clones'"}) == []


def test_another_version_and_a_relative_link_are_found(faults):
    wrong = METADATA.replace(VERSION, "1.2.2").replace("https://git.example/team/", "docs/")

    assert faults(WHEEL | {f"{NAMED}/METADATA": wrong}) == [
        f"METADATA has version 1.2.2, not {VERSION}",
        "the description has a relative link or picture: docs/workshed",
    ]


def test_a_package_without_a_description_is_found(faults):
    [found] = faults(WHEEL | {f"{NAMED}/METADATA": METADATA.partition("\n\n")[0] + "\n"})

    assert found == "METADATA has no description that an index can show"
