"""Render the templates; the names of files are part of them."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from workshed import __version__
from workshed.console.scaffold.dashboard import remove_rabbitmq
from workshed.console.scaffold.service import Service, WorkerGroup
from workshed.extras import require_extra
from workshed.transport.amqp.accounts import build_accounts
from workshed.transport.amqp.definitions import build_definitions

with require_extra("server"):
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".jinja"
"""Of every template, so that no tool takes one for code."""
CLOCK_FILES = frozenset({"NAME-clock.service", "clock.env", "clock.yaml"})
"""Templates for services that run a clock."""
RABBITMQ_VERSION = (4, 3)
"""The image that `compose.yaml` names, and what the definitions are made for."""

Files = dict[str, str]
"""The content of files, by their paths below a folder."""


def render_service(service: Service) -> Files:
    """Return all files of a new service."""
    return {
        **_render_folder("service", service),
        **{f"deploy/{path}": text for path, text in render_deployment(service).items()},
        "deploy/README.md": _render(TEMPLATES / "deploy-readme.md.jinja", service, None),
        "deploy/container/Dockerfile": _render(TEMPLATES / "Dockerfile.jinja", service, None),
        "deploy/container/Dockerfile.dockerignore": _render(
            TEMPLATES / "dockerignore.jinja", service, None
        ),
    }


def render_deployment(service: Service) -> Files:
    """Return the manifests that run a service: for Compose, systemd, Kubernetes and monitoring."""
    files = _render_folder("deploy", service)
    if service.rabbitmq:
        files["rabbitmq/definitions.json"] = render_definitions(service)
    return files


def render_definitions(service: Service) -> str:
    """Return the RabbitMQ definitions of a service's queues and accounts, without passwords."""
    accounts = build_accounts([queue.name for queue in service.queues], {}, service.name)
    made = build_definitions(service.name, service.queues, accounts, {}, RABBITMQ_VERSION)
    return json.dumps(made, indent=2) + "\n"


def _render_folder(folder: str, service: Service) -> Files:
    root = TEMPLATES / folder
    files: Files = {}
    for template in sorted(root.rglob(f"*{SUFFIX}")):
        path = template.relative_to(root).as_posix().removesuffix(SUFFIX)
        if PurePosixPath(path).name in CLOCK_FILES and not service.clock:
            continue
        for group in _groups_of(path, service):
            files[_name_file(path, service, group)] = _render(template, service, group)
    return files


def _groups_of(path: str, service: Service) -> Iterator[WorkerGroup | None]:
    if "GROUP" in path:
        yield from service.groups
    else:
        yield None


def _name_file(path: str, service: Service, group: WorkerGroup | None) -> str:
    """Replace the placeholders in the path of a template."""
    path = path.replace("NAME", service.name).replace("PACKAGE", service.package)
    path = path.replace("DOT.", ".")
    return str(PurePosixPath(path.replace("GROUP", group.name) if group else path))


def _render(template: Path, service: Service, group: WorkerGroup | None) -> str:
    if template.suffixes[-2:] == [".json", SUFFIX]:  # a dashboard has braces of its own
        text = template.read_text("utf-8")
        return text if service.rabbitmq else remove_rabbitmq(text)
    names = {name: getattr(service, name) for name in (*Service.__dataclass_fields__, "prefix")}
    major, minor = RABBITMQ_VERSION
    return ENVIRONMENT.from_string(template.read_text("utf-8")).render(
        names, group=group, workshed_version=__version__, rabbitmq_version=f"{major}.{minor}"
    )


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    # Prometheus, Grafana and GitHub use `{{ }}`, and shells `${ }`.
    variable_start_string="{@",
    variable_end_string="@}",
    comment_start_string="{@#",
    comment_end_string="#@}",
    line_statement_prefix="%%",
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 -- it writes no HTML
)
