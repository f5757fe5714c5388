"""Count the lines of the jobs in docs/examples, and write the table on their page."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
PAGE = EXAMPLES / "README.md"
RAILS = EXAMPLES / "rails"
PORTS = (EXAMPLES / "fastapi_shop/bookshop/jobs.py", EXAMPLES / "django_shop/store/jobs.py")
TABLE = re.compile(r"(?<=<!-- lines -->\n).*?(?=<!-- /lines -->)", re.DOTALL)
END = re.compile(r"^ *end$", re.MULTILINE)
CLASS = re.compile(r"^class (\w+) .*?^end$", re.DOTALL | re.MULTILINE)


class Row(NamedTuple):
    """A job, or what all jobs share: its parts in Rails and in the ports."""

    title: str
    rails: tuple[str, ...]
    """Classes of `jobs.rb`, and files."""
    ports: tuple[str, ...]
    """Functions, constants and calls of `jobs.py`."""


ROWS = (
    Row("defaults of all jobs", ("ApplicationJob",), ("broker.defaults", "mail.declare")),
    Row("1. welcome mail", ("WelcomeEmailJob",), ("send_welcome_email",)),
    Row("2. reminder in three days", ("ReminderJob",), ("send_reminder",)),
    Row("3. thumbnail of a photo", ("ThumbnailJob",), ("make_thumbnail",)),
    Row("4. import of a CSV file", ("ImportUsersJob",), ("import_users", "fail_import")),
    Row("5. row of an import", ("ImportRowJob",), ("import_row",)),
    Row("6. end of an import", ("CompleteImportJob",), ("complete_import",)),
    Row("7. daily report", ("DailyReportJob", "schedule.yml"), ("send_daily_report",)),
    Row("8. sync of products", ("SyncProductsJob",), ("sync_products", "ALERT_FROM")),
    Row("9. newsletter", ("NewsletterJob",), ("send_newsletter", "AT_ONCE")),
)


def read_rails() -> dict[str, str]:
    """Return the text of each class of `jobs.rb`, and of each other file."""
    text = (RAILS / "jobs.rb").read_text("utf-8")
    classes = {found[1]: found[0] for found in CLASS.finditer(text)}
    return classes | {file.name: file.read_text("utf-8") for file in RAILS.glob("*.yml")}


def count_port(file: Path) -> dict[str, int]:
    """Return the lines of each function, constant and call of a module, without docstrings."""
    text = file.read_text("utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    for docstring in _docstrings(tree):
        for number in range(docstring.lineno - 1, docstring.end_lineno or docstring.lineno):
            lines[number] = ""
    return {
        _name(node): count_lines("\n".join(lines[_first(node) - 1 : node.end_lineno]))
        for node in tree.body
        if not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node)
    }


def count_lines(text: str) -> int:
    """Count the lines that are neither blank nor a comment."""
    return sum(1 for line in text.splitlines() if line.strip() and line.strip()[0] != "#")


def render_table() -> str:
    """Return the table of the page."""
    rails = read_rails()
    whole = {name: count_lines(text) for name, text in rails.items()}
    short = {name: count_lines(END.sub("", text)) for name, text in rails.items()}
    fastapi, django = map(count_port, PORTS)
    counts = [
        (
            _sum(whole, row.rails),
            _sum(short, row.rails),
            _sum(fastapi, row.ports),
            _sum(django, row.ports),
        )
        for row in ROWS
    ]
    totals = [sum(column) for column in zip(*counts, strict=True)]
    titles = [*(row.title for row in ROWS), "**together**"]
    lines = [
        f"| {title} | {row[0]} ({row[1]}) | {row[2]} | {row[3]} |"
        for title, row in zip(titles, [*counts, totals], strict=True)
    ]
    head = ["| | Rails | FastAPI, SQLAlchemy | Django |", "|---|--:|--:|--:|"]
    return "\n".join([*head, *lines, ""])


def _sum(counts: Mapping[str, int], parts: Iterable[str]) -> int:
    return sum(counts[part] for part in parts)


def _docstrings(tree: ast.AST) -> Iterator[ast.stmt]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.stmt) and _is_text(node))


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef):
        return node.name
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0])
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return ast.unparse(node.value.func)
    raise ValueError(f"line {node.lineno}: the table has no place for {type(node).__name__}")


def _first(node: ast.stmt) -> int:
    """Return the line of the first decorator, or of the node."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def main() -> None:
    """Write the table."""
    page = PAGE.read_text("utf-8")
    PAGE.write_text(TABLE.sub(lambda _: render_table(), page), "utf-8")


if __name__ == "__main__":
    main()
