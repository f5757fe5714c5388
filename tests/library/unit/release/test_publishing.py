"""The template of the workflow that publishes: rights, pins, and no address of an index."""

import re

import pytest
import yaml

from tests.root import ROOT

TEXT = (ROOT / "deploy" / "publishing" / "publish.yaml").read_text("utf-8")
WORKFLOW = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]


def test_the_job_that_runs_our_code_cannot_publish():
    assert WORKFLOW["permissions"] == {}
    assert JOBS["build"]["permissions"] == {"contents": "read"}
    assert JOBS["publish"]["permissions"] == {
        "attestations": "write",
        "contents": "read",
        "id-token": "write",
    }
    assert JOBS["publish"]["needs"] == "build"
    assert JOBS["publish"]["environment"]["name"] == "release"


def test_the_job_that_publishes_runs_no_code_of_the_repository():
    used = [step["uses"] for name, step in STEPS if name == "publish" and "uses" in step]
    ran = [step["run"] for name, step in STEPS if name == "publish" and "run" in step]

    assert not any("checkout" in one for one in used)
    assert [one.split()[0] for one in ran] == ["sha256sum", "mkdir"]


def test_each_action_is_pinned_to_a_commit():
    used = [step["uses"] for _, step in STEPS if "uses" in step]

    assert used
    assert [
        one for one in used if not re.search(r"@(ACTION_[A-Z_]+_COMMIT|[0-9a-f]{40})$", one)
    ] == []


def test_only_a_tag_of_a_version_starts_it():
    assert WORKFLOW[True] == {"push": {"tags": ["v[0-9]*"]}}  # YAML reads `on` as true


@pytest.mark.parametrize("secret", ["secrets.", "password", "token:"])
def test_no_password_or_token_is_needed(secret):
    assert secret not in TEXT.partition("name: publish")[2].replace("id-token:", "")


def test_addresses_are_variables():
    assert "://" not in TEXT
    assert JOBS["publish"]["steps"][-1]["with"]["repository-url"] == "${{ vars.INDEX_UPLOAD_URL }}"
