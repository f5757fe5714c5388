"""Two lanes: tests of a mechanism always run; exhaustive tests run as a sample or in full.

`make test` runs a sample whose seed is printed; `make exhaustive` and CI run every test. Marks say
how much of a test the sample runs:

   @pytest.mark.sample(3)      three of its parameters, chosen by the seed
   @pytest.mark.one_in(3)      one in three of its module's tests, chosen by the seed
   @pytest.mark.exhaustive     nothing: it runs in the exhaustive lane only

A test that runs with each transport, by a parameter `transport`, runs with one of them in a sample.

Tests that start programs take most of the time of a run, and the parts of these programs have
tests too. So a sample runs a fifth of each module in an `e2e` folder, and a third of other such
tests.

A test of many histories asks for their number: `lane(sample=10, exhaustive=50)`. Hypothesis has a
profile for each lane. If you name files or tests, all of them run.
"""

import math
import random
import secrets
from collections import defaultdict

import pytest
from hypothesis import settings as hypothesis_settings

LANE = "lane"

# No deadline: on a machine shared with other work, timings say nothing about the code.
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
    """Return whether all tests run: by the option, or because each argument is a file."""
    if config.getoption("exhaustive"):
        return True
    named = all(argument.partition("::")[0].endswith(".py") for argument in config.args)
    return named and config.getoption("sample_seed") is None


def seed(config):
    """Return the given seed, or a random one."""
    given = config.getoption("sample_seed")
    return secrets.randbelow(10**6) if given is None else given


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Hand the seed to a pytest-xdist process, because all must collect the same tests."""
    node.workerinput[LANE] = node.config.stash[_SEED]


def pytest_report_header(config):
    """Print the lane and, for a sample, the option that repeats it."""
    if config.stash[_SEED] is None:
        return "lane: exhaustive, every test"
    return f"lane: sample; to repeat it: --sample-seed {config.stash[_SEED]}"


def pytest_collection_modifyitems(config, items):
    """Deselect the tests that are not in the sample."""
    if config.stash[_SEED] is None:
        return
    kept = choose(items, config.stash[_SEED])
    left = [item for item in items if item.nodeid not in kept]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item.nodeid in kept]


def choose(items, seed):
    """Return the ids of the tests in the sample with this seed."""
    kept, families, modules = set(), defaultdict(list), defaultdict(list)
    for item in choose_transports(items, seed):
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


def choose_transports(items, seed):
    """Return the items without those of a test that the sample runs with another transport."""
    others = defaultdict(list)
    for item in items:
        transport = getattr(getattr(item, "callspec", None), "params", {}).get("transport")
        if transport is not None:
            others[item.nodeid.replace(transport, "", 1)].append(item.nodeid)
    left = set()
    for family, ids in others.items():
        left.update(set(ids).difference(draw(ids, 1, f"{seed} {family}")))
    return [item for item in items if item.nodeid not in left]


def draw(ids, size, seed):
    """Draw `size` ids; the seed contains their family's name, so other tests have no influence."""
    return random.Random(seed).sample(sorted(ids), min(size, len(ids)))  # noqa: S311 -- repeatable


@pytest.fixture(scope="session")
def lane(request):
    """`lane(sample=10, exhaustive=50)` returns the number for this run's lane."""
    is_sample = request.config.stash[_SEED] is not None
    return lambda *, sample, exhaustive: sample if is_sample else exhaustive


_SEED = pytest.StashKey[int | None]()
"""The seed of a sample; `None` in the exhaustive lane."""
