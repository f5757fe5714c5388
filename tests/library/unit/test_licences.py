"""Each runtime dependency is listed with its licence, and only known licences are allowed."""

import re
from email.message import Message
from importlib import metadata

import pytest

from tests.root import ROOT
from tools.licences import MISSING_URLS, find_licence, find_url, list_packages, render_page

LICENCES = ROOT / "LICENSES-THIRD-PARTY.md"
ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT"),
    *("MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib"),
}
# Their licence is fine for us because they are imported, and neither changed nor bundled.
LIBRARIES = {"dramatiq", "periodiq", "psycopg", "psycopg-binary", "psycopg-pool"}
LESSER = {"LGPL-3.0-only", "LGPL-3.0-or-later"}


def said(**headers):
    """The metadata of a package."""
    found = Message()
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values:
            found[name.replace("_", "-")] = value
    return found


def test_the_list_is_up_to_date():
    text = LICENCES.read_text("utf-8")

    assert render_page() == text, "run `make reference`"
    assert "| dramatiq | LGPL-3.0-or-later |  | https://github.com/Bogdanp/dramatiq |" in text


def test_no_licence_slips_in():
    unknown = {
        one.name: one.licence
        for one in list_packages()
        if set(re.findall(r"[\w.-]+", one.licence))
        - {"AND", "OR", "WITH"}
        - (ALLOWED | LESSER if one.name in LIBRARIES else ALLOWED)
    }

    assert unknown == {}


def test_each_has_an_address_and_only_missing_ones_are_written_by_hand():
    assert [one.name for one in list_packages() if not one.url] == []
    assert [name for name in MISSING_URLS if find_url(metadata.metadata(name))] == []


def test_no_address_is_that_of_a_registry():
    assert [one.name for one in list_packages() if re.search(r"pypi|pythonhosted", one.url)] == []


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"License_Expression": "MIT OR Apache-2.0", "License": "Dual"}, "MIT OR Apache-2.0"),
        ({"License": "Apache-2.0"}, "Apache-2.0"),
        ({"License": "MIT License"}, "MIT"),
        ({"License": "BSD 3-Clause License\n\nCopyright …"}, "BSD-3-Clause"),
        (
            {
                "License": "Dual License",
                "Classifier": [
                    "License :: OSI Approved :: BSD License",
                    "License :: OSI Approved :: Apache Software License",
                    "Topic :: Software Development",
                ],
            },
            "Apache-2.0 OR BSD",
        ),
        ({"Classifier": "License :: OSI Approved :: A New One"}, "A New One"),
    ],
)
def test_a_licence_is_read_wherever_a_package_states_it(headers, expected):
    assert find_licence(said(Name="one", **headers)) == expected


def test_a_package_that_states_none_is_refused():
    with pytest.raises(LookupError, match="one states no licence"):
        find_licence(said(Name="one", License="UNKNOWN: see the file"))


def test_the_address_is_that_of_the_source_where_there_is_one():
    labelled = ["Homepage, https://one.example", "Source, https://one.example/source"]

    assert find_url(said(Project_URL=labelled, Home_page="https://old.example")) == (
        "https://one.example/source"
    )
    assert find_url(said(Home_page="https://old.example")) == "https://old.example"
    assert find_url(said(Project_URL="Funding, https://one.example/money")) == ""
