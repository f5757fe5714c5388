"""A job as one would send it again: in Python, and on the command line."""

import json
import keyword
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workshed.console.operations.arguments import KEYWORD, is_json
from workshed.console.operations.message_body import decode_body
from workshed.console.operations.timeline import KnownJob


@dataclass(frozen=True, slots=True)
class SendCall:
    """An actor, and what it is sent; secret arguments are hidden in it."""

    actor: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def send(self) -> str:
        """Write it in Python: `deliver_email.send(7, kind='alert')`."""
        words = [repr(value) for value in self.args]
        if all(_is_name(name) for name in self.kwargs):
            words += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        else:
            words.append(f"**{dict(self.kwargs)!r}")
        return f"{self.actor}.send({', '.join(words)})"

    @property
    def command(self) -> str | None:
        """Write it for a shell; `None` where the command has no form for an argument's name."""
        if not all(KEYWORD.fullmatch(f"{name}=") for name in self.kwargs):
            return None
        words = [_by_place(value) for value in self.args]
        words += [f"{name}={_value(value)}" for name, value in self.kwargs.items()]
        ends_options = any(word.startswith("-") for word in (self.actor, *words))
        return shlex.join(["workshed", "enqueue", *["--"] * ends_options, self.actor, *words])


def resend_call(known: KnownJob) -> SendCall | None:
    """Return how a job was sent, as far as is known: by its message, or by its run."""
    fields = None if known.row is None else decode_body(known.row.body)
    if isinstance(fields, dict):
        actor, args, kwargs = (fields.get(name) for name in ("actor_name", "args", "kwargs"))
        if isinstance(actor, str) and isinstance(args, list) and isinstance(kwargs, dict):
            return SendCall(actor, args, kwargs)
    if known.runs and known.runs[-1].arguments is not None:
        last = known.runs[-1]
        # Those that do not fit the actor's signature are named by their number.
        args = [value for name, value in last.arguments.items() if name.isdigit()]
        return SendCall(
            last.actor, args, {n: v for n, v in last.arguments.items() if not n.isdigit()}
        )
    return None


def _is_name(text: str) -> bool:
    """Tell whether Python reads it as this name: it takes some letters for others."""
    return text.isascii() and text.isidentifier() and not keyword.iskeyword(text)


def _by_place(value: Any) -> str:
    """Write a word that is read as this value, and as no `KEY=ARG`."""
    word = _value(value)
    return _json(value) if not is_json(word) and KEYWORD.fullmatch(word) else word


def _value(value: Any) -> str:
    """Write a string as it is where nobody would read it as JSON, all else as JSON."""
    return value if isinstance(value, str) and _is_plain(value) else _json(value)


def _is_plain(text: str) -> bool:
    return text.isprintable() and not is_json(text) and not text.startswith("-")


def _json(value: Any) -> str:
    """Write JSON, with escapes for what a terminal would not show."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
