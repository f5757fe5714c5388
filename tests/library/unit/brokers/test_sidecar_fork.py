"""Which masters make a fork, for a relay, metrics and probes."""

from pathlib import Path

import pytest

from workshed.settings import Settings
from workshed.transport import build
from workshed.transport.sidecars.forks import SidecarFork, run_sidecars
from workshed.transport.sidecars.supervisor import child_environment

OFF = {"relay_fork": False, "metrics": False, "probes": False}


@pytest.mark.parametrize(
    ("settings", "forks"),
    [
        ({}, [run_sidecars]),
        ({**OFF, "relay_fork": True}, [run_sidecars]),
        ({**OFF, "probes": True}, [run_sidecars]),
        (OFF, []),
        ({"relay_fork": False, "shared_folder": Path("/tmp")}, []),  # noqa: S108 -- not used
    ],
)
def test_a_master_makes_a_fork_unless_there_is_nothing_for_it_to_do(settings, forks):
    chain = build.build_middleware(Settings(**settings))

    assert next(m for m in chain if isinstance(m, SidecarFork)).forks == forks


def test_processes_share_two_memory_arenas_by_default(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert child_environment()["MALLOC_ARENA_MAX"] == "2"

    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    assert child_environment()["MALLOC_ARENA_MAX"] == "8"
