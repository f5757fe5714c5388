"""Which masters run a relay."""

import pytest

from workshed.settings import Settings
from workshed.transport import build
from workshed.transport.sidecars.forks import RelayFork, supervise_relay


@pytest.mark.parametrize(("wanted", "forks"), [(True, [supervise_relay]), (False, [])])
def test_a_master_runs_a_relay_unless_configured_otherwise(wanted, forks):
    chain = build.build_middleware(Settings(relay_fork=wanted))

    assert next(m for m in chain if isinstance(m, RelayFork)).forks == forks
