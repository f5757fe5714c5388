"""The object that `from brokers import broker` imports."""

import subprocess
import sys

SAME = """
import workshed, brokers
assert brokers.broker is workshed.broker
"""


def test_the_broker_of_the_service_is_that_of_workshed():
    done = subprocess.run(
        [sys.executable, "-c", SAME], capture_output=True, text=True, check=False, timeout=240
    )

    assert done.returncode == 0, done.stderr
