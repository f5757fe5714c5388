"""The service's chain of middleware."""

from middleware import CHAIN as SAMPLE
from tests.library.unit.brokers.test_chain import chain
from workshed.transport.build import CHAIN

__all__ = ["chain"]


def test_the_sample_application_has_all_of_the_library_in_its_order(chain):
    of_library = [next((one for one in CHAIN if issubclass(kind, one)), None) for kind in SAMPLE]

    assert [one for one in of_library if one is not None] == list(CHAIN)
    assert chain(SAMPLE)
