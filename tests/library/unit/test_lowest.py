"""What `python -m tests.lowest` installs: floors of dependencies, and the lock for the rest."""

import tomllib

from tests.installing import ROOT, pins
from tests.lowest import asked_for, constraints, floors


def test_a_floor_is_the_version_that_a_requirement_names():
    asked = ["a>=1.2", "b[x,y]>=3.4,<4", "c==5", "d", "workshed[server]", "e-f.g>=6.0rc1"]

    assert floors(asked) == {"a": "1.2", "b": "3.4", "c": "5", "e-f.g": "6.0rc1"}


def test_each_dependency_and_each_extra_is_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = floors(asked_for(project))

    assert {
        "dramatiq",
        "pydantic",
        "pydantic-settings",
        "typer",
        "email-validator",
        "sentry-sdk",
    } <= names.keys()


def test_a_package_without_a_floor_comes_in_the_version_of_the_lock():
    lines = constraints({"dramatiq": "2.2.1"})
    locked = dict(pins())

    assert "dramatiq==2.2.1" in lines
    assert locked["click"] in lines
    assert [line for line in lines if line.startswith("dramatiq==")] == ["dramatiq==2.2.1"]
    assert not any("--hash" in line for line in lines)
