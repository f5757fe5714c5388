"""What is built holds what it needs, and works where the repository is not."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_packages_and_their_files(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    packages = {"actors", "brokers", "console", "middleware", "workshed"}
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == packages
    for wanted in (
        "workshed/sql/jobs/0001_schedule.sql",
        "workshed/sql/product/0001_people_and_mail.sql",
        "workshed/mail/templates/welcome.html",
        "console/demo/people.csv",
        "console/web/static/pictures.js",
        "console/web/templates/pictures.html",
        "console/web/static/console.css",
        "console/web/static/console.js",
        "console/web/templates/desk/overview.html",
        *(f"{package}/py.typed" for package in packages),
    ):
        assert wanted in names


def test_the_wheel_brings_the_test_kits_plugin(wheel):
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith("/entry_points.txt"))
        declared = files.read(name).decode()

    assert "[pytest11]\nworkshed = brokers.testing.plugin\n" in declared


def test_a_worker_starts_from_the_wheel_alone(wheel, start_worker, tmp_path):
    unpacked = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(unpacked)

    worker = start_worker(env={"PYTHONPATH": str(unpacked)})

    mapped = subprocess.run(
        [sys.executable, "-c", "import actors; print(actors.__file__)"],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert mapped.startswith(str(unpacked))
    assert worker.stop() == 0
