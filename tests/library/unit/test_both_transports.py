"""Which tests run with RabbitMQ, and with PostgreSQL alone."""

from tests.library.integration.brokers.conftest import NOT_ON_BOTH
from tests.root import ROOT

FOLDER = ROOT / "tests" / "library" / "integration" / "brokers"


def test_each_module_of_the_transport_runs_on_both_or_says_why_not():
    """Otherwise a new module would test one of them, and its author would not notice."""
    modules = {path.stem: path.read_text() for path in FOLDER.glob("test_*.py")}
    both = {name for name, text in modules.items() if "\nON_BOTH = True\n" in text}

    assert both.isdisjoint(NOT_ON_BOTH)
    assert both | NOT_ON_BOTH.keys() == modules.keys()
