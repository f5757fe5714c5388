"""Workshed's settings from `WORKSHED` and `DATABASES` of a Django project.

They are passed on as environment variables, which processes inherit that do not load Django: a
relay, for example. A variable that is already set wins over the project's file.
"""

import hashlib
import logging
import multiprocessing
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings as project
from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from workshed import db
from workshed.app import APP_VARIABLE, PROJECT_FILE, read_app_name
from workshed.settings import PREFIX, Settings, settings, update_environment

logger = logging.getLogger(__name__)

NAME = "WORKSHED"
DATABASE = "DATABASE"
JOIN_TRANSACTIONS = "JOIN_TRANSACTIONS"
DEFAULTS = "DEFAULTS"
CONSOLE = "CONSOLE"
APP = "workshed.contrib.django.app:app"
OWN_KEYS = frozenset({"APP", CONSOLE, DATABASE, DEFAULTS, JOIN_TRANSACTIONS})
"""Keys that are no settings of Workshed."""
EXPORTED = "DJANGO_WORKSHED_EXPORTED"
"""The variables that a process of the project has set, with a digest of each value: those that it
starts set them again, because their settings may differ. Its name is none of a setting."""
ADOPTED = "DJANGO_WORKSHED_ADOPTED"
"""The process of tests that uses the database that they have created, with a digest of its URL. The
processes that it starts for `--parallel` load the project, and set the URL again. Other programs
are refused if their settings have another database."""
DATABASE_URL = f"{PREFIX}DATABASE_URL"
NOT_OF_LIBPQ = frozenset(
    {
        "assume_role",
        "client_encoding",
        "context",
        "cursor_factory",
        "isolation_level",
        "pool",
        "prepare_threshold",
        "server_side_binding",
    }
)
"""Keys of `OPTIONS` that Django or psycopg reads; libpq reads the rest."""


def export_settings() -> None:
    """Set the environment variables that only the project sets.

    Raises `ImproperlyConfigured` for a key that is no setting, for a database that is not
    PostgreSQL or not the one of `DATABASE_URL`, and if Workshed has read its settings before.
    """
    given = _given()
    known = {name.upper() for name in Settings.fields()} | OWN_KEYS
    for key in given:
        if key not in known:
            raise ImproperlyConfigured(
                f"{NAME}[{key!r}] is not a setting of Workshed: docs/configuration.md lists them, "
                "without the prefix WORKSHED_"
            )
    wanted = {
        f"{PREFIX}{key}": _to_text(value)
        for key, value in given.items()
        if key not in OWN_KEYS and value not in (None, "")
    }
    if given.get("APP") or read_app_name(Path(PROJECT_FILE)) is None:
        wanted[APP_VARIABLE] = str(given.get("APP") or APP)
    alias = database_alias()
    is_given = DATABASE_URL in wanted or _is_set_by_others(DATABASE_URL)
    if alias is not None and is_postgresql(alias) and not is_given:
        wanted[DATABASE_URL] = build_url(alias)
    _export(wanted)
    if alias is not None and is_postgresql(alias):
        _require_same_database(alias)


def _require_same_database(alias: str) -> None:
    mine, own = _database_of(os.environ[DATABASE_URL]), _name_of(project.DATABASES[alias])
    if mine != own:
        raise ImproperlyConfigured(
            f"{DATABASE_URL} leads to the database {mine!r}, and DATABASES[{alias!r}] to {own!r}: "
            f"unset {DATABASE_URL}, or let DATABASES read it, for example in development; "
            f"set {NAME}[{DATABASE!r}] to the alias of the database with Workshed's tables, or to "
            "None if Django has none; jobs are then not part of Django's transactions"
        )


def is_postgresql(alias: str) -> bool:
    """Return whether a database of the project is PostgreSQL.

    Raises `ImproperlyConfigured` if there is none with this alias.
    """
    found = project.DATABASES.get(alias)
    if found is None:
        raise ImproperlyConfigured(f"{NAME}[{DATABASE!r}] is {alias!r}, which DATABASES lacks")
    return any(word in found.get("ENGINE", "") for word in ("postgresql", "postgis", "psycopg"))


def find_problem() -> str | None:
    """Say what is wrong with the database, or return `None`.

    Commands that need none, for example in the build of an image, go on all the same.
    """
    alias = database_alias()
    if alias is None or is_postgresql(alias):
        return None
    return (
        f"the ENGINE of DATABASES[{alias!r}] is {project.DATABASES[alias].get('ENGINE', '')!r}, "
        f"and Workshed needs PostgreSQL: name another alias in {NAME}[{DATABASE!r}], or set it to "
        f"None and set {DATABASE_URL}"
    )


def database_alias() -> str | None:
    """Return the alias of the database that Workshed's tables are in, if Django has one."""
    found: str | None = _given().get(DATABASE, "default")
    return found


def joins_transactions() -> bool:
    """Return whether a plain `send` in `transaction.atomic()` is part of that transaction."""
    return bool(_given().get(JOIN_TRANSACTIONS, True))


def actor_defaults() -> Any:
    """Return the defaults of all actors, as the project gives them."""
    return _given().get(DEFAULTS) or {}


def name_key(option: str | None = None) -> str:
    """Return the text by which an error names the defaults, or one of them."""
    return f"{NAME}[{DEFAULTS!r}]" + ("" if option is None else f"[{option!r}]")


def console_url() -> str:
    """Return the address of the console without a slash at its end; empty if it has none."""
    return str(_given().get(CONSOLE) or "").rstrip("/")


def find_console_problem() -> str | None:
    """Say what is wrong with the address of the console, or return `None`."""
    if not console_url() or console_url().startswith(("http://", "https://", "/")):
        return None
    return f"{NAME}[{CONSOLE!r}] is {console_url()!r}: write an address with http:// or https://"


def is_same_database(configured: Mapping[str, Any]) -> bool:
    """Return whether a database of Django is the one of Workshed's connections, by its name.

    It is another one in tests that have created a database and configured only Django with it.
    """
    return _name_of(configured) == _database_of(settings().database_url.get_secret_value())


def adopt_database(alias: str) -> None:
    """Lead Workshed to the database that Django's tests have created for an alias."""
    url = build_url(alias)
    update_environment({DATABASE_URL: url, ADOPTED: f"{os.getpid()}={_digest(url)}"})
    db.forget_pool()


def build_url(alias: str) -> str:
    """Return the URL of one of the project's databases.

    Raises `ImproperlyConfigured` for an option that cannot be part of a URL.
    """
    found = project.DATABASES[alias]
    host, port = str(found.get("HOST") or ""), str(found.get("PORT") or "")
    query = {"host": host, "port": port}
    place = ""
    if host and not any(mark in f"{host}{port}" for mark in "/,"):
        place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        query = {}
    query |= _options_of(alias, found.get("OPTIONS") or {})
    login = quote(str(found.get("USER") or ""), safe="")
    if password := found.get("PASSWORD"):
        login += f":{quote(str(password), safe='')}"
    name = quote(str(found.get("NAME") or ""), safe="")
    words = urlencode({key: text for key, text in query.items() if text}, quote_via=quote)
    return f"postgresql://{login}{'@' if login else ''}{place}/{name}{'?' if words else ''}{words}"


def _options_of(alias: str, options: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for key, value in options.items():
        if key in NOT_OF_LIBPQ or value is None:
            continue
        if not isinstance(value, str | int | os.PathLike):
            raise ImproperlyConfigured(
                f"DATABASES[{alias!r}]['OPTIONS'][{key!r}] is of type {type(value).__name__}, "
                f"which cannot be part of a URL: set {DATABASE_URL}"
            )
        found[key] = str(int(value)) if isinstance(value, bool) else str(value)
    return found


def _export(variables: Mapping[str, str]) -> None:
    inherited = _inherited()
    names = {name for name in variables if not _is_set_by_others(name)}
    changed = {name for name in names if os.environ.get(name) != variables[name]} - {APP_VARIABLE}
    if changed and settings.cache_info().currsize:
        if changed - inherited:
            raise ImproperlyConfigured(
                f"Workshed has read its settings before Django's, without {_list(changed)}: run "
                "`manage.py workshed …` instead of `workshed …`, and call django.setup() before "
                "anything reads workshed.broker"
            )
        # A worker that was started again, maybe with new code.
        logger.warning(
            "%s changed in the project's settings: restart `manage.py workshed worker` itself",
            _list(changed),
        )
        return
    for name in inherited - names:
        os.environ.pop(name, None)
    os.environ.update({name: variables[name] for name in names})
    os.environ[EXPORTED] = ",".join(f"{name}={_digest(variables[name])}" for name in sorted(names))


def _inherited() -> set[str]:
    """Return the variables that still have the value with which the project has set them."""
    pairs = [pair.split("=") for pair in os.environ.get(EXPORTED, "").split(",") if pair]
    parent = multiprocessing.parent_process()
    pid, _, digest = os.environ.get(ADOPTED, "").partition("=")
    if parent is not None and str(parent.pid) == pid:
        pairs.append([DATABASE_URL, digest])
    return {name for name, digest in pairs if _digest(os.environ.get(name, "")) == digest}


def _is_set_by_others(name: str) -> bool:
    return bool(os.environ.get(name)) and name not in _inherited()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _name_of(configured: Mapping[str, Any]) -> str | None:
    found: str | None = configured["NAME"] or (configured.get("OPTIONS") or {}).get("service")
    return found


def _database_of(url: str) -> str | None:
    try:
        found = conninfo_to_dict(url)
    except ProgrammingError:  # its text contains the password
        raise ImproperlyConfigured(
            f"{DATABASE_URL} cannot be read: it must start with postgresql://, and special "
            "characters in user and password are %XX"
        ) from None
    return str(found.get("dbname") or found.get("service") or "") or None


def _given() -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(project, NAME, {})
    return found


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return f"{value / timedelta(milliseconds=1):.0f}ms"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)
