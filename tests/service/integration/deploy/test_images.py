"""The images that `deploy/` pins: of series that the matrix runs, or named as untested."""

import platform
import re
import subprocess

import pytest
import yaml

from tests.matrix.table import PLATFORMS, numbers
from tests.monitoring import ROOT
from tests.service.integration.deploy.composed import DEPLOY

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (ROOT / "deploy" / "container" / "Dockerfile").read_text("utf-8")
BASE = re.search(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE)[1]
OURS = "workshed"
OTHERS = {one.get("image", OURS) for one in COMPOSE["services"].values()} - {OURS}
OLDEST_DEBIAN = "trixie"
ROW = re.compile(r"^\| `([^`:]+:[^`]+)`[^|]*\| (.*) \|$", re.MULTILINE)
TESTED = dict(ROW.findall((DEPLOY / "README.md").read_text("utf-8")))


def test_each_image_of_others_is_named_as_untested():
    assert TESTED.keys() == OTHERS | {BASE}
    for image, said in TESTED.items():
        assert said.startswith(("the image: no. ", "no: ")), image


@pytest.mark.parametrize(
    ("image", "series"),
    [
        ("rabbitmq", {one.rabbitmq for one in PLATFORMS}),
        ("postgres", {one.postgresql for one in PLATFORMS}),
        ("python", {one.python for one in PLATFORMS}),
    ],
)
def test_a_server_is_pinned_to_a_series_that_the_matrix_runs(image, series):
    [version] = (
        tag.partition("-")[0]
        for name, _, tag in (one.partition(":") for one in OTHERS | {BASE})
        if name == image
    )

    assert version in series


def test_servers_named_as_tested_instead_are_those_of_the_matrix():
    said = {image.partition(":")[0]: text for image, text in TESTED.items()}

    for name, found in (
        ("rabbitmq", {one.rabbitmq for one in PLATFORMS}),
        ("postgres", {one.postgresql for one in PLATFORMS}),
    ):
        assert set(re.findall(r"\d+(?:\.\d+)?", said[name])) == found


def test_prometheus_is_pinned_to_the_oldest_release_that_the_matrix_runs():
    done = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=True)
    release = numbers(re.search(r"version (\d+\.\d+\.\d+)", done.stdout + done.stderr)[1])
    [pinned] = (numbers(one) for one in OTHERS if one.startswith("prom/prometheus:"))

    on_debian = platform.freedesktop_os_release().get("VERSION_CODENAME")
    assert pinned == release if on_debian == OLDEST_DEBIAN else pinned < release
