"""Each example of README and docs is run by a test, or listed here with the reason why not."""

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from tests import pages

RUN = 232
"""Tests run at least this many blocks."""
TAKES = re.compile(r"^from tests(\.pages)? import (.*, )?(pages|block)\b", re.MULTILINE)
USERS = [
    str(file.relative_to(pages.ROOT))
    for file in sorted((pages.ROOT / "tests").rglob("*.py"))
    if file != Path(__file__) and TAKES.search(file.read_text("utf-8"))
]
CONTAINER = "docker build --file deploy/container/Dockerfile --tag workshed ."
COMPOSE = "cp .env.example .env && chmod 600 .env      # and fill it in: openssl rand -hex 24"
UNITS = (
    "python3 -m venv /opt/workshed && /opt/workshed/bin/pip install …"
    "     # workshed[server], and what your actors need"
)
CLUSTER = "kubectl apply --filename kubernetes/base/namespace.yaml"
LIMIT = "$ python -m bench.instructions_limit            # check"
BENCH = "$ make bench                     # all of it, two hours"
QUIET = "systemctl kill --signal=TSTP --kill-whom=main workshed-worker@mail"
CURL = '$ curl -H "Authorization: Bearer wsc_…" https://jobs.example.org/dead.json'
NOT_RUN = {
    ("README.md", "Install", "git clone … workshed"): (
        "it needs a host to clone from; `tests/library/e2e/test_wheel.py` installs the wheel, and"
        " `tests/library/e2e/test_dev.py` runs `workshed dev`"
    ),
    ("deploy/README.md", "Containers", CONTAINER): (
        "no Docker is here; `tests/service/e2e/deploy/test_containers.py` builds it by buildah"
    ),
    ("deploy/README.md", "One host, all of it", COMPOSE): (
        "no Docker is here; `tests/service/integration/deploy/test_compose.py` reads what it starts"
    ),
    ("deploy/README.md", "systemd", UNITS): (
        "it installs into this machine; `tests/service/e2e/deploy/test_systemd.py` does it in a"
        " container"
    ),
    ("deploy/README.md", "Kubernetes", CLUSTER): (
        "no cluster is here; `tests/service/integration/deploy/test_kubernetes.py` reads what it"
        " applies"
    ),
    ("docs/console.md", "Programs", CURL): (
        "it needs a console at an address on the Internet;"
        " `tests/library/integration/desk/test_program_tokens.py` sends such requests"
    ),
    ("docs/demo.md", "The demo", "git clone … workshed && cd workshed"): (
        "it needs a host to clone from; `tests/service/e2e/test_demo.py` runs the demo"
    ),
    ("docs/operating.md", "Quiet", QUIET): (
        "it needs a systemd; `tests/library/e2e/workers/test_quiet.py` sends the signal"
    ),
    ("docs/performance.md", "Performance", BENCH): (
        "it takes two hours; `tests/service/e2e/test_bench.py` sees that each scenario runs"
    ),
    ("docs/performance.md", "The limit", LIMIT): "CI runs it: `make instructions`",
}
"""Blocks that no test runs, by name: the reason, and what is tested instead."""


@pytest.fixture(scope="module")
def taken():
    """The names of all blocks that tests use."""
    for path in USERS:
        importlib.import_module(path.removesuffix(".py").replace("/", "."))
    return {one.name for one in pages.TAKEN}


def test_each_is_run_by_a_test_or_listed_with_a_reason(taken):
    assert {one.name for one in pages.ALL} - taken == NOT_RUN.keys()


def test_no_fewer_examples_are_run_than_before(taken):
    """Raise the number when you add examples; a page that loses one gives its readers less."""
    assert len(taken) >= RUN


@pytest.mark.parametrize("name", NOT_RUN)
def test_tests_named_instead_exist(name):
    for path in re.findall(r"`(tests/\S+)`", NOT_RUN[name]):
        assert (pages.ROOT / path).exists()


def test_each_has_a_name_of_its_own():
    """Otherwise a tested block could stand for another one of the same name."""
    assert max(Counter(one.name for one in pages.ALL).values()) == 1


@pytest.mark.parametrize("path", USERS)
def test_a_module_uses_each_block_that_it_selects(path):
    """A block is selected at import time, but tested only if the module reads it."""
    tree = ast.parse((pages.ROOT / path).read_text("utf-8"))
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    bound = {
        name.id
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for name in ast.walk(statement.targets[0])
        if isinstance(name, ast.Name)
    }

    assert bound - read - {"pytestmark"} == set(), "pytest reads that one"
