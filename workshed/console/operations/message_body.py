"""Format the body of a message for people and programs."""

import json
from base64 import b64encode
from typing import Any

from workshed.console.operations.strict_json import parse_json


def decode_body(body: str | bytes) -> Any:
    """Return the JSON value of a body, or `None` if it is not JSON."""
    try:
        return parse_json(body)
    except ValueError:
        return None


def body_as_json(body: str | bytes) -> dict[str, Any]:
    """Return the JSON value as `body`, or the bytes as `body_base64` if it is not JSON."""
    found = decode_body(body)
    if found is None:
        raw = body.encode() if isinstance(body, str) else body
        return {"body": None, "body_base64": b64encode(raw).decode()}
    return {"body": found}


def body_as_text(body: str | bytes) -> str:
    """Return the body as indented JSON, as text, or as a Python bytes literal."""
    found = decode_body(body)
    if found is not None:
        return json.dumps(found, indent=2, ensure_ascii=False)
    if isinstance(body, str):
        return body
    try:
        return body.decode()
    except UnicodeDecodeError:
        return repr(body)


def body_as_call(actor: str | None, body: str | bytes) -> str:
    """Format a job as a call: `deliver_email(7)`."""
    found = decode_body(body)
    if actor is None or not isinstance(found, dict):
        return actor or "?"
    args, kwargs = found.get("args"), found.get("kwargs")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return actor
    words = [json.dumps(arg, ensure_ascii=False) for arg in args]
    words += [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in kwargs.items()]
    return f"{actor}({', '.join(words)})"
