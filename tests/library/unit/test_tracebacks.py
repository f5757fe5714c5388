"""Frames of libraries in a traceback are counted, those of the program stay."""

import traceback
from pathlib import Path

import pytest

import workshed
from workshed.console.web.view.tracebacks import is_library_path, split_traceback

HERE = Path(workshed.__file__).parent
DEAD = f"""\
Traceback (most recent call last):
  File "/venv/lib/python3.13/site-packages/dramatiq/worker.py", line 485, in process_message
    res = actor(*message.args, **message.kwargs)
  File "{HERE}/middleware/runtime/time_limit.py", line 40, in run
    return fn(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^
  File "/srv/shop/actors/payments.py", line 12, in charge_card
    bank.charge(order)
  File "/srv/shop/bank.py", line 90, in charge
    return json.loads(answer)
  File "/usr/lib/python3.13/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/shop/bank.py", line 92, in charge
    raise GatewayError("no answer") from err
bank.GatewayError: no answer
"""


def frames(text):
    """Return the number of library frames of each part."""
    return [part.library_frames for part in split_traceback(text)]


def joined(text):
    return "\n".join(part.text for part in split_traceback(text))


def test_adjacent_frames_of_libraries_are_one_part():
    parts = split_traceback(DEAD)

    assert [part.library_frames for part in parts] == [0, 2, 0, 1, 0]
    assert parts[0].text == "Traceback (most recent call last):"
    assert parts[1].text.endswith("^^^^^^^^^^^^^^^^^^^")
    assert "charge_card" in parts[2].text
    assert "bank.charge(order)" in parts[2].text
    assert parts[4].text.startswith("json.decoder.JSONDecodeError")
    assert parts[4].text.endswith("bank.GatewayError: no answer")
    assert joined(DEAD) == DEAD.rstrip("\n")


@pytest.mark.parametrize(
    "path",
    [
        "/venv/lib/python3.11/site-packages/httpx/_client.py",
        "/usr/lib/python3/dist-packages/six.py",
        "/usr/lib/python3.13/json/decoder.py",
        "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/base_events.py",
        r"C:\Python313\Lib\json\decoder.py",
        r"C:\venv\Lib\site-packages\httpx\_client.py",
        "<frozen importlib._bootstrap>",
        f"{HERE}/middleware/runtime/time_limit.py",
        "/srv/checkout/workshed/transport/consuming/execution.py",
        "/home/me/workshed/workshed/transport/consuming/execution.py",
    ],
)
def test_a_path_of_a_library(path):
    assert is_library_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "/srv/shop/actors/payments.py",
        "/srv/workshed/actors/payments.py",
        "/srv/library/python3/loans.py",
        "actors.py",
        "<string>",
        f"/workshed/{'x' * 300}",
        "/workshed/a\0b",
    ],
)
def test_a_path_of_the_program(path):
    assert not is_library_path(path)


def test_if_all_frames_are_of_libraries_none_is_folded():
    text = DEAD.replace("/srv/shop", "/venv/lib/python3.13/site-packages")

    assert frames(text) == [0]


def test_an_exception_group_keeps_its_lines():
    try:
        try:
            int("x")
        except ValueError as err:
            raise ExceptionGroup("several", [err, KeyError("b")]) from err
    except ExceptionGroup as err:
        text = "".join(traceback.format_exception(err))

    assert joined(text) == text.rstrip("\n")


@pytest.mark.parametrize("text", ["", "\n", "killed", 'File "', '  File "x", line 1\n\n\n  code'])
def test_any_text_comes_back(text):
    assert joined(text) == text.rstrip("\n")
