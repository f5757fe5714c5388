"""The generated parts of the docs are up to date."""

import re
from datetime import timedelta

import pytest

from tools import deployment
from tools.reference import (
    COMMANDS,
    CONFIGURATION,
    METRICS,
    MIDDLEWARE,
    README,
    build_chain,
    commands_table,
    configuration_table,
    format_default,
    format_docstring,
    metrics_table,
    middleware_sections,
    update_document,
)
from workshed.console.scaffold.render import render_deployment
from workshed.jobs.outcomes import OUTCOMES
from workshed.metrics import meters
from workshed.middleware import Callbacks, DiscardRecorder, Retries, UnsupportedOptions
from workshed.middleware.runtime.unsupported_options import UNSUPPORTED_OPTIONS
from workshed.settings import Settings
from workshed.settings_classes import list_defaults


def test_the_page_of_settings_has_them_as_they_are():
    text = CONFIGURATION.read_text("utf-8")

    assert update_document(text) == text, "run `make reference`"
    assert configuration_table() in text


def test_the_page_of_settings_exports_the_defaults():
    """Copying the page's lines changes nothing."""
    text = CONFIGURATION.read_text("utf-8")
    lines = re.findall(r"^export WORKSHED_(\w+)=(.+)$", text, re.MULTILINE)

    assert len(lines) >= 3
    for name, value in lines:
        assert format_default(list_defaults(Settings)[name.lower()]) == f"`{value}`"


def test_the_page_of_metrics_has_them_as_they_are():
    text = METRICS.read_text("utf-8")

    assert update_document(text) == text, "run `make reference`"
    assert metrics_table() in text
    assert metrics_table("shop") in text


def test_the_page_of_commands_names_each_argument():
    """A command whose argument has no name of its own would be shown with `None`."""
    text = COMMANDS.read_text("utf-8")

    assert update_document(text) == text, "run `make reference`"
    assert "None" not in commands_table()


def test_the_page_of_middleware_has_them_as_they_are():
    text = MIDDLEWARE.read_text("utf-8")

    assert update_document(text) == text, "run `make reference`"
    assert middleware_sections() in text


@pytest.mark.parametrize(("path", "text"), render_deployment(deployment.SERVICE).items())
def test_the_manifests_are_those_of_the_templates(path, text):
    """What `workshed init` writes is then tested with this service's names."""
    assert (deployment.FOLDER / path).read_text("utf-8") == text, "run `make reference`"


def test_no_other_manifest_is_in_the_repository():
    """One that no template has any more would stay, and be used."""
    own = {
        *("README.md", "container/Dockerfile", "container/Dockerfile.dockerignore"),
        "publishing/publish.yaml",
        *("prometheus/shop-rules.yml", "prometheus/rules_test.yml", "grafana/dashboards/shop.json"),
    }
    found = {
        path.relative_to(deployment.FOLDER).as_posix()
        for path in deployment.FOLDER.rglob("*")
        if path.is_file()
    }

    assert found - own == render_deployment(deployment.SERVICE).keys()


@pytest.mark.parametrize("one", build_chain(), ids=lambda one: type(one).__name__)
def test_a_middleware_says_what_its_options_are(one):
    said = format_docstring(one).partition("*Options:*")[2]

    assert [
        name for name in one.actor_options - UNSUPPORTED_OPTIONS.keys() if f"`{name}=`" not in said
    ] == []


def test_every_option_about_failures_is_on_its_page():
    page = (README.parent / "docs" / "retries.md").read_text("utf-8")

    for one in (Retries(3, timedelta()), DiscardRecorder(), Callbacks(), UnsupportedOptions()):
        assert [name for name in sorted(one.actor_options) if name not in page] == []


def test_the_page_of_metrics_uses_only_existing_metrics():
    """Prometheus does not report a misspelt name; its alert just never fires."""
    page = METRICS.read_text("utf-8")
    asked = re.findall(r"\b(?:workshed|shop)_\w+", page.partition("## All of them")[2])
    names = {one.full_name for one in meters.ALL}
    parts = {f"{one.full_name}_bucket" for one in meters.ALL if one.kind == "histogram"}

    assert set(asked) - names - parts == set()
    for kind in OUTCOMES:
        assert f"`{kind}`" in page
    for asked_label in re.findall(r'outcome=~?"([^"]+)"', page):
        assert set(asked_label.split("|")) <= set(OUTCOMES)
