"""The list of public names, and the changelog line that a change to it needs."""

import builtins
import re
import subprocess

import pytest

from tests import pages
from tools import public_api

API, CHANGELOG = "docs/public-api.txt", "CHANGELOG.md"


def test_the_list_is_that_of_the_source():
    """To change it: run `make reference`, and say in the changelog what users must do."""
    assert public_api.FILE.read_text("utf-8") == public_api.render_api()


def test_each_error_that_the_documentation_names_can_be_imported():
    """Otherwise an application would catch it from a module that may change in any release."""
    listed = set(re.findall(r"^class \S*\.(\w+Error)\b", public_api.render_api(), re.MULTILINE))
    for name in ("sending", "arguments", "unique", "transactions", "writing-an-actor", "failures"):
        named = set(re.findall(r"`(\w+Error)`", pages.text(f"docs/{name}.md")))

        assert {one for one in named if not hasattr(builtins, one)} - listed == set(), name


def test_each_public_name_is_in_the_list():
    listed = public_api.render_api()

    for line in (
        "workshed.once(conn: SyncConnection, key: str) -> bool",
        "class workshed.Queue\n    name: str\n    weight: int = 1\n",
        "    dead_rabbitmq_name: str\n",  # a property
        "workshed.schedule.send(conn: AsyncConnection, message: Message[R],",  # of its overloads
        "    send_async(self, message: dramatiq.Message[R],",
        "class workshed.contrib.mail.MailError(WorkshedError)\n",
    ):
        assert line in listed


@pytest.fixture
def commit(tmp_path):
    """`commit(API)`: change these files and commit them; `commit.write(API)` only changes them."""
    (tmp_path / "docs").mkdir()

    def git(*words):
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    def write(*names):
        for name in names:
            with (tmp_path / name).open("a") as file:
                file.write("more\n")

    def commit(*names):
        write(*names)
        git("add", "-A")
        git("commit", "-m", "change")

    git("init")
    commit.write = write
    commit(API, CHANGELOG)
    return commit


def test_a_change_needs_a_line_in_the_changelog(commit, tmp_path):
    assert not public_api.lacks_changelog_line(tmp_path)

    commit.write(API)
    assert public_api.lacks_changelog_line(tmp_path)

    commit.write(CHANGELOG)
    assert not public_api.lacks_changelog_line(tmp_path)


def test_a_commit_without_a_line_is_found_later_too(commit, tmp_path):
    commit(API)
    commit(CHANGELOG)

    assert public_api.lacks_changelog_line(tmp_path)


def test_a_changelog_of_its_own_is_no_change_of_the_list(commit, tmp_path):
    commit.write(CHANGELOG)

    assert not public_api.lacks_changelog_line(tmp_path)
