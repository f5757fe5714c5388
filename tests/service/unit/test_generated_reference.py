"""The pages of the reference are those of the code, and leave nothing out."""

import importlib
import re

import pytest

from tools.api_reference import OTHERS, render_modules, render_name
from tools.option_reference import read_options
from tools.public_api import PUBLIC
from tools.reference import (
    API,
    API_OTHERS,
    API_TESTING,
    OPTIONS_PAGE,
    SQL,
    update_document,
)
from tools.sql_reference import PUBLIC as PUBLIC_SQL
from tools.sql_reference import render_functions
from workshed.middleware import ActorOptions, MessageOptions
from workshed.transport import schedule

PAGES = (API, API_TESTING, API_OTHERS, OPTIONS_PAGE, SQL)
PAGE_OF = {"workshed": API, "workshed.testing": API_TESTING} | dict.fromkeys(OTHERS, API_OTHERS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_what_the_code_has(page):
    text = page.read_text("utf-8")

    assert update_document(text) == text, "run `make reference`"
    assert len(text.splitlines()) > 40


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_has_a_section_or_is_named(name):
    text = PAGE_OF[name].read_text("utf-8")
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    headings = {one.rpartition(".")[2] for one in re.findall(r"^### (\S+)$", section, re.MULTILINE)}
    named = {*re.findall(r"`(\w+)`", section.partition("\n### ")[0])}

    assert {*importlib.import_module(name).__all__} - headings - named == set()


def test_the_names_of_workshed_have_their_sections_on_one_page():
    assert "### middleware.Limit\n" not in render_modules(["workshed.middleware"])
    assert "It also has `Limit`" in render_modules(["workshed.middleware"])
    assert "### Limit\n" in render_modules(["workshed"])


def test_a_function_with_overloads_shows_these_and_not_what_implements_them():
    section = render_name("schedule.move", schedule.move, schedule)

    assert section.count("schedule.move(") == 2
    assert "SyncConnection | AsyncConnection" not in section
    assert "Awaitable[MoveResult]" in section


def test_every_option_has_a_meaning():
    for kind in (ActorOptions, MessageOptions):
        assert read_options(kind).keys() == kind.__annotations__.keys()


def test_the_page_of_sql_names_each_argument_of_each_function():
    text = SQL.read_text("utf-8")
    rows = text.partition("| argument | meaning |")[2]
    named = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (.+?) \|", rows, re.MULTILINE))))
    arguments = set(re.findall(r"^    (\w+) ", render_functions(), re.MULTILINE))

    assert named == arguments
    assert len(re.findall(r"^## workshed\.\w+$", text, re.MULTILINE)) == len(PUBLIC_SQL)
