"""Where a program failed, in words that are the same on every machine."""

import json
import os
from pathlib import Path

import pytest

from workshed.jobs.dead import error_location

HERE = "unit/test_places.py"


def raised(function):
    """The error that a function raises, with its traceback."""
    with pytest.raises(Exception) as found:  # noqa: PT011 -- of whatever kind
        function()
    return found.value


def compiled(path, source):
    """The function `fail` of a module at a path that need not exist."""
    names = {}
    exec(compile(source, path, "exec"), names)  # noqa: S102 -- a program elsewhere
    return names["fail"]


def divide():
    return 1 / 0


def test_it_is_the_line_that_raised():
    line = divide.__code__.co_firstlineno + 1

    assert error_location.locate_error(raised(divide)) == f"{HERE}:{line} in divide"


def test_it_is_the_line_of_the_program_that_called_a_library():
    def read():
        json.loads("{")

    line = read.__code__.co_firstlineno + 1

    assert error_location.locate_error(raised(read)) == f"{HERE}:{line} in read"


@pytest.mark.parametrize(
    "path",
    [
        "/srv/app/.venv/lib/python3.11/site-packages/httpx/_client.py",
        "/usr/lib/python3/dist-packages/requests/api.py",
        f"{Path(os.__file__).parent}/socket.py",
        f"{Path(error_location.__file__).parents[3]}/workshed/transport/consuming/execution.py",
        "<string>",
    ],
)
def test_lines_in_a_library_are_passed_over(path):
    fail = compiled(path, "def fail():\n    raise OSError")

    def call():
        fail()

    assert error_location.locate_error(raised(call)).endswith("in call")


def test_the_folder_of_the_program_on_a_machine_does_not_matter():
    source = "def fail():\n    raise OSError"
    found = {
        error_location.locate_error(raised(compiled(f"{root}/shop/orders.py", source)))
        for root in ("/srv/releases/17", "/home/ada/src")
    }

    assert found == {"shop/orders.py:2 in fail"}


def test_an_error_inside_a_library_alone_is_located_there():
    fail = compiled("/x/site-packages/httpx/_client.py", "def fail():\n    raise OSError")
    error = raised(fail)
    error = error.with_traceback(error.__traceback__.tb_next)

    assert error_location.locate_error(error) == "httpx/_client.py:2 in fail"


def test_no_error_and_one_that_was_never_raised_have_no_place():
    assert error_location.locate_error(None) is None
    assert error_location.locate_error(ValueError()) is None


def test_a_long_or_odd_name_can_be_stored():
    fail = compiled("/x/" + "\udcff" * 300 + ".py", "def fail():\n    raise OSError")

    place = error_location.locate_error(raised(fail))

    assert len(place) == error_location.LONGEST
    assert "\udcff" not in place
