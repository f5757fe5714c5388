"""Processes that tests start and read from."""

import contextlib
import subprocess


@contextlib.contextmanager
def popen(*args, **kwargs):
    """As `with subprocess.Popen(…)`, which alone waits for ever for what a failed test left."""
    with subprocess.Popen(*args, **kwargs) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
