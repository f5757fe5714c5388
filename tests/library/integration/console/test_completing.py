"""Shell completion: commands, options, and the names of actors, queues and periodic jobs."""

import sys

import pytest

from tests import pages
from tests.transcripts import shell
from workshed.cronspec import daily
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.periodic import periodic_jobs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration

INSTALL = pages.block("docs/command-line.md", "workshed --install-completion")


def test_it_is_installed_for_the_calling_shell(tmp_path):
    said = shell(tmp_path, HOME=str(tmp_path))(f"bash -c '{INSTALL.strip()}; true'")

    assert "bash completion installed" in said
    assert "_WORKSHED_COMPLETE=complete_bash" in "".join(
        file.read_text() for file in tmp_path.rglob("*.sh")
    )


@pytest.fixture
def offered(workshed, monkeypatch):
    """`offered("dead", "--queue", "em")`: bash's completions of an incomplete last word."""

    def complete(*words):
        monkeypatch.setenv("_WORKSHED_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["workshed", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        done = workshed()
        assert (done.code, done.err) == (0, "")
        return [line for line in done.lines if line]  # an empty line offers nothing

    return complete


@pytest.fixture
def known(broker, conn):
    """Workers of another program have declared a queue, two actors, and a periodic job."""
    queues.declare_queues(conn, {"embroidery": "quorum"})
    queues.declare_actors(
        conn, [KnownActor("knit", "embroidery"), KnownActor("knot", "embroidery")]
    )
    periodic_jobs.declare_jobs(conn, [PeriodicDeclaration("nightly", "embroidery", daily("03:00"))])


def test_commands(offered):
    assert offered("dea") == ["dead"]
    assert {"list", "show", "retry"} <= set(offered("dead", ""))


def test_the_options_of_the_list_that_a_group_shows_by_default(offered):
    assert "--group" in offered("dead", "--")
    assert "--group" not in offered("queues", "--")


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    "words", [("dead", "--actor"), ("dead", "retry", "--all", "--actor"), ("jobs", "--actor")]
)
def test_actors_that_any_worker_has_declared(offered, words):
    assert offered(*words, "kn") == ["knit", "knot"]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    "words",
    [("dead", "--queue"), ("queues", "pause"), ("enqueue", "knit", "--queue"), ("dead", "requeue")],
)
def test_queues_that_are_declared_here_or_by_any_worker(offered, words):
    assert offered(*words, "em") == ["emails", "embroidery"]


@pytest.mark.usefixtures("known")
def test_periodic_jobs(offered):
    assert offered("periodic", "pause", "ni") == ["nightly"]


@pytest.mark.usefixtures("broker")
def test_only_imported_actors_are_offered_to_enqueue(offered, tmp_path, monkeypatch):
    """`enqueue` does not know the actors of a worker elsewhere."""
    (tmp_path / "noisy.py").write_text("print('noise')\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    assert offered("enqueue", "deliver_") == ["deliver_email"]
    assert offered("enqueue", "--import", "noisy", "") == []


def test_with_postgresql_away_or_an_unreadable_environment_nothing_is_offered(offered, env):
    env(DATABASE_URL="postgresql://ada:secret@127.0.0.1:9/shop")
    assert offered("dead", "--actor", "") == []

    env(POOL_SIZE="many")
    assert offered("periodic", "pause", "") == []


def test_a_misspelt_command_gets_the_likely_one(workshed):
    done = workshed("deed")

    assert done.code == 2
    assert "No such command 'deed'. Did you mean 'dead'?" in " ".join(done.err.split())
