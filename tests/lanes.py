"""Two lanes: what proves a mechanism always runs, exhaustive proofs run as a sample or whole.

`make test` runs a sample whose seed is printed; `make exhaustive` and CI run every test. A test is
marked with what the sample takes of it:

    @pytest.mark.sample(3)      of its parameters, three are chosen by the seed
    @pytest.mark.one_in(3)      of its module's tests, one in three is chosen by the seed
    @pytest.mark.exhaustive     it runs in the exhaustive lane only

Tests that start programs of their own take most of the time of a run, and the parts of these have
tests, too. So of each module of an `e2e` folder a sample takes a fifth, and of other such tests a
third.

A test of many histories asks for their number: `lane(sample=10, exhaustive=50)`. Hypothesis has a
profile for each lane. A run of files or tests that you name takes all of them.
"""

import math
import random
import secrets
from collections import defaultdict

import pytest
from hypothesis import settings as hypothesis_settings

LANE = "lane"

# Times of a machine shared with other work say nothing about the code.
PROFILES = {
    "sample": {"deadline": None, "max_examples": 30},
    "exhaustive": {"deadline": None, "max_examples": 100},
}

MARKERS = (
    "exhaustive: a proof over all cases, which only `--exhaustive` runs",
    "one_in(n): of its module's tests, one in n runs; `--exhaustive` runs all",
    "sample(n): n of its parameters run, chosen by the printed seed; `--exhaustive` runs all",
)


def pytest_addoption(parser):
    """`--exhaustive` and `--sample-seed`."""
    parser.addoption("--exhaustive", action="store_true", help="run every test, not a sample")
    parser.addoption("--sample-seed", type=int, help="the seed of a sample, to repeat it")


def pytest_configure(config):
    """Choose the lane, and one seed, for all processes of the run."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    drawn = None if is_exhaustive(config) else seed(config)
    config.stash[_SEED] = getattr(config, "workerinput", {}).get(LANE, drawn)
    name = "exhaustive" if config.stash[_SEED] is None else "sample"
    hypothesis_settings.register_profile(name, **PROFILES[name])
    hypothesis_settings.load_profile(name)


def is_exhaustive(config):
    """Return whether all tests are wanted: by the option, or since each argument is a file."""
    if config.getoption("exhaustive"):
        return True
    named = all(argument.partition("::")[0].endswith(".py") for argument in config.args)
    return named and config.getoption("sample_seed") is None


def seed(config):
    """Return the seed that is given, or one that is drawn."""
    given = config.getoption("sample_seed")
    return secrets.randbelow(10**6) if given is None else given


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Hand the seed to a process of pytest-xdist: all have to collect the same tests."""
    node.workerinput[LANE] = node.config.stash[_SEED]


def pytest_report_header(config):
    """Name the lane and, for a sample, the option that repeats it."""
    if config.stash[_SEED] is None:
        return "lane: exhaustive, every test"
    return f"lane: sample; to repeat it: --sample-seed {config.stash[_SEED]}"


def pytest_collection_modifyitems(config, items):
    """Leave out what the sample does not take."""
    if config.stash[_SEED] is None:
        return
    kept = choose(items, config.stash[_SEED])
    left = [item for item in items if item.nodeid not in kept]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item.nodeid in kept]


def choose(items, seed):
    """The ids of the tests that the sample with this seed takes."""
    kept, families, modules = set(), defaultdict(list), defaultdict(list)
    for item in items:
        if item.get_closest_marker("exhaustive"):
            continue
        if sample := item.get_closest_marker("sample"):
            families[item.nodeid.partition("[")[0], *sample.args].append(item.nodeid)
        else:
            kept.add(item.nodeid)
    for (family, size), ids in families.items():
        kept.update(draw(ids, size, f"{seed} {family}"))
    for item in items:
        if (share := item.get_closest_marker("one_in")) and item.nodeid in kept:
            modules[item.nodeid.partition("::")[0], *share.args].append(item.nodeid)
    for (module, share), ids in modules.items():
        kept.difference_update(ids)
        kept.update(draw(ids, math.ceil(len(ids) / share), f"{seed} {module}"))
    return kept


def draw(ids, size, seed):
    """So many of them. The seed has their family's name: a test elsewhere changes nothing."""
    return random.Random(seed).sample(sorted(ids), min(size, len(ids)))  # noqa: S311 -- repeatable


@pytest.fixture(scope="session")
def lane(request):
    """`lane(sample=10, exhaustive=50)`: how many of them this run takes."""
    is_sample = request.config.stash[_SEED] is not None
    return lambda *, sample, exhaustive: sample if is_sample else exhaustive


_SEED = pytest.StashKey[int | None]()
"""The seed of a sample; `None` in the exhaustive lane."""
