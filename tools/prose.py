"""The texts for people in the files of the repository, and the names that its code defines."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tools.release.programs import run_git

ROOT = Path(__file__).parent.parent
FORMATS = frozenset(
    {"", ".conf", ".css", ".env", ".example", ".html", ".jinja", ".js", ".md", ".py", ".rb"}
    | {".service", ".sql", ".subject", ".svg", ".target", ".toml", ".txt", ".yaml", ".yml"}
)
"""Suffixes of files with texts for people. Data (JSON, CSV, the lock) and images are left out."""
NOT_OURS = re.compile(r"LICEN[CS]E|\.ci/packages|docs/public-api\.txt")
"""Files that are made, or are quotations: licences, and lists of names."""
MARKUP = (
    re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.DOTALL | re.MULTILINE),  # code
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"</?\w[^>]*>", re.DOTALL),
    re.compile(r"`+[^`]+`+"),  # code in a sentence
    re.compile(r"(?<=\])\([^)]*\)"),  # the target of a link
    re.compile(r"https?://\S+"),
)
CODE = re.compile(r"`[^`\n]+`")


def list_files() -> Iterator[str]:
    """Return the paths of the committed files that have texts for people."""
    for path in run_git(ROOT, "ls-files", "-z").split("\0"):
        is_read = Path(path).suffix in FORMATS and not NOT_OURS.match(path)
        if path and is_read and (ROOT / path).is_file():
            yield path


def read_file(path: str) -> str:
    """Return what a file says to people: comments and strings of Python, or the whole text."""
    text = (ROOT / path).read_text("utf-8")
    if path.endswith(".py"):
        return CODE.sub(" ", "\n".join([*read_comments(text), *read_strings(text)]))
    return read_prose(text) if path.endswith(".md") else text


def read_comments(python: str) -> Iterator[str]:
    """Return the comments of a module."""
    for token in tokenize.generate_tokens(io.StringIO(python).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def read_strings(python: str) -> Iterator[str]:
    """Return a module's strings of several words. A string of one word is data, such as a key."""
    for node in ast.walk(ast.parse(python)):
        match node:
            case ast.Constant(value=str(text)) if len(text.split()) > 1:
                yield text


def read_names(python: str) -> Iterator[tuple[int, str]]:
    """Return the functions, classes and parameters that a module defines, each with its line."""
    for node in ast.walk(ast.parse(python)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                yield node.lineno, name


def read_prose(markdown: str) -> str:
    """Return a page without code, comments, tags and addresses."""
    for pattern in MARKUP:
        markdown = pattern.sub(" ", markdown)
    return re.sub(r"\s+", " ", markdown)
