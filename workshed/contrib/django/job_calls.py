"""Jobs as calls, `send_invoice(7)`, with secret arguments hidden as in the console."""

import json
from collections.abc import Sequence
from typing import Any

from django.db import connections
from django.utils.text import Truncator

from workshed.console.operations.message_body import body_as_call
from workshed.console.operations.redaction import redact_rows
from workshed.value_class import value_class

LONGEST_CALL = 300
"""Characters; longer values are cut."""


@value_class
class StoredCall:
    """A message, as far as its call goes."""

    actor: str | None
    body: str | bytes


def describe_calls(alias: str | None, rows: Sequence[Any]) -> list[str]:
    """Return the call of each row that has a `body`, with one query."""
    with connections[alias].cursor() as cursor:
        stored = [StoredCall(row.actor, _as_text_or_bytes(row.body)) for row in rows]
        shown = redact_rows(cursor.connection, stored)
    return [_cut(body_as_call(call.actor, call.body)) for call in shown]


def describe_run(run: Any) -> str:
    """Return the call of a run, whose worker has hidden secret arguments."""
    if run.arguments is None:
        return f"{run.actor}(…)"
    return _cut(body_as_call(run.actor, json.dumps({"args": [], "kwargs": run.arguments})))


def _as_text_or_bytes(body: str | memoryview) -> str | bytes:
    return body if isinstance(body, str) else bytes(body)


def _cut(text: str) -> str:
    found: str = Truncator(text).chars(LONGEST_CALL)
    return found
