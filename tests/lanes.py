"""Two lanes: what proves a mechanism always runs, exhaustive proofs run as a sample or whole.

`make test` runs a sample whose seed is printed; `make exhaustive` and CI run every test. A test is
marked with what the sample takes of it:

    @pytest.mark.sample(3)      of its parameters, three are chosen by the seed
    @pytest.mark.exhaustive     it runs in the exhaustive lane only
"""

import random
import secrets
from collections import defaultdict

import pytest

SEED = "sample_seed"

MARKERS = (
    "exhaustive: a proof over all cases, which only `--exhaustive` runs",
    "sample(n): n of its parameters run, chosen by the printed seed; `--exhaustive` runs all",
)


def pytest_addoption(parser):
    """`--exhaustive` and `--sample-seed`."""
    parser.addoption("--exhaustive", action="store_true", help="run every test, not a sample")
    parser.addoption("--sample-seed", type=int, help="the seed of a sample, to repeat it")


def pytest_configure(config):
    """Choose one seed for all processes of the run."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    given = config.getoption("sample_seed")
    drawn = secrets.randbelow(10**6) if given is None else given
    config.stash[_SEED] = getattr(config, "workerinput", {}).get(SEED, drawn)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Hand the seed to a process of pytest-xdist: all have to collect the same tests."""
    node.workerinput[SEED] = node.config.stash[_SEED]


def pytest_report_header(config):
    """Name the lane and, for a sample, the option that repeats it."""
    if config.getoption("exhaustive"):
        return "lane: exhaustive, every test"
    return f"lane: sample; to repeat it: --sample-seed {config.stash[_SEED]}"


def pytest_collection_modifyitems(config, items):
    """Leave out what the sample does not take."""
    if config.getoption("exhaustive"):
        return
    kept = choose(items, config.stash[_SEED])
    left = [item for item in items if item.nodeid not in kept]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item.nodeid in kept]


def choose(items, seed):
    """The ids of the tests that the sample with this seed takes."""
    kept, families = set(), defaultdict(list)
    for item in items:
        if sample := item.get_closest_marker("sample"):
            (size,) = sample.args
            families[item.nodeid.partition("[")[0], size].append(item.nodeid)
        elif not item.get_closest_marker("exhaustive"):
            kept.add(item.nodeid)
    for (family, size), ids in families.items():
        # By the family's name, so that a new test elsewhere does not change what is chosen here.
        chosen = random.Random(f"{seed} {family}")  # noqa: S311 -- a sample, to be repeated
        kept.update(chosen.sample(sorted(ids), min(size, len(ids))))
    return kept


_SEED = pytest.StashKey[int]()
