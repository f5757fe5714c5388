"""The images that `deploy/` pins: series that the matrix runs, and named as untested."""

import re
import subprocess

import pytest
import yaml

from tests.integration.deploy.composed import DEPLOY
from tests.matrix.table import PLATFORMS
from tests.monitoring import ROOT

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (ROOT / "deploy" / "container" / "Dockerfile").read_text("utf-8")
BASE = re.search(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE)[1]
OURS = "workshed"
OTHERS = {one.get("image", OURS) for one in COMPOSE["services"].values()} - {OURS}
ROW = re.compile(r"^\| `([^`:]+:[^`]+)`[^|]*\| (.*) \|$", re.MULTILINE)
TESTED = dict(ROW.findall((DEPLOY / "README.md").read_text("utf-8")))


def test_each_image_of_others_is_named_as_untested():
    assert TESTED.keys() == OTHERS | {BASE}
    for image, said in TESTED.items():
        assert said.startswith(("the image: no. ", "no: ")), image


@pytest.mark.parametrize(
    ("image", "series"),
    [
        ("rabbitmq", {platform.rabbitmq for platform in PLATFORMS}),
        ("postgres", {platform.postgresql for platform in PLATFORMS}),
        ("python", {platform.python for platform in PLATFORMS}),
    ],
)
def test_a_server_is_pinned_to_a_series_that_the_matrix_runs(image, series):
    [version] = (
        tag.partition("-")[0]
        for name, _, tag in (one.partition(":") for one in OTHERS | {BASE})
        if name == image
    )

    assert version in series


def test_what_is_said_to_be_tested_instead_of_a_server_is_what_the_matrix_runs():
    said = {image.partition(":")[0]: text for image, text in TESTED.items()}

    for name, found in (
        ("rabbitmq", {platform.rabbitmq for platform in PLATFORMS}),
        ("postgres", {platform.postgresql for platform in PLATFORMS}),
    ):
        assert set(re.findall(r"\d+(?:\.\d+)?", said[name])) == found


def test_prometheus_is_pinned_to_the_release_that_the_tests_run():
    done = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=True)
    release = re.search(r"version (\d+\.\d+\.\d+)", done.stdout + done.stderr)[1]

    assert f"prom/prometheus:v{release}" in OTHERS
