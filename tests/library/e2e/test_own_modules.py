"""An application whose modules have names that packages of Workshed have, or once had."""

import os
import subprocess
import sys

import pytest

from tests.programs import CLOCK, started_programs

NAMES = ("brokers", "console", "middleware", "shop")
IMPORTS = """
import brokers, console, middleware, shop

assert {one.MINE for one in (brokers, console, middleware, shop)} == {True}
"""
ACTORS = """
import dramatiq

import brokers, console, middleware, shop

assert {one.MINE for one in (brokers, console, middleware, shop)} == {True}

from workshed import broker, daily, db


@dramatiq.actor(broker=broker)
def note(number: int) -> None:
    with db.transaction() as conn:
        conn.execute("INSERT INTO public.notes VALUES (%s)", (number,))


@dramatiq.actor(broker=broker, periodic=daily("03:30"))
def tick() -> None:
    with db.transaction() as conn:
        conn.execute("INSERT INTO public.notes VALUES (0)")
"""
TEST = """
from actors import note
from tests import helper


def test_it(jobs):
    note.send(helper.NUMBER)
    jobs.assert_enqueued(note, 7)
"""


@pytest.fixture
def environment(environment, tmp_path):
    """Programs find modules in the folder of the application, and none of this repository."""
    return {**environment, "PYTHONPATH": str(tmp_path)}


@pytest.fixture
def project(no_app, tmp_path, conn):
    """A folder with `actors`, `tests` and other modules, which are all the application's own."""
    (tmp_path / "actors.py").write_text(ACTORS)
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "tests" / "helper.py").write_text("NUMBER = 7\n")
    (tmp_path / "tests" / "test_notes.py").write_text(TEST)
    conn.autocommit = True
    conn.execute("CREATE TABLE public.notes (number int)")
    return tmp_path


@pytest.fixture
def start(project, environment, broker):
    """`start("dramatiq", "actors")`: a program of this Python in the folder of the application."""
    with started_programs(project, {**os.environ, **environment}) as start:
        yield start


@pytest.mark.parametrize("program", ["dramatiq", "workshed"])
def test_workers_have_its_actors(program, start, run, environment, count, eventually):
    words = ("worker", "actors") if program == "workshed" else ("actors",)
    start("-m", program, *words, "-p", "1", "-t", "2")

    sent = run(
        "-c",
        "from actors import note\n"
        "note.send(42)\n"
        "note.send_with_options(args=(43,), delay=100)\n",  # sent by a relay
        **environment,
    )

    assert sent == (0, "")
    eventually(lambda: count("public.notes WHERE number IN (42, 43)") == 2)


def test_clocks_have_its_actors(start, count, eventually):
    start(*CLOCK, "actors")

    eventually(lambda: count("workshed.periodic_jobs WHERE name = 'tick'") == 1)


def test_no_command_imports_a_module_that_was_not_named(project, run, broker, environment):
    """`workshed doctor` once imported `shop`, and so whatever the application has there."""
    (project / "actors.py").write_text(ACTORS.replace(IMPORTS, ""))
    for name in NAMES:
        (project / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')\n")

    for words in (("doctor", "--import", "actors"), ("periodic",), ("jobs",), ("migrate",)):
        code, said = run("-m", "workshed", *words, **environment)

        assert "was imported" not in said
        assert code in {0, 1, 2}, said


def test_a_worker_of_no_module_says_how_to_name_one(project, run, environment, broker):
    """Without an App, `workshed worker` once ran the module `actors`, whatever was in it."""
    code, said = run("-m", "workshed", "worker", **environment)

    assert code == 2
    assert "name the modules of your actors, here or in `actors` of your App" in said


def test_tests_have_its_actors(project, environment):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests"],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
