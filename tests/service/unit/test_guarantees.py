"""docs/guarantees.md and the README promise the same, and name experiments that exist."""

import re

from tests import pages
from tests.faults.experiment import all_experiments

PAGE = pages.text("docs/guarantees.md")
QUOTED = re.compile(r"^> (?:.+\n> )*.+$", re.MULTILINE)


def words(quoted):
    return quoted.replace("> ", "").split()


def test_the_readme_and_the_page_promise_the_same():
    assert words(QUOTED.search(PAGE)[0]) == words(QUOTED.search(pages.text("README.md"))[0])


def test_the_experiments_that_show_a_promise_exist():
    table = PAGE.partition("<!-- experiments -->\n")[2].partition("\n\n")[0]
    named = re.findall(r"`([a-z-]+)`", table)

    assert len(named) > 20
    assert set(named) <= set(all_experiments())
    assert len(named) == len(set(named)), "one experiment shows one promise"
