"""The code to send a job again: in Python, and on the command line."""

import json
import keyword
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from workshed.console.operations.arguments import KEYWORD, is_json
from workshed.console.operations.message_body import decode_body
from workshed.console.operations.timeline import KnownJob
from workshed.value_class import value_class


@value_class
class SendCall:
    """An actor and its arguments; secret ones are hidden."""

    actor: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def python_call(self) -> str:
        """The call in Python: `deliver_email.send(7, kind='alert')`."""
        words = [repr(value) for value in self.args]
        if all(_is_name(name) for name in self.kwargs):
            words += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        else:
            words.append(f"**{dict(self.kwargs)!r}")
        return f"{self.actor}.send({', '.join(words)})"

    @property
    def command(self) -> str | None:
        """The command for a shell; `None` if the command cannot express an argument's name."""
        if not all(KEYWORD.fullmatch(f"{name}=") for name in self.kwargs):
            return None
        words = [_positional_word(value) for value in self.args]
        words += [f"{name}={_format_word(value)}" for name, value in self.kwargs.items()]
        ends_options = any(word.startswith("-") for word in (self.actor, *words))
        return shlex.join(["workshed", "enqueue", *["--"] * ends_options, self.actor, *words])


def find_send_call(known: KnownJob) -> SendCall | None:
    """Return how a job was sent, from its message or its latest run; `None` if unknown."""
    fields = None if known.row is None else decode_body(known.row.body)
    if isinstance(fields, dict):
        actor, args, kwargs = (fields.get(name) for name in ("actor_name", "args", "kwargs"))
        if isinstance(actor, str) and isinstance(args, list) and isinstance(kwargs, dict):
            return SendCall(actor, args, kwargs)
    if known.runs and known.runs[-1].arguments is not None:
        last = known.runs[-1]
        # Arguments that do not fit the actor's signature are keyed by their position.
        args = [value for name, value in last.arguments.items() if name.isdigit()]
        return SendCall(
            last.actor, args, {n: v for n, v in last.arguments.items() if not n.isdigit()}
        )
    return None


def _is_name(text: str) -> bool:
    """Return whether Python reads a text as this name; it normalizes some non-ASCII letters."""
    return text.isascii() and text.isidentifier() and not keyword.iskeyword(text)


def _positional_word(value: Any) -> str:
    """Format a value as a word that is not read as `KEY=ARG`."""
    word = _format_word(value)
    return _format_json(value) if not is_json(word) and KEYWORD.fullmatch(word) else word


def _format_word(value: Any) -> str:
    """Format a string as it is unless it would be read as JSON; everything else as JSON."""
    return value if isinstance(value, str) and _is_plain(value) else _format_json(value)


def _is_plain(text: str) -> bool:
    return text.isprintable() and not is_json(text) and not text.startswith("-")


def _format_json(value: Any) -> str:
    """Format JSON, with escapes for characters that a terminal would not show."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
