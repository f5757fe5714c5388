"""What the templates need to know about a service."""

import importlib.util
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from workshed.errors import WorkshedError
from workshed.queues import Queue

FOLDERS = frozenset({"actors", "brokers", "deploy", "middleware", "tests"})
PARTS = frozenset({"clock", "console", "migrate", "relay", "worker"})
"""Parts of a deployment, which have units and files of their own."""
SYSTEM_USERS = """
    backup bin daemon games irc list lp mail man news nobody proxy root sync sys uucp
"""
SQL_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check
    collate collation column concurrently constraint create cross default deferrable desc distinct
    do else end except false fetch for foreign freeze from full grant group having ilike in
    initially inner intersect into is isnull join lateral leading left like limit localtime
    localtimestamp natural not notnull null offset on only or order outer overlaps placing primary
    public references returning right select similar some symmetric system_user table tablesample
    then to trailing true union unique user using variadic verbose when where window with
"""
"""Words that PostgreSQL does not take as the name of a schema."""
PREFIXES = ("workshed", "pg_")
"""Of names that Workshed and PostgreSQL keep for themselves."""
NAME_PATTERN = re.compile(r"[a-z](?:[a-z0-9_-]{0,29}[a-z0-9])?")
FIRST_PORT = 9191


class ServiceNameError(WorkshedError):
    """A service cannot have this name."""


@dataclass(frozen=True, kw_only=True)
class WorkerGroup:
    """Workers that share queues, separate from other workers."""

    name: str
    queues: tuple[str, ...] = ()
    """Their queues; empty: those of all actors."""
    processes: int = 1
    threads: int = 8
    port: int = FIRST_PORT
    """Of its metrics and probes under systemd, where all groups share one host."""
    memory: str | None = None
    """Limit of a pod's memory, if it differs from that of other groups."""
    memory_reason: str = ""
    """Why it differs."""
    min_pods: int = 1
    max_pods: int = 4
    wait_per_pod_s: int = 30
    """It gets another pod each time its oldest job has waited for so many seconds more."""

    @property
    def options(self) -> list[str]:
        """The options of `workshed worker`."""
        queues = [word for queue in self.queues for word in ("--queue", queue)]
        return [*queues, "--processes", str(self.processes), "--threads", str(self.threads)]


@dataclass(frozen=True, kw_only=True)
class Service:
    """An application that Workshed runs, as its manifests describe it."""

    name: str
    """Of its image, units, user, database and namespace."""
    package: str
    """The Python package of its domain."""
    title: str
    packages: tuple[str, ...]
    """All Python packages that run."""
    queues: tuple[Queue, ...]
    groups: tuple[WorkerGroup, ...]
    version: str = "0.1.0"
    """The tag of its image."""
    app: str = "brokers.app:app"
    modules: tuple[str, ...] = ("actors",)
    """The modules that declare its actors."""
    rabbitmq: bool = True
    """Its jobs are queued in RabbitMQ; otherwise in PostgreSQL alone."""
    clock: bool = False
    """It runs periodiq's clock besides the relay."""
    mail: bool = False
    """It sends emails by `workshed.contrib.mail`."""
    storage: bool = False
    """It stores files by `workshed.contrib.storage`."""
    rule_files: Mapping[str, str] = field(default_factory=dict)
    """Files with alerts of its own, next to `rules.yml`: their content by name."""
    roles_page: str = "docs/roles.md of Workshed"
    runbooks_page: str = "docs/runbooks.md of Workshed"

    @property
    def prefix(self) -> str:
        """Before the names of its own settings."""
        return f"{self.package.upper()}_"


def new_service(name: str, *, rabbitmq: bool = True) -> Service:
    """Return a service of this name; raises `ServiceNameError` if it cannot have it."""
    package = name.replace("-", "_")
    if not NAME_PATTERN.fullmatch(name):
        raise ServiceNameError(
            f"{name!r}: write a lower-case letter, then up to 30 letters, digits, `-` or `_`, of "
            "which the last is a letter or digit"
        )
    if reason := _reason_against(package):
        raise ServiceNameError(f"{name!r} {reason}: choose another name")
    return Service(
        name=package.replace("_", "-"),
        package=package,
        title=package.replace("_", " ").capitalize(),
        packages=("actors", "brokers", "middleware", package),
        queues=(Queue("default", weight=2),),
        groups=(WorkerGroup(name="main"),),
        rabbitmq=rabbitmq,
    )


def _reason_against(package: str) -> str | None:
    """Return why a service's package cannot have a name that is well formed."""
    found = importlib.util.find_spec(package)
    # Any folder here is a package without a file of its own.
    if keyword.iskeyword(package) or (found is not None and found.origin is not None):
        return "is a word of Python, or the name of a package that is installed"
    if package in SQL_WORDS.split():
        return "is a word of SQL, so PostgreSQL would not take it as the name of a schema"
    taken = (*FOLDERS, *PARTS, *SYSTEM_USERS.split())
    if package in taken or package.startswith(PREFIXES):
        return "is the name of something else on the host or in the new folder"
    return None
