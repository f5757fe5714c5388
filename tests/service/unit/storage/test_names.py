"""Valid names of a content."""

import re

import pytest
from hypothesis import given
from hypothesis.strategies import from_regex, text

from workshed.contrib.storage import ContentNameError
from workshed.contrib.storage.object_keys import build_key


@given(from_regex(r"[0-9a-f]{64}", fullmatch=True))
def test_a_name_lies_in_two_folders(name):
    assert build_key(name) == f"{name[:2]}/{name[2:4]}/{name}"


@given(text())
def test_nothing_else_is_a_name(name):
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        with pytest.raises(ContentNameError):
            build_key(name)


def test_the_message_holds_no_control_characters():
    with pytest.raises(ContentNameError, match=re.escape(r"'a\x1b[2J\n'")) as error:
        build_key("a\x1b[2J\n")

    assert error.value.name == "a\x1b[2J\n"
