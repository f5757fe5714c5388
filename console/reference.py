"""The parts of the documents that are written from the code: `python -m console.reference`."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from workshed.metrics import meters
from workshed.settings import PREFIX, Settings

README = Path(__file__).parent.parent / "README.md"
METRICS = README.parent / "docs" / "metrics.md"
PART = re.compile(r"(<!-- (settings|metrics) -->\n).*?(?=<!-- /\2 -->)", re.DOTALL)


def configuration_table() -> str:
    """Return one row per setting: its variable, its default, its meaning."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {default(field.default)} | {one_line(field)} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows, ""])


def metrics_table() -> str:
    """Return one row per metric: its name, type, labels, unit, meaning."""
    rows = [
        f"| `{one.full_name}` | {one.kind} | {', '.join(one.labels) or '-'} | {one.unit} | "
        f"{one.help} |"
        for one in meters.ALL
    ]
    heads = ["| metric | type | labels | unit | meaning |", "|---|---|---|---|---|"]
    return "\n".join([*heads, *rows, ""])


def one_line(field: FieldInfo) -> str:
    """Write what a setting means as a cell of a table."""
    return " ".join((field.description or "").split())


def default(value: Any) -> str:
    """Write a default as it would stand in the environment."""
    match value:
        case SecretStr():
            return default(value.get_secret_value())
        case timedelta():
            return f"`{value.total_seconds():g}`"
        case None | "":
            return "not set"
    return "needed" if value is PydanticUndefined else f"`{value}`"


def written(text: str) -> str:
    """Return a document with its tables written anew."""
    tables = {"settings": configuration_table, "metrics": metrics_table}
    return PART.sub(lambda found: found[1] + tables[found[2]](), text)


if __name__ == "__main__":
    for page in (README, METRICS):
        page.write_text(written(page.read_text("utf-8")), "utf-8")
