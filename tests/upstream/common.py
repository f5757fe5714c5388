"""What dramatiq's own tests import from the module beside them."""

from contextlib import contextmanager

import dramatiq
import pytest

skip_in_ci = skip_on_windows = skip_on_pypy = pytest.mark.filterwarnings("default")


class Worker(dramatiq.Worker):
    """A worker whose `resume` is the clock's of its test."""

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
