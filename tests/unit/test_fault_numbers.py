"""The campaign's remedies stand where it says, and so do its tests."""

import pytest

from tests.faults.experiment import ROOT
from tests.faults.numbers import NUMBERS


def test_each_of_the_seventeen_has_a_test():
    assert [number.number for number in NUMBERS] == list(range(1, 18))


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: n.number)
def test_its_remedy_and_its_test_are_there(number):
    """A remedy that was rewritten could not be taken out any more, and nobody would notice."""
    text = (ROOT / number.remedy.file).read_text()
    file, _, name = number.node.partition("::")

    assert text.count(number.remedy.old) == 1, number.remedy
    assert f"def {name}(" in (ROOT / file).read_text()
