"""Run the unit tests with the lowest allowed versions: `python -m tests.lowest`.

Each dependency of `pyproject.toml` is installed at its floor, so that a floor that is too low
fails here and not on a user's machine. Indirect dependencies and those of the tests have their
version of `requirements.lock`. The exit code is that of pip or pytest.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.installing import ROOT, environment, pins

FLOOR = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?:>=|==)(?P<version>[0-9A-Za-z.]+)")
SERVICE = ("service", "heic")
"""The dependency groups whose floors are tested like those of the library."""
GROUPS = ("test", "connections")
"""The dependency groups that the unit tests import."""
CLIENT = "httpx"
"""The dependency of Starlette's test client before it switched to httpx2."""
COMPARED = "celery"
"""A test compares its version with that of `docs/comparison.md`."""
UNIT = ("tests/library/unit", "tests/service/unit")
NOT_RUN = (
    "tests/library/unit/release",
    "tests/library/unit/test_licences.py",
    "tests/library/unit/typing",
    "tests/service/unit/test_capacity.py",
    "tests/service/unit/test_examples.py",
    "tests/service/unit/test_instructions_limit.py",
    "tests/service/unit/test_measurement.py",
    "tests/service/unit/test_website.py",
)
"""They need tools that these environments lack, for example those of a release and of the site, and
the peers of the benchmarks, some of which need newer versions than the library does;
`test_licences` compares a page with the packages of the lock."""
OLD = ("-W", "ignore::DeprecationWarning")
"""An old release may use features that a newer release of another project deprecates."""
WORDS = (*UNIT, "-q", "--exhaustive", *OLD, *(f"--ignore={one}" for one in NOT_RUN))
FREE = (
    "httpcore2",
    "opentelemetry-",
    "protobuf",
    "googleapis-common-protos",
    "importlib-metadata",
    "pydantic-core",
)
"""Packages without a constraint, because floors (OpenTelemetry's, for example) pin them."""


def main(words):
    """Install everything, then run pytest on `UNIT`, or on the given arguments instead."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    ours = [one for group in SERVICE for one in groups[group]]
    lowest = floors([*asked_for(project["project"]), *ours])
    needed = [*ours, *(one for group in GROUPS for one in groups[group])]
    with tempfile.TemporaryDirectory(prefix="workshed-lowest-") as folder:
        print(*(f"{name}=={version}" for name, version in sorted(lowest.items())), flush=True)
        try:
            python = environment(
                Path(folder) / "env",
                f"{ROOT}[{','.join(project['project']['optional-dependencies'])}]",
                *needed,
                CLIENT,
                COMPARED,
                constraints=constraints(lowest),
            )
        except AssertionError as err:
            print(err, file=sys.stderr)
            return 1
        # The repository comes first, so that its modules are tested and not an installed copy.
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        env["PATH"] = f"{Path(python).parent}{os.pathsep}{env['PATH']}"
        tests = [python, "-m", "pytest", *(words or WORDS)]
        return subprocess.run(tests, cwd=ROOT, env=env, check=False).returncode


def asked_for(project):
    """Return all requirements, including those of extras, that name another project."""
    optional = project["optional-dependencies"].values()
    return [one for each in (project["dependencies"], *optional) for one in each]


def floors(requirements):
    """Return the lowest version of each requirement that names one."""
    found = (FLOOR.match(one) for one in requirements)
    return {one["name"].lower(): one["version"] for one in found if one}


def constraints(lowest):
    """Return a line for each release: the floors, and the lock's version for the rest."""
    locked = ((name.lower(), line) for name, line in pins())
    rest = [line for name, line in locked if name not in lowest and not name.startswith(FREE)]
    return [*(f"{name}=={version}" for name, version in lowest.items()), *rest]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
