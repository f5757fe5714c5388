"""All that the program reads from its environment; apart from this, only `workshed.app` does."""

import difflib
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from workshed.errors import SettingsError
from workshed.zones import zone_problem

PREFIX = "WORKSHED_"
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SHARED_VARIABLE = f"{PREFIX}SHARED_FOLDER"
SHORTEST_KEY = 32
S = TypeVar("S", bound=BaseSettings)


def _parse_seconds(value: object) -> object:
    """Read `10` or `0.5` as seconds; leave values that are not strings to pydantic."""
    try:
        return timedelta(seconds=float(value)) if isinstance(value, str) else value
    except (ValueError, OverflowError):
        raise ValueError(f"must be a number of seconds, not {value!r}") from None


def _refuse_unreadable(url: str) -> None:
    """Refuse a URL that a parser would misread; its own error would quote the password."""
    login, at, _ = url.partition("://")[2].rpartition("@")
    try:
        parts = urlsplit(url)
        _ = parts.port
        unquote(parts.password or "", errors="strict")
        broken = bool(re.search(r"%(?![0-9a-fA-F]{2})", url) or (at and re.search("[/?#]", login)))
    except ValueError:
        broken = True
    if broken:
        raise ValueError(
            "cannot be read; in user and password write special characters as %XX (`/` is %2F)"
        )


Seconds = Annotated[timedelta, BeforeValidator(_parse_seconds), Field(ge=timedelta())]
PositiveSeconds = Annotated[timedelta, BeforeValidator(_parse_seconds), Field(gt=timedelta())]


class Settings(BaseSettings):
    """One frozen value per process; the defaults work on a laptop."""

    # Without `use_attribute_docstrings`, for which each starting process would read this file.
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    app: str = ""  # read by `workshed.app`
    """Your `workshed.App`, as `package.module:name`. By default `app` of `[tool.workshed]` in the
    `pyproject.toml` of the working directory."""
    broker_url: SecretStr = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
    """RabbitMQ: `amqp://` or `amqps://`, several separated by `;`, tried in that order. Parameters
    after `?`: `cacertfile`, `certfile`, `keyfile`, `server_name_indication`, `heartbeat` (seconds).
    Certificates are always verified. `stub://` only records sends."""
    database_url: SecretStr = SecretStr("postgresql:///workshed")
    """PostgreSQL 15 to 18, as a libpq URL."""
    pool_size: PositiveInt = 8
    """PostgreSQL connections per process; at least `dramatiq --threads`."""
    smtp_url: SecretStr = SecretStr("maildir:var/mail")
    """`smtp://user:password@host:port` (STARTTLS when offered), `smtps://…`, or `maildir:PATH`."""
    smtp_timeout: PositiveSeconds | None = None
    """Longest wait for one reply of the mail server, in seconds. By default the limits of RFC 5321:
    2 minutes or more, and 10 minutes for the reply after the text of a mail."""
    smtp_starttls: Literal["offered", "required"] = "offered"
    """For `smtp://` servers without STARTTLS: `offered` sends in clear text, `required` sends
    nothing."""
    smtp_connections: PositiveInt = 4
    """Most concurrent connections to the mail server, across all workers."""
    mail_from: str = "Workshed <hello@workshed.invalid>"
    """Sender of every mail; its domain also ends each `Message-ID`."""
    storage_url: SecretStr = SecretStr("file:var/storage")
    """Where blobs are kept: `file:PATH`, or `s3://bucket/prefix?region=…&endpoint=…` with the extra
    `workshed[s3]`. S3 credentials come from `AWS_*` or from the URL: `s3://key:secret@…`."""
    secret_key: SecretStr = SecretStr("")
    """Key for browser tokens, at least 32 characters. You may give several, separated by `,`: the
    first, which should be the newest, signs, and all are accepted."""
    signing_keys: SecretStr = SecretStr("")
    """Keys that sign messages on RabbitMQ, at least 32 characters each, separated by `,`. The
    first, which should be the newest, signs, and all are accepted. Every process that sends to
    RabbitMQ or runs jobs needs them."""
    signing: Literal["accept", "require"] | None = None
    """What happens to messages that none of the keys signed: `accept` runs and counts them, for use
    while you introduce keys; otherwise they go to the dead table. With `require`, a process without
    keys also refuses to start."""
    token_lifetime: PositiveSeconds = timedelta(hours=12)
    """Seconds for which one token lets a browser follow its user's notifications."""
    blob_grace: PositiveSeconds = timedelta(hours=24)
    """Seconds for which an unreferenced blob is kept."""
    notification_retention: PositiveSeconds = timedelta(days=30)
    """Seconds for which notifications are kept for a browser that was offline."""
    console_users: SecretStr = SecretStr("")
    """Users of the web console, as `name:role:hash`, separated by spaces; the role is `reader` or
    `operator`. `workshed console user NAME` makes one."""
    console_proxy_secret: SecretStr | None = None
    """Secret that an authenticating proxy sends as `X-Workshed-Secret`, together with
    `X-Workshed-User` and `X-Workshed-Role`; at least 32 characters."""
    console_proxies: str = "127.0.0.1"
    """Addresses or networks of proxies in front of the web console, separated by `,`, whose
    `X-Forwarded-For` and `X-Forwarded-Proto` are trusted. Otherwise all users behind a proxy share
    its address, and one limit of failed logins."""
    trace_link: str = ""
    """URL of a trace, with `{trace}` in it, for links in the console."""
    sentry_link: str = ""
    """URL of a job in Sentry, with `{message_id}` in it, for links in the console."""
    management_url: SecretStr | None = None
    """RabbitMQ's management API, for example `http://user:password@127.0.0.1:15672`. `https://`
    takes the TLS parameters of `WORKSHED_BROKER_URL`."""
    queue_prefix: str = ""
    """Prefix of queue names on RabbitMQ, for example `shop.`, if other programs in the same virtual
    host have queues of the same names. Set it to the same value in every process."""
    queues: str = ""
    """Weights of queues, for example `critical=3,default=2`; other queues keep their own."""
    max_retries: int = Field(default=3, ge=0)
    """Default number of retries of a failing job."""
    publish_timeout: PositiveSeconds = timedelta(seconds=5)
    """Longest wait of `send` for RabbitMQ's confirm, in seconds."""
    outbox_fallback: bool = True
    """Store a job in PostgreSQL when RabbitMQ cannot take it; `false`: `send` raises."""
    classic_queue_resend_after: PositiveSeconds = timedelta(minutes=10)
    """Seconds after which a job of a classic queue that RabbitMQ seems to have lost is resent."""
    unknown_actor_grace: Seconds = timedelta(hours=1)
    """Seconds for which a job is retried if its worker does not know its actor or an option, for
    example during a deploy."""
    shutdown_grace: Seconds = timedelta(seconds=25)
    """Seconds that running jobs have to finish after SIGTERM; then they are interrupted."""
    deduplication_retention: PositiveSeconds = timedelta(days=30)
    """Seconds for which outcomes are remembered, so that a late duplicate of a job does nothing."""
    dead_retention: PositiveSeconds = timedelta(days=180)
    """Seconds after which dead jobs are deleted, whether or not someone looked at them."""
    attempt_retention: PositiveSeconds = timedelta(days=90)
    """Seconds after which failed attempts of finished jobs, runs of periodic jobs, and complete
    batches are deleted."""
    runs_retention: PositiveSeconds = timedelta(days=30)
    """Seconds after which the history of runs is deleted, by whole days."""
    time_zone: str = "UTC"
    """Default time zone of periodic jobs, for example `Europe/Paris`."""
    relay_fork: bool = True
    """Run a relay alongside the workers of each `dramatiq` master."""
    ready_fd: int | None = Field(default=None, ge=3)
    """Set by `workshed worker`: the file descriptor on which its children report being up."""
    shared_folder: Path | None = None
    """Set for the processes of one master: the folder in which they report their state."""
    record_visibility_grace: Seconds = timedelta(seconds=60)
    """Seconds after a direct `send` in which a job whose record is missing is retried."""
    replica_lag: Seconds = timedelta(0)
    """Seconds by which a replica that actors read from may be behind; `0`: they read from none."""
    history: Literal["all", "failures", "none"] = "all"
    """Which runs are recorded in the history; `failures`: those that did not succeed."""
    metrics: bool = True
    """Collect metrics for Prometheus; `false`: no `/metrics`, and nothing is imported."""
    probes: bool = True
    """Serve `/livez` and `/readyz`; without probes and metrics, no port is opened."""
    metrics_host: str = "127.0.0.1"
    """Address on which workers, relays and clocks serve `/livez`, `/readyz` and `/metrics`, without
    a login."""
    metrics_port: int = Field(default=9191, ge=1, le=65535)
    """First port to try; if it is taken, the next 15 are tried."""
    release: str = ""
    """Version of your program that runs and Sentry show, for example a commit."""
    sentry_dsn: SecretStr | None = None
    """Where workers report to: `https://key@host/project`; needs the extra `workshed[sentry]`."""
    sentry_events: Literal["final", "first_and_final", "all"] = "final"
    """Which failures of a job are reported: the final one, also the first one, or all."""
    sentry_environment: str = "production"
    """Environment that Sentry shows for this installation."""
    sentry_traces: float | None = Field(default=None, ge=0, le=1)
    """Share of the traces that start here which is sent to Sentry; `0`: only traces of senders."""
    sentry_arguments: bool = False
    """Send Sentry the arguments of a failed job, except those in its actor's `redact=`."""
    tracing: bool = False
    """Create OpenTelemetry spans, exported as `OTEL_*` say; needs the extra `workshed[otel]`."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto`: colours on a terminal, JSON lines otherwise."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    @field_validator("broker_url")
    @classmethod
    def _scheme_of_broker(cls, url: SecretStr) -> SecretStr:
        known = ("amqp://", "amqps://", "stub://")
        for part in url.get_secret_value().split(";"):
            if not part.strip().startswith(known):
                raise ValueError("must start with amqp://, amqps:// or stub://")
            _refuse_unreadable(part.strip())
        return url

    @field_validator("queue_prefix")
    @classmethod
    def _name_of_queues(cls, prefix: str) -> str:
        if prefix and not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9._-]{0,99}", prefix):
            raise ValueError(
                "must begin with a letter or underscore, then letters, digits, dots, dashes, "
                f"underscores, 100 characters at most, not {prefix!r}"
            )
        return prefix

    @field_validator("database_url")
    @classmethod
    def _scheme_of_database(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        _refuse_unreadable(url.get_secret_value())
        return url

    @field_validator("sentry_dsn")
    @classmethod
    def _readable_dsn(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn and not re.fullmatch(r"https?://[^/@\s]+@[^/@\s]+/\S*\d+", dsn.get_secret_value()):
            raise ValueError("must be like https://key@host/project")
        return dsn

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name and (problem := zone_problem(name)):
            raise ValueError(f"{problem}: {name!r}")
        return name

    @field_validator("storage_url")
    @classmethod
    def _scheme_of_storage(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("file:", "s3://")):
            raise ValueError("must start with file: or s3://")
        if url.get_secret_value().startswith("s3://"):
            _refuse_unreadable(url.get_secret_value())
        return url

    @field_validator("secret_key", "signing_keys")
    @classmethod
    def _long_keys(cls, keys: SecretStr) -> SecretStr:
        parts = keys.get_secret_value().split(",")
        if parts != [""] and any(len(part.strip()) < SHORTEST_KEY for part in parts):
            raise ValueError(f"each key must have at least {SHORTEST_KEY} characters")
        return keys

    @field_validator("signing")
    @classmethod
    def _keys_to_sign_with(cls, signing: str | None, known: ValidationInfo) -> str | None:
        keys = known.data.get("signing_keys")
        if signing and keys is not None and not keys.get_secret_value():
            raise ValueError(f"is {signing}, and {PREFIX}SIGNING_KEYS is not set")
        return signing

    @field_validator("console_proxy_secret")
    @classmethod
    def _long_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < SHORTEST_KEY:
            raise ValueError(f"must have at least {SHORTEST_KEY} characters")
        return secret

    @field_validator("trace_link", "sentry_link")
    @classmethod
    def _web_address(cls, address: str) -> str:
        if address and not address.startswith(("https://", "http://")):
            raise ValueError("must start with https:// or http://")
        return address

    @field_validator("smtp_url")
    @classmethod
    def _scheme_of_smtp(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("smtp://", "smtps://", "maildir:")):
            raise ValueError("must start with smtp://, smtps:// or maildir:")
        return url

    @property
    def has_shared_metrics(self) -> bool:
        """Whether Workshed itself gathers the metrics of the processes of one master.

        It does not if `PROMETHEUS_MULTIPROC_DIR` names a folder.
        """
        return self.metrics and multiprocess_folder() is None

    @property
    def has_endpoints(self) -> bool:
        """Whether anything is served over HTTP: metrics, or probes."""
        return self.probes or self.has_shared_metrics


@cache
def settings() -> Settings:
    """Return the settings of this process, read once.

    Raises `SettingsError`, which lists every problem at once.
    """
    return _read_settings(Settings)


def settings_of(kind: type[S]) -> S:
    """Return an application's own settings, read again whenever Workshed's are.

    `kind` must have an `env_prefix`. Raises `SettingsError`, also for an unknown variable with that
    prefix.
    """
    ours = settings()
    read_with, found = _APPLICATION_SETTINGS.get(kind, (None, None))
    if read_with is not ours or not isinstance(found, kind):
        found = _read_settings(kind)
        _APPLICATION_SETTINGS[kind] = ours, found
    return found


_APPLICATION_SETTINGS: dict[type[BaseSettings], tuple[Settings, BaseSettings]] = {}
"""Settings of applications, each with the Workshed settings that were current when it was read."""


def _read_settings(kind: type[S]) -> S:
    found, wrong = _try_read(kind)
    problems = find_unknown_names(os.environ, kind) + [f"{name}: {why}" for name, why in wrong]
    if found is None or problems:
        raise SettingsError(_format_problems(problems))
    return found


def list_invalid_settings(kind: type[BaseSettings]) -> list[tuple[str, str]]:
    """Return the settings that cannot be read, each with the reason and without its value.

    Each is named by its variable or, if a rule about several is broken, by the class.
    """
    return _try_read(kind)[1]


def _try_read(kind: type[S]) -> tuple[S | None, list[tuple[str, str]]]:
    if not get_prefix(kind):
        return None, [(kind.__name__, "needs an env_prefix, for example SHOP_")]
    try:
        return kind(), []
    except ValidationError as err:
        errors = err.errors(include_input=False, include_url=False)  # they quote secrets
    except ValueError as err:  # a list or the like, which must be JSON
        return None, [(kind.__name__, str(err))]
    return None, [
        (_variable_name(one["loc"], kind), one["msg"].removeprefix("Value error, "))
        for one in errors
    ]


def _variable_name(location: tuple[int | str, ...], kind: type[BaseSettings]) -> str:
    return f"{get_prefix(kind)}{str(location[0]).upper()}" if location else kind.__name__


def get_prefix(kind: type[BaseSettings]) -> str:
    """Return the prefix of a class's variables, in capitals, in which names are compared."""
    return kind.model_config.get("env_prefix", "").upper()


def update_environment(environment: Mapping[str, str]) -> None:
    """Add to the environment of this process and its children, and read the settings again."""
    os.environ.update(environment)
    settings.cache_clear()


def multiprocess_folder() -> Path | None:
    """Return the folder in which this process keeps its metrics; `None`: it has them in memory."""
    name = os.environ.get(MULTIPROCESS_VARIABLE)
    return Path(name) if name else None


def are_colours_wanted() -> bool:
    """Return whether a terminal may be given colours, according to https://no-color.org."""
    return not os.environ.get("NO_COLOR")


def find_unknown_names(
    environ: Mapping[str, str], kind: type[BaseSettings] = Settings
) -> list[str]:
    """Return a message for each unknown variable with the prefix, with the closest known name."""
    prefix = get_prefix(kind)
    known = [name.upper() for name in kind.model_fields]
    nested = (kind.model_config.get("env_nested_delimiter") or "").upper()
    problems = []
    if not prefix:
        return []
    for name in sorted(environ):
        # Compared without the prefix, which would make any two names similar.
        ours = name.upper().removeprefix(prefix)
        ours = ours.partition(nested)[0] if nested else ours
        if name.upper().startswith(prefix) and ours not in known:
            close = difflib.get_close_matches(ours, known, n=1)
            hint = f"; did you mean {prefix}{close[0]}?" if close else ""
            problems.append(f"{name} is not a setting{hint}")
    return problems


def _format_problems(problems: list[str]) -> str:
    return "the environment cannot be used:\n" + "\n".join(f"  - {p}" for p in problems)
