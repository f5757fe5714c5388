"""The names that dramatiq's own tests import from their neighbouring module."""

from contextlib import contextmanager

import dramatiq
import pytest

skip_in_ci = skip_on_windows = skip_on_pypy = pytest.mark.filterwarnings("default")


class Worker(dramatiq.Worker):
    """A worker whose `resume` is done by its test's clock."""

    def resume(self):
        self.broker.clock.resumed(self)

    def resume_all(self):
        super().resume()


@contextmanager
def worker(*args, **kwargs):
    started = Worker(*args, **kwargs)
    started.start()
    try:
        yield started
    finally:
        started.stop()
