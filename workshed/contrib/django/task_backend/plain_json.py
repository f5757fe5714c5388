"""Arguments and return values of tasks as plain JSON."""

import json
from typing import Any

from django.utils.json import normalize_json


def to_plain_json(value: object) -> Any:
    """Return a value as it comes back from JSON.

    Django accepts subclasses of `str` and numbers, such as safe strings and choices, and keys that
    are numbers. They become what JSON has. Raises `TypeError` or `ValueError` for anything else.
    """
    return json.loads(json.dumps(normalize_json(value), allow_nan=False))
