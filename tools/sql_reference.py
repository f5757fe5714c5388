"""The reference of the SQL functions that applications call, from the migrations."""

import re
from pathlib import Path

import workshed

MIGRATIONS = Path(workshed.__file__).parent / "sql"
PUBLIC = ("send", "now")
"""The functions for applications; all others are called by Workshed itself."""
FUNCTION = re.compile(
    r"(?P<comment>(?:^--.*\n)*)^CREATE(?: OR REPLACE)? FUNCTION workshed\.(?P<name>\w+)"
    r"(?P<signature>\([^)]*\)\s+RETURNS \w+)",
    re.MULTILINE,
)
COMMENT = re.compile(
    r"^COMMENT ON FUNCTION workshed\.(?P<name>\w+) IS\s+'(?P<text>(?:[^']|'')+)';", re.MULTILINE
)


def render_functions() -> str:
    """Return a section for each public function: its newest signature and what it does."""
    text = "\n".join(file.read_text("utf-8") for file in sorted(MIGRATIONS.glob("*.sql")))
    signatures = {one["name"]: one["signature"] for one in FUNCTION.finditer(text)}
    meanings = {
        one["name"]: " ".join(one["comment"].replace("--", "").split())
        for one in FUNCTION.finditer(text)
    }
    for one in COMMENT.finditer(text):
        meanings[one["name"]] = " ".join(one["text"].replace("''", "'").split())
    return "\n".join(
        f"## workshed.{name}\n\n{meanings[name]}\n\n~~~sql\n"
        f"workshed.{name}{signatures[name]}\n~~~\n"
        for name in PUBLIC
    )
