"""The image of Workshed, built as a user would build it."""

import os

import pytest

from tests.service.e2e.deploy.images import DEBIAN, ROOT, Container, Store

DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"


@pytest.fixture(scope="session")
def store(request, tmp_path_factory):
    """Images, including `workshed`, which a test run builds once for all its processes."""
    assert os.geteuid() == 0, "containers and a systemd of their own: only root may start them"
    store = Store(DEBIAN.parent / "store")
    name = f"localhost/workshed-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    with store.alone():
        if not store.has("localhost/debian"):
            store.base("localhost/debian")
        if not store.has(name):
            store.remove("localhost/workshed-*")  # left by earlier runs
            store.build(name, DOCKERFILE, PYTHON="localhost/debian")
    store.workshed = name
    return store


@pytest.fixture(scope="session")
def image(store):
    """The folder of the image's files, and its configuration."""
    with store.unpacked(store.workshed) as files:
        yield files, store.config(store.workshed)


@pytest.fixture
def start_container(tmp_path):
    """Start containers, which are killed after the test."""
    started = []

    def start(spec):
        container = Container(tmp_path / f"container-{len(started)}", spec)
        started.append(container)
        return container

    yield start
    for container in started:
        container.end()
