"""`deploy/container/Dockerfile`, checked by hadolint and line by line.

`tests/service/e2e/deploy` builds and runs it.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests import pages
from tests.root import ROOT
from tests.service.integration.deploy.lines import problem

FOLDER = ROOT / "deploy" / "container"
TEXT = (FOLDER / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
STAGES = re.split(r"(?m)^FROM ", TEXT)[1:]
FINAL = STAGES[-1]
ON_TOP = pages.block("deploy/README.md", "FROM workshed")
PROGRAM = Path(sys.executable).with_name("hadolint")


def test_hadolint_has_nothing_against_it():
    done = subprocess.run(
        [PROGRAM, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout


def test_hadolint_has_nothing_against_an_image_on_top_of_it(tmp_path):
    (tmp_path / "Dockerfile").write_text(ON_TOP.replace("FROM workshed", "FROM workshed:1"))
    words = [PROGRAM, tmp_path / "Dockerfile"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    command = json.loads(ON_TOP.partition("CMD ")[2])
    assert problem(command) is None


def test_build_tools_are_not_in_the_image():
    assert len(STAGES) == 2
    assert re.findall(r"COPY (?:--from=\S+ )?(.+)", FINAL) == [
        "LICENSE LICENSES-THIRD-PARTY.md /usr/share/doc/workshed/",
        "/opt/workshed /opt/workshed",
        "/app /srv/workshed",
    ]


def test_it_runs_unprivileged_and_its_command_is_process_1():
    assert re.findall(r"(?m)^USER (.+)$", FINAL) == ["10001:10001"]
    assert not re.search(r"(?m)^ENTRYPOINT ", FINAL)
    (command,) = re.findall(r"(?m)^CMD (.+)$", FINAL)
    assert json.loads(command)[:3] == ["workshed", "worker", "actors"]


def test_nothing_is_installed_without_its_hash():
    installs = re.findall(r"/(?:pip|uv pip|uv build)\b[^&\n]*", STAGES[0])

    unhashed = [one for one in installs if "--require-hashes" not in one]
    assert unhashed == [one for one in installs if one.endswith("--no-deps dist/*.whl")]
    assert len(installs) == 4


def test_its_extras_are_all_that_the_service_can_use():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    extras = set(re.findall(r"--extra (\w+)", STAGES[0]))
    unused = {"dev", "django", "sqlalchemy", "test"}  # the service writes through psycopg
    assert extras == set(project["optional-dependencies"]) - unused
    # An image with `heic` would be under the GPL.
    assert re.findall(r"--group (\w+)", STAGES[0]) == ["service"]


def test_the_build_context_has_only_packed_files():
    lines = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    files = {
        "LICENSE",
        "LICENSES-THIRD-PARTY.md",
        "README.md",
        "pyproject.toml",
        "requirements.lock",
        "tools/index_metadata.py",
    }

    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == files | {
        *("actors", "brokers", "middleware", "shop", "workshed")
    }
