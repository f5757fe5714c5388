"""Which tests run with RabbitMQ, and with PostgreSQL alone."""

import re

from tests.library.integration.brokers.conftest import NOT_ON_BOTH
from tests.root import ROOT

TESTS = ROOT / "tests" / "library" / "integration"
FOLDER = TESTS / "brokers"


def test_each_module_of_the_transport_runs_on_both_or_says_why_not():
    """Otherwise a new module would test one of them, and its author would not notice."""
    modules = {path.stem: path.read_text() for path in FOLDER.glob("test_*.py")}
    both = {name for name, text in modules.items() if "\nON_BOTH = True\n" in text}

    assert both.isdisjoint(NOT_ON_BOTH)
    assert both | NOT_ON_BOTH.keys() == modules.keys()


def test_each_test_that_runs_with_rabbitmq_only_says_why():
    """Where the mark alone was enough, a callback that was lost without RabbitMQ went unseen."""
    modules = {path: path.read_text() for path in TESTS.rglob("test_*.py")}
    marks = [
        (path.stem, why)
        for path, text in modules.items()
        if "\nON_BOTH = True\n" in text
        for why in re.findall(r"^@pytest\.mark\.rabbitmq(.*)$", text, re.MULTILINE)
    ]

    assert len(marks) > 20
    assert [one for one in marks if not re.fullmatch(r'\("\w.+"\)', one[1])] == []
