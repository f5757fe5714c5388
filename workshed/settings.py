"""All that the program reads from its environment; apart from this, only `workshed.app` does."""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from workshed.database.urls import split_hosts
from workshed.environment import EnvironmentSettings, Secret, at_least, at_most, more_than
from workshed.errors import EXIT_USAGE, SettingsError
from workshed.settings_classes import read_settings
from workshed.third_party_programs.import_errors import exit_third_party_program
from workshed.zones import zone_problem

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

PREFIX = "WORKSHED_"
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SHARED_VARIABLE = f"{PREFIX}SHARED_FOLDER"
SHORTEST_KEY = 32
S = TypeVar("S", bound="BaseSettings")
T = TypeVar("T")


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


def _check_broker_urls(urls: Secret) -> None:
    for part in urls.get_secret_value().split(";"):
        if part.strip() == "postgresql:":
            continue
        if not part.strip().startswith(("amqp://", "amqps://", "stub://")):
            raise ValueError("must start with amqp://, amqps:// or stub://, or be postgresql:")
        _refuse_unreadable(part.strip())


def _check_database_url(url: Secret) -> None:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must start with postgresql://")
    for part in split_hosts(url.get_secret_value()):
        _refuse_unreadable(part)


def _check_smtp_url(url: Secret) -> None:
    if not url.get_secret_value().startswith(("smtp://", "smtps://", "maildir:")):
        raise ValueError("must start with smtp://, smtps:// or maildir:")


def _check_storage_url(url: Secret) -> None:
    if not url.get_secret_value().startswith(("file:", "s3://")):
        raise ValueError("must start with file: or s3://")
    if url.get_secret_value().startswith("s3://"):
        _refuse_unreadable(url.get_secret_value())


def _check_sentry_dsn(dsn: Secret) -> None:
    if dsn and not re.fullmatch(r"https?://[^/@\s]+@[^/@\s]+/\S*\d+", dsn.get_secret_value()):
        raise ValueError("must be like https://key@host/project")


def _check_web_address(address: str) -> None:
    if address and not address.startswith(("https://", "http://")):
        raise ValueError("must start with https:// or http://")


def _check_source_link(link: str) -> None:
    folder, _, address = link.partition("=")
    if link and not (folder and address.startswith(("https://", "http://"))):
        raise ValueError("must be like /srv/shop=https://git.example.org/{path}")


def _check_proxies(proxies: str) -> None:
    for part in proxies.split(","):
        if proxies not in ("", "none"):
            ip_network(part.strip())


def _check_keys(keys: Secret) -> None:
    parts = keys.get_secret_value().split(",")
    if parts != [""] and any(len(part.strip()) < SHORTEST_KEY for part in parts):
        raise ValueError(f"each key must have at least {SHORTEST_KEY} characters")


def _check_long_secret(secret: Secret) -> None:
    if len(secret.get_secret_value()) < SHORTEST_KEY:
        raise ValueError(f"must have at least {SHORTEST_KEY} characters")


def _check_queue_prefix(prefix: str) -> None:
    if prefix and not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9._-]{0,99}", prefix):
        raise ValueError(
            "must begin with a letter or underscore, then letters, digits, dots, dashes, "
            f"underscores, 100 characters at most, not {prefix!r}"
        )


def _check_zone(name: str) -> None:
    if name and (problem := zone_problem(name)):
        raise ValueError(f"{problem}: {name!r}")


Duration = Annotated[timedelta, at_least(timedelta())]
PositiveDuration = Annotated[timedelta, more_than(timedelta())]
PositiveInt = Annotated[int, at_least(1)]
Keys = Annotated[Secret, _check_keys]
WebAddress = Annotated[str, _check_web_address]


class Settings(EnvironmentSettings):
    """One frozen value per process; the defaults work on a laptop."""

    prefix: ClassVar[str] = PREFIX

    app: str = ""  # read by `workshed.app`
    """Your `workshed.App`, as `package.module:name`. By default `app` of `[tool.workshed]` in the
    `pyproject.toml` of the working directory."""
    broker_url: Annotated[Secret, _check_broker_urls] = Secret("amqp://guest:guest@127.0.0.1:5672/")
    """RabbitMQ: `amqp://` or `amqps://`, several separated by `;`, tried in that order. Parameters
    after `?`: `cacertfile`, `certfile`, `keyfile`, `server_name_indication`, `heartbeat` (seconds).
    Certificates are always verified. `postgresql:` takes jobs from the database of
    `WORKSHED_DATABASE_URL`, without RabbitMQ. `stub://` only records sends."""
    database_url: Annotated[Secret, _check_database_url] = Secret("postgresql:///workshed")
    """PostgreSQL 15 to 18, as a libpq URL."""
    pool_size: PositiveInt = 8
    """PostgreSQL connections per process; at least `dramatiq --threads`."""
    smtp_url: Annotated[Secret, _check_smtp_url] = Secret("maildir:var/mail")
    """`smtp://user:password@host:port` (STARTTLS when offered), `smtps://…`, or `maildir:PATH`."""
    smtp_timeout: PositiveDuration | None = None
    """Longest wait for one reply of the mail server. By default the limits of RFC 5321: `2m` or
    more, and `10m` for the reply after the text of a mail."""
    smtp_starttls: Literal["offered", "required"] = "offered"
    """For `smtp://` servers without STARTTLS: `offered` sends in clear text, `required` sends
    nothing."""
    smtp_connections: PositiveInt = 4
    """Most concurrent connections to the mail server, across all workers."""
    mail_from: str = "Workshed <hello@workshed.invalid>"
    """Sender of every mail; its domain also ends each `Message-ID`."""
    storage_url: Annotated[Secret, _check_storage_url] = Secret("file:var/storage")
    """Where blobs are kept: `file:PATH`, or `s3://bucket/prefix?region=…&endpoint=…` with the extra
    `workshed[s3]`. S3 credentials come from `AWS_*` or from the URL: `s3://key:secret@…`."""
    secret_key: Keys = Secret("")
    """Key for browser tokens, at least 32 characters. You may give several, separated by `,`: the
    first, which should be the newest, signs, and all are accepted."""
    signing_keys: Keys = Secret("")
    """Keys that sign messages on RabbitMQ, at least 32 characters each, separated by `,`. The
    first, which should be the newest, signs, and all are accepted. Every process that sends to
    RabbitMQ or runs jobs needs them."""
    signing: Literal["accept", "require"] | None = None
    """What happens to messages that none of the keys signed: `accept` runs and counts them, for use
    while you introduce keys; otherwise they go to the dead table. With `require`, a process without
    keys also refuses to start."""
    token_lifetime: PositiveDuration = timedelta(hours=12)
    """How long one token lets a browser follow its user's notifications."""
    blob_grace: PositiveDuration = timedelta(hours=24)
    """How long an unreferenced blob is kept."""
    notification_retention: PositiveDuration = timedelta(days=30)
    """How long notifications are kept for a browser that was offline."""
    console_users: Secret = Secret("")
    """Users of the web console, as `name:role:hash`, separated by spaces; the role is `reader` or
    `operator`. `workshed console user NAME` makes one."""
    console_tokens: Secret = Secret("")
    """Tokens with which programs use the web console, as `name:role:hash`, separated by spaces.
    `workshed console token NAME` makes one. A program sends `Authorization: Bearer TOKEN`."""
    console_proxy_secret: Annotated[Secret, _check_long_secret] | None = None
    """Secret that an authenticating proxy sends as `X-Workshed-Secret`, together with
    `X-Workshed-User` and `X-Workshed-Role`; at least 32 characters."""
    console_proxies: Annotated[str, _check_proxies] = ""
    """Addresses or networks of proxies in front of the web console, separated by `,`, whose
    `X-Forwarded-For` and `X-Forwarded-Proto` are trusted, or `none`. By default no proxy is
    trusted, so all users behind one share its address. `workshed console --host` with an address
    that other machines can reach needs this setting."""
    trace_link: WebAddress = ""
    """URL of a trace, with `{trace}` in it, for links in the console."""
    sentry_link: WebAddress = ""
    """URL of a job in Sentry, with `{message_id}` in it, for links in the console."""
    source_link: Annotated[str, _check_source_link] = ""
    """`FOLDER=URL`: links from tracebacks in the console to your repository, for files in this
    folder of the workers, for example
    `/srv/shop=https://git.example.org/shop/blob/{release}/{path}#L{line}`."""
    management_url: Secret | None = None
    """RabbitMQ's management API, for example `http://user:password@127.0.0.1:15672`. `https://`
    takes the TLS parameters of `WORKSHED_BROKER_URL`."""
    queue_prefix: Annotated[str, _check_queue_prefix] = ""
    """Prefix of queue names on RabbitMQ, for example `shop.`, if other programs in the same virtual
    host have queues of the same names. Set it to the same value in every process."""
    queues: str = ""
    """Weights of queues, for example `critical=3,default=2`; other queues keep their own."""
    max_retries: Annotated[int, at_least(0)] = 3
    """Default number of retries of a failing job."""
    publish_timeout: PositiveDuration = timedelta(seconds=5)
    """Longest wait of `send` for RabbitMQ's confirm."""
    outbox_fallback: bool = True
    """Store a job in PostgreSQL when RabbitMQ cannot take it; `false`: `send` raises."""
    classic_queue_resend_after: PositiveDuration = timedelta(minutes=10)
    """After this time, a job of a classic queue that RabbitMQ seems to have lost is resent."""
    unknown_actor_grace: Duration = timedelta(hours=1)
    """How long a job is retried if its worker does not know its actor, an option or an argument,
    for example during a deploy."""
    shutdown_grace: Duration = timedelta(seconds=25)
    """Time that running jobs have to finish after SIGTERM; then they are interrupted."""
    deduplication_retention: PositiveDuration = timedelta(days=30)
    """How long outcomes are remembered, so that a late duplicate of a job does nothing."""
    dead_retention: PositiveDuration = timedelta(days=180)
    """Age at which dead jobs are deleted, even if they were never retried or discarded."""
    attempt_retention: PositiveDuration = timedelta(days=90)
    """Age at which failed attempts of finished jobs, runs of periodic jobs, and complete batches
    are deleted."""
    runs_retention: PositiveDuration = timedelta(days=30)
    """Age at which the history of runs is deleted, by whole days."""
    run_minutes_retention: PositiveDuration = timedelta(days=90)
    """Age at which the numbers of runs per minute are deleted, from which the console makes its
    charts."""
    time_zone: Annotated[str, _check_zone] = "UTC"
    """Default time zone of periodic jobs, for example `Europe/Paris`."""
    relay_fork: bool = True
    """Run a relay alongside the workers of each plain `dramatiq`."""
    ready_fd: Annotated[int, at_least(3)] | None = None
    """Set by `workshed worker`: the file descriptor on which its children report being up."""
    shared_folder: Path | None = None
    """Set by `workshed worker` and `dramatiq`: where their processes report their state."""
    record_visibility_grace: Duration = timedelta(seconds=60)
    """Time after a direct `send` in which a job whose record is missing is retried."""
    replica_lag: Duration = timedelta(0)
    """Time by which a replica that actors read from may be behind; `0`: they read from none."""
    history: Literal["all", "failures", "none"] = "all"
    """Which runs are recorded in the history; `failures`: those that did not succeed, while the
    others are only counted; `none`: none, and the console has no numbers of runs."""
    metrics: bool = True
    """Collect metrics for Prometheus; `false`: no `/metrics`, and nothing is imported."""
    probes: bool = True
    """Serve `/livez` and `/readyz`; without probes and metrics, no port is opened."""
    metrics_host: str = "127.0.0.1"
    """Address on which workers, relays and clocks serve `/livez`, `/readyz` and `/metrics`, without
    a login."""
    metrics_port: Annotated[int, at_least(1), at_most(65_535)] = 9191
    """First port to try; if it is taken, the next 15 are tried."""
    release: str = ""
    """Version of your program that runs and Sentry show, for example a commit."""
    sentry_dsn: Annotated[Secret, _check_sentry_dsn] | None = None
    """Where workers report to: `https://key@host/project`; needs the extra `workshed[sentry]`."""
    sentry_events: Literal["final", "first_and_final", "all"] = "final"
    """Which failures of a job are reported: the final one, also the first one, or all."""
    sentry_environment: str = "production"
    """Environment that Sentry shows for this installation."""
    sentry_traces: Annotated[float, at_least(0), at_most(1)] | None = None
    """Share of the traces that start here which is sent to Sentry; `0`: only traces of senders."""
    sentry_arguments: bool = False
    """Send Sentry the arguments of a failed job, except those in its actor's `redact=`."""
    tracing: bool = False
    """Create OpenTelemetry spans, exported as the variables `OTEL_*` say; needs the extra
    `workshed[otel]`."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto`: colours on a terminal, JSON lines otherwise."""
    log_jobs: bool = True
    """Log a line at level INFO for each job that succeeds, with its run time and its wait."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    @classmethod
    def find_conflicts(cls, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield that messages are to be signed, but there is no key."""
        if found.get("signing") and found.get("signing_keys") == Secret(""):
            yield "signing", f"is {found['signing']}, and {PREFIX}SIGNING_KEYS is not set"

    @property
    def has_shared_metrics(self) -> bool:
        """Whether Workshed itself gathers the metrics of the processes that share a folder.

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
    return _read(Settings)


def settings_of(kind: type[S]) -> S:
    """Return an application's own settings, read again whenever Workshed's are.

    `kind` is a class of `pydantic_settings` with an `env_prefix`. Raises `SettingsError`, also for
    an unknown variable with that prefix.
    """
    ours = settings()
    read_with, found = _APPLICATION_SETTINGS.get(kind, (None, None))
    if read_with is not ours or not isinstance(found, kind):
        found = _read(kind)
        _APPLICATION_SETTINGS[kind] = ours, found
    return found


def _read(kind: type[T]) -> T:
    try:
        return read_settings(kind)
    except SettingsError as err:
        exit_third_party_program(err, EXIT_USAGE)
        raise


_APPLICATION_SETTINGS: dict[type, tuple[Settings, object]] = {}
"""Settings of applications, each with the Workshed settings that were current when it was read."""


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
