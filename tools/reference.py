"""Write the generated parts of the documentation: `python -m tools.reference`."""

import ast
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from dramatiq.middleware import Middleware

from shop.__main__ import COMMANDS as SHOP
from shop.__main__ import NAME
from shop.__main__ import app as shop
from shop.settings import ShopSettings
from tools import api_reference, deployment, licences, option_reference, sql_reference
from workshed.app import get_app as application
from workshed.app import load_module
from workshed.console.cli import app
from workshed.console.doctor.environment import environment_variable, format_default
from workshed.metrics import meters
from workshed.middleware.runtime.unsupported_options import UNSUPPORTED_OPTIONS
from workshed.settings import Settings
from workshed.settings_classes import list_defaults
from workshed.transport.build import CHAIN, make_middleware
from workshed.transport.messages.envelope import OPTIONS

if TYPE_CHECKING:
    from workshed.settings_classes import SettingsClass

README = Path(__file__).parent.parent / "README.md"
METRICS = README.parent / "docs" / "metrics.md"
COMMANDS = README.parent / "docs" / "command-line.md"
CONFIGURATION = README.parent / "docs" / "configuration.md"
MIDDLEWARE = README.parent / "docs" / "middleware.md"
API = README.parent / "docs" / "reference-api.md"
API_TESTING = README.parent / "docs" / "reference-testing.md"
API_OTHERS = README.parent / "docs" / "reference-extending.md"
OPTIONS_PAGE = README.parent / "docs" / "reference-options.md"
SQL = README.parent / "docs" / "reference-sql.md"
PAGES = (
    *(CONFIGURATION, METRICS, COMMANDS, MIDDLEWARE),
    *(API, API_TESTING, API_OTHERS, OPTIONS_PAGE, SQL),
)
LICENCES = README.parent / "LICENSES-THIRD-PARTY.md"
GENERATED_PART = re.compile(
    r"(<!-- (settings|service|metrics|service-metrics|commands|options|middleware"
    r"|actor-options|job-options|sql|api|api-testing|api-others) -->\n)"
    r".*?(?=<!-- /\2 -->)",
    re.DOTALL,
)


def configuration_table(kind: "SettingsClass" = Settings) -> str:
    """Return one row per setting: variable, default, meaning."""
    meant = read_meanings(kind)
    rows = [
        f"| `{environment_variable(name, kind)}` | {format_default(default)} | "
        f"{meant.get(name, '')} |"
        for name, default in list_defaults(kind).items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows, ""])


def metrics_table(namespace: str = "workshed") -> str:
    """Return one row per metric of this namespace: its name, type, labels, unit, meaning."""
    for name in application().metrics:
        load_module(name)
    found = [one for one in meters.ALL if one.namespace == namespace]
    if namespace != "workshed":
        found.sort(key=lambda one: one.full_name)  # their order depends on import order
    rows = [
        f"| `{one.full_name}` | {one.kind} | {', '.join(one.labels) or '-'} | {one.unit} | "
        f"{one.help} |"
        for one in found
    ]
    heads = ["| metric | type | labels | unit | meaning |", "|---|---|---|---|---|"]
    return "\n".join([*heads, *rows, ""])


def commands_table() -> str:
    """Return one row per command: its usage, and the first line of its help."""
    rows = [
        f"| `{find_program(words)} {format_usage(words, command)}` | "
        f"{(command.help or '').partition(chr(10))[0]} |"
        for words, command in list_commands().items()
    ]
    return "\n".join(["| command | what it does |", "|---|---|", *rows, ""])


def list_commands() -> dict[str, Any]:
    """Return each command by its words, such as `dead retry`; groups that run alone count, too."""
    found = [
        *walk_commands(typer.main.get_command(app), ()),
        *walk_commands(typer.main.get_command(shop), ()),
    ]
    return dict(sorted(found, key=lambda one: one[0].split()[0]))


def find_program(words: str) -> str:
    """Return the program that has a command: the sample service has its own."""
    return NAME if words.split(maxsplit=1)[0] in SHOP else "workshed"


def walk_commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group, and the group itself if it is a command too."""
    # `Any`, because typer's command classes are in a private module.
    if not hasattr(command, "list_commands"):
        yield " ".join(words), command
        return
    if words and command.invoke_without_command:
        yield " ".join(words), command
    for name in command.list_commands(None):
        yield from walk_commands(command.get_command(None, name), (*words, name))


def format_usage(words: str, command: Any) -> str:
    """Format a command with its arguments, as a table cell."""
    if words.startswith("job "):  # the only group that has an argument
        words = words.replace("job", "job ID", 1)
    for one in command.params:
        if one.param_type_name == "argument":
            words += f" {one.metavar}" if one.required else f" [{one.metavar}]"
    return words.replace("|", "\\|")


def options_table() -> str:
    """Return one row per actor option: whether messages take it too, and its middleware."""
    rows = sorted(
        f"| `{name}=` | {'yes' if name in OPTIONS else ''} | "
        f"[{type(one).__name__}](#{type(one).__name__.lower()}) |"
        for one in build_chain()
        for name in one.actor_options
        if name not in UNSUPPORTED_OPTIONS
    )
    heads = ["| option of an actor | of a message too | middleware |", "|---|---|---|"]
    return "\n".join([*heads, *rows, ""])


def middleware_sections() -> str:
    """Return the docstring of each middleware, in the order of the chain."""
    return "\n".join(
        f"## {type(one).__name__}\n\n{format_docstring(one)}\n" for one in build_chain()
    )


def build_chain() -> list[Middleware]:
    """Return the library's middleware chain, with tracing."""
    made = (make_middleware(entry, Settings(tracing=True)) for entry in CHAIN)
    return [one for one in made if one is not None]


def format_docstring(one: Middleware) -> str:
    """Return a docstring as Markdown, with each paragraph on one line."""
    paragraphs = (inspect.getdoc(type(one)) or "").replace("*Order:*", "\n\n*Order:*")
    paragraphs = paragraphs.replace("*Options:*", "\n\n*Options:*")
    found = (" ".join(paragraph.split()) for paragraph in paragraphs.split("\n\n"))
    return "\n\n".join(filter(None, found))


def read_meanings(kind: "SettingsClass" = Settings) -> dict[str, str]:
    """Return the docstring below each setting, on one line."""
    [settings] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(settings, ast.ClassDef)  # noqa: S101 -- for mypy
    found = {}
    for field, below in pairwise(settings.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                found[name] = " ".join(str(text).split())
    return found


def update_document(text: str) -> str:
    """Return a document with its generated parts replaced."""
    tables: dict[str, Callable[[], str]] = {
        "settings": configuration_table,
        "service": functools.partial(configuration_table, ShopSettings),
        "metrics": metrics_table,
        "service-metrics": functools.partial(metrics_table, "shop"),
        "commands": commands_table,
        "options": options_table,
        "middleware": middleware_sections,
        "actor-options": option_reference.render_actor_options,
        "job-options": option_reference.render_job_options,
        "sql": sql_reference.render_functions,
        "api": functools.partial(api_reference.render_modules, ["workshed"]),
        "api-testing": functools.partial(api_reference.render_modules, ["workshed.testing"]),
        "api-others": functools.partial(api_reference.render_modules, api_reference.OTHERS),
    }
    return GENERATED_PART.sub(lambda found: found[1] + tables[found[2]](), text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(update_document(page.read_text("utf-8")), "utf-8")
    deployment.main()
    LICENCES.write_text(licences.render_page(), "utf-8")
