"""Which tests the sample takes, and that the exhaustive lane takes all tests."""

import os
import re
import subprocess
import sys
from functools import cache

import pytest

from tests.root import ROOT

pytestmark = pytest.mark.one_in(3)  # each test starts programs of its own


EXAMPLE = """
import pytest
from hypothesis import settings

@pytest.mark.sample(3)
@pytest.mark.parametrize("line", range(20))
def test_each_line(line):
    pass

@pytest.mark.exhaustive
def test_every_zone():
    pass

@pytest.mark.parametrize("transport", ["one", "other"])
@pytest.mark.parametrize("number", range(2))
def test_travels(number, transport):
    pass

def test_the_mechanism():
    pass

def test_histories(lane):
    print("histories:", lane(sample=5, exhaustive=50), settings().max_examples)
"""

# In a folder of its own, all of whose tests are marked, as in `tests/library/e2e`.
MARKING = """
import pytest

def pytest_itemcollected(item):
    item.add_marker(pytest.mark.one_in(3))
"""
SERVICES = """
import pytest

def test_starts(): pass
def test_stops(): pass
def test_restarts(): pass
def test_rolls(): pass

@pytest.mark.sample(1)
@pytest.mark.parametrize("signal", range(9))
def test_signals(signal): pass

@pytest.mark.exhaustive
def test_every_order(): pass
"""
SLOW = "def test_alone(): pass\n"


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """`collected("--exhaustive")`: the ids that such a run of the example takes, and its output."""
    tmp_path = tmp_path_factory.mktemp("example")
    (tmp_path / "test_example.py").write_text(EXAMPLE)
    (tmp_path / "services").mkdir()
    for name, text in (("conftest", MARKING), ("test_services", SERVICES), ("test_slow", SLOW)):
        (tmp_path / "services" / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.lanes", "-p", "no:cacheprovider"]

    @cache  # each run takes seconds
    def run(*options, of="."):
        done = subprocess.run(
            [*command, "-v", "-rP", *options, of],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        return set(re.findall(r"(test_\S+) PASSED|PASSED (\S+)", done.stdout)), done.stdout

    return run


def test_the_exhaustive_lane_is_every_test(collected):
    every, said = collected("--exhaustive")

    assert len(every) == 27 + 15
    assert "lane: exhaustive, every test" in said


def test_a_sample_takes_some_of_a_family_and_every_mechanism(collected):
    every, _ = collected("--exhaustive")
    some, _ = collected()

    assert some < every
    assert len([name for name in some if "test_example" in str(name)]) == 5 + 2
    assert not [name for name in some if "test_every" in str(name)]


def test_a_sample_runs_each_test_with_one_transport(collected):
    some, _ = collected()

    assert sorted(re.findall(r"test_travels\[(\d)-\w+\]", str(some))) == ["0", "1"]


def test_a_sample_takes_a_third_of_a_module_that_starts_services(collected):
    """Two of the five tests that remain with a single parameter; and never none of a module."""
    some, _ = collected()

    assert len([name for name in some if "test_services" in str(name)]) == 2
    assert len([name for name in some if "test_slow" in str(name)]) == 1


def test_the_seed_that_is_printed_repeats_a_sample(collected):
    some, said = collected()
    (seed,) = re.findall(r"--sample-seed (\d+)", said)

    again, _ = collected("--sample-seed", seed)

    assert again == some


def test_a_file_that_is_named_runs_whole(collected):
    """Otherwise the test that you are about to write could be left out by chance."""
    every, _ = collected("--exhaustive")

    every = {name for name in every if "test_example" in str(name)}
    named, said = collected(of="test_example.py")
    one, _ = collected(of="test_example.py::test_every_zone")
    again, _ = collected("--sample-seed", "7", of="test_example.py")

    assert named == every
    assert "lane: exhaustive, every test" in said
    assert len(one) == 1
    assert len(again) == 5 + 2


def test_a_sample_takes_fewer_histories(collected):
    _, every = collected("--exhaustive")
    _, some = collected("-n", "2")

    assert "histories: 50 100" in every
    assert "histories: 5 30" in some


def test_seeds_choose_differently(collected):
    assert len({frozenset(collected("--sample-seed", str(n))[0]) for n in range(3)}) > 1


def test_all_processes_of_a_run_take_the_same_sample(collected):
    """Without a common seed, processes collect different tests, which pytest-xdist refuses."""
    some, _ = collected("-n", "2")

    assert len(some) == 5 + 2 + 3
