"""The command and the code that send a job again."""

import ast
import json
import shlex

import pytest
from hypothesis import given
from hypothesis.strategies import (
    booleans,
    dictionaries,
    floats,
    from_regex,
    integers,
    lists,
    none,
    recursive,
    text,
)

from workshed.console.operations.arguments import KEYWORD, split_arguments
from workshed.console.operations.resend_as_code import SendCall

plain = none() | booleans() | integers() | floats(allow_nan=False, allow_infinity=False)
words = text() | text(alphabet="-=\"'{}[]7a \n\0")
values = recursive(
    plain | words, lambda some: lists(some) | dictionaries(words, some), max_leaves=5
)
names = from_regex(r"[A-Za-z_]\w{0,5}", fullmatch=True)


@given(args=lists(values, max_size=3), kwargs=dictionaries(names, values, max_size=3))
def test_the_command_line_sends_what_was_sent(args, kwargs):
    command = SendCall("greet", args, kwargs).command

    said = [word for word in shlex.split(command) if word != "--"]
    assert said[:3] == ["workshed", "enqueue", "greet"]
    assert split_arguments(said[3:]) == (tuple(args), kwargs)
    assert command.isprintable()
    assert ("--" in shlex.split(command)) == any(word.startswith("-") for word in said)


@given(args=lists(values, max_size=3), kwargs=dictionaries(names, values, max_size=3))
def test_python_sends_what_was_sent(args, kwargs):
    send = SendCall("greet", args, kwargs).python_call

    call = ast.parse(send, mode="eval").body
    assert ast.unparse(call.func) == "greet.send"
    assert [ast.literal_eval(one) for one in call.args] == args
    named = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    assert named.get(None, named) == kwargs
    assert send.isprintable()


@pytest.mark.parametrize(
    ("args", "command"),
    [
        (["ada"], "workshed enqueue greet ada"),
        (["7"], "workshed enqueue greet '\"7\"'"),
        ([7, True, None], "workshed enqueue greet 7 true null"),
        (["a=b"], "workshed enqueue greet '\"a=b\"'"),
        (["it's"], "workshed enqueue greet 'it'\"'\"'s'"),
        ([-1], "workshed enqueue -- greet -1"),
    ],
)
def test_the_command_line_is_quoted_for_a_shell(args, command):
    assert SendCall("greet", args, {}).command == command


def test_a_name_that_the_command_cannot_express_is_shown_in_python_only():
    call = SendCall("greet", [], {"é": 1, "to whom": 2})

    assert call.command is None
    assert call.python_call == "greet.send(**{'é': 1, 'to whom': 2})"
    assert not KEYWORD.fullmatch(f"é={json.dumps(1)}")
