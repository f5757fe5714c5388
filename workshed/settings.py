"""All that the program reads from its environment; only `workshed.app` reads it, too."""

import difflib
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
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
from workshed.origins import parse
from workshed.zones import TIME, zone_problem

PREFIX = "WORKSHED_"
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
SHARED = f"{PREFIX}SHARED_FOLDER"
SHORTEST_KEY = 32


def _seconds(value: object) -> object:
    """Read `10` or `0.5` as seconds; what pydantic takes for a span by itself stays."""
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


Seconds = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta())]
SomeSeconds = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta())]


class Settings(BaseSettings):
    """One frozen value per process; the defaults work on a laptop."""

    # Without `use_attribute_docstrings`: each process that starts would read this file for them.
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    app: str = ""  # read by `workshed.app`
    """Your `workshed.App`, as `package.module:name`. Where this is not set: `app` of
    `[tool.workshed]` in the `pyproject.toml` of the working directory."""
    broker_url: SecretStr = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
    """RabbitMQ: `amqp://` or `amqps://`, several separated by `;`, tried in that order. Behind `?`:
    `cacertfile`, `certfile`, `keyfile`, `server_name_indication`, `heartbeat` (seconds); a
    certificate is always verified. `stub://` only records sends."""
    database_url: SecretStr = SecretStr("postgresql:///workshed")
    """PostgreSQL 15 to 18, as a libpq URL."""
    pool_size: PositiveInt = 8
    """PostgreSQL connections per process; at least `dramatiq --threads`."""
    smtp_url: SecretStr = SecretStr("maildir:var/mail")
    """`smtp://user:password@host:port` (STARTTLS when offered), `smtps://…`, or `maildir:PATH`."""
    smtp_timeout: SomeSeconds | None = None
    """Longest wait for one reply of the mail server, in seconds; by default what RFC 5321 gives
    each: from 2 minutes to 10, for the reply after the text of a mail."""
    smtp_starttls: Literal["offered", "required"] = "offered"
    """What is sent in clear to `smtp://`: all where the server offers no STARTTLS, or nothing."""
    smtp_connections: PositiveInt = 4
    """Connections to the mail server at a time, of all workers together."""
    mail_from: str = "Workshed <hello@workshed.invalid>"
    """Sender of every mail; its domain also ends each `Message-ID`."""
    site_url: str = "http://127.0.0.1:8000"
    """Where links in mails lead."""
    storage_url: SecretStr = SecretStr("file:var/storage")
    """Where contents are kept: `file:PATH`, or `s3://bucket/prefix?region=…&endpoint=…` with the
    extra `workshed[s3]`; credentials of S3 come from `AWS_*` or stand as `s3://key:secret@…`."""
    secret_key: SecretStr = SecretStr("")
    """Signs the tokens of browsers, at least 32 characters; several separated by `,`, the newest
    first: it signs, and all are accepted."""
    signing_keys: SecretStr = SecretStr("")
    """Sign what is put on RabbitMQ, at least 32 characters each; several separated by `,`, the
    newest first: it signs, and all are accepted. Whatever sends to RabbitMQ or works needs them."""
    signing: Literal["accept", "require"] | None = None
    """Of messages that no such key has signed: `accept` runs and counts them, while keys are
    introduced; else they are dead. `require` also lets nothing start that has lost the keys."""
    token_lifetime: SomeSeconds = timedelta(hours=12)
    """Seconds for which a browser may follow its user's notifications by one token."""
    image_format: Literal["jpeg", "webp", "avif"] = "jpeg"
    """What images become; with `jpeg`, PNG where they have alpha. What moves becomes WebP."""
    image_max_bytes: PositiveInt = 30_000_000
    """Bytes of the largest image that is processed."""
    image_max_pixels: PositiveInt = 50_000_000
    """Pixels of the largest image that is processed, or of one frame of it."""
    image_max_jpeg_pixels: PositiveInt = 100_000_000
    """Pixels of the largest JPEG, which needs less memory: it is decoded at reduced size."""
    image_strict: bool = False
    """Refuse images with bytes behind their end, a name of another format or a script anywhere in
    them, too. For those who serve the originals that people upload."""
    image_max_frames: PositiveInt = 500
    """Frames, or pages, of the longest image that is processed."""
    image_memory_bytes: int = Field(default=1 << 30, ge=256 << 20)
    """Memory of the process that decodes images, in bytes; one that needs more is refused."""
    image_cpu: SomeSeconds = timedelta(seconds=30)
    """Seconds of CPU that one image may take; one that needs more is refused."""
    import_chunk: int = Field(default=1_000, ge=1, le=100_000)
    """Rows of an imported file that one job makes users of; `1` gives one job per row."""
    import_email_columns: str = ""
    """More names of the column of an address in imported files, separated by `,`; the first one
    that a file has is read. `Email`, `E-Mail Address` and others are known."""
    import_name_columns: str = ""
    """More names of the column of a name, separated by `,`; several columns make one name as in
    `{Given} {Surname}`."""
    import_retention: SomeSeconds = timedelta(days=90)
    """Seconds for which an import that ended is kept, with its rows; its users stay."""
    sync_origins: str = ""
    """Where data may be fetched from: `https://api.example.org`, several separated by spaces. What
    is inside is named with its network: `https://crm.internal=10.0.0.0/8`, or by its address."""
    sync_tokens: SecretStr = SecretStr("")
    """What sources are shown as `Authorization: Bearer …`: `crm=token`, separated by spaces."""
    sync_ca_file: Path | None = None
    """Certificates of authorities that sources are trusted by, besides those of the system."""
    sync_every: SomeSeconds = timedelta(minutes=15)
    """Seconds between two readings of all that a source has; whole ones, at least 10."""
    sync_timeout: Annotated[SomeSeconds, Field(le=timedelta(seconds=15))] = timedelta(seconds=10)
    """Longest wait for a part of an answer, in seconds, at most 15; the whole may take six times
    that."""
    sync_max_bytes: PositiveInt = 10_000_000
    """Bytes of the largest answer that is read, unfolded."""
    sync_alert_window: SomeSeconds = timedelta(hours=1)
    """Seconds in which the admins get one mail about a source, however many of its jobs fail."""
    sync_retention: SomeSeconds = timedelta(days=90)
    """Seconds for which changes, and records that are gone at their source, are remembered."""
    bulk_batch: int = Field(default=100, ge=1, le=10_000)
    """Mails of a campaign for which jobs are sent in one transaction."""
    bulk_pause: Seconds = timedelta(seconds=0.1)
    """Seconds between two such transactions."""
    bulk_rate: PositiveInt | None = None
    """Mails of campaigns that are sent per minute at most, by all workers together."""
    campaign_retention: SomeSeconds = timedelta(days=730)
    """Seconds for which a campaign that ended is kept, with its mails and who had them."""
    blob_grace: SomeSeconds = timedelta(hours=24)
    """Seconds for which a content that nothing refers to is kept."""
    notification_retention: SomeSeconds = timedelta(days=30)
    """Seconds for which a browser that was away finds what it was told."""
    console_users: SecretStr = SecretStr("")
    """Who may use the web console, as `name:role:hash`, separated by spaces; the role is `reader`
    or `operator`. `workshed console user NAME` makes one."""
    console_proxy_secret: SecretStr | None = None
    """What a proxy that logs people in shows as `X-Workshed-Secret`, beside `X-Workshed-User` and
    `X-Workshed-Role`; at least 32 characters."""
    trace_link: str = ""
    """Address of a trace, with `{trace}` in it, for links of the console."""
    sentry_link: str = ""
    """Address of a job in Sentry, with `{message_id}` in it, for links of the console."""
    management_url: SecretStr | None = None
    """RabbitMQ's management API, e.g. `http://user:password@127.0.0.1:15672`; `https://` with what
    `WORKSHED_BROKER_URL` takes behind `?` for TLS."""
    queue_prefix: str = ""
    """Before the names of queues on RabbitMQ, e.g. `shop.`, where the virtual host is shared with
    programs that have queues of the same names; the same for all that send, work and look."""
    queues: str = ""
    """Weights of queues, e.g. `critical=3,default=2`; an unnamed queue keeps its own."""
    max_retries: int = Field(default=3, ge=0)
    """Retries of a failing job whose actor does not say otherwise."""
    publish_timeout: SomeSeconds = timedelta(seconds=5)
    """Longest wait of `send` for RabbitMQ's confirm, in seconds."""
    store_when_unreachable: bool = True
    """Store a job in PostgreSQL when RabbitMQ cannot take it; `false`: `send` raises."""
    resend_after: SomeSeconds = timedelta(minutes=10)
    """Seconds after which a job of a classic queue that RabbitMQ seems to have lost is resent."""
    unknown_actor_grace: Seconds = timedelta(hours=1)
    """Seconds in which a job is tried again whose actor or option no worker has, as in deploys."""
    shutdown_grace: Seconds = timedelta(seconds=25)
    """Seconds that running jobs are given to end after SIGTERM; then they are interrupted."""
    fence_retention: SomeSeconds = timedelta(days=30)
    """Seconds for which outcomes are remembered, so that a late copy of a job changes nothing."""
    dead_retention: SomeSeconds = timedelta(days=180)
    """Seconds after which dead jobs are deleted, whether or not anybody looked at them."""
    attempt_retention: SomeSeconds = timedelta(days=90)
    """Seconds after which failed attempts of jobs that ended, runs of periodic jobs, and batches
    that are complete, are deleted."""
    runs_retention: SomeSeconds = timedelta(days=30)
    """Seconds after which the history of runs is deleted, by whole days."""
    time_zone: str = "UTC"
    """Zone of the times of periodic jobs that name none, e.g. `Europe/Paris`."""
    report_time: str = "09:00"
    """When the report of the day before is made and mailed, each day: `HH:MM`."""
    report_time_zone: str = ""
    """Zone of that time, and of the days that are reported; `WORKSHED_TIME_ZONE` if not set."""
    report_currency: str = "EUR"
    """Currency that each report shows, also where nothing was sold in it; a code of ISO 4217."""
    report_retention: SomeSeconds = timedelta(days=730)
    """Seconds for which reports are kept, and the mails that brought them."""
    relay_fork: bool = True
    """Run a relay beside the workers of each `dramatiq` master."""
    ready_fd: int | None = Field(default=None, ge=3)
    """Set by `workshed worker`: the file descriptor on which its children say that they are up."""
    shared_folder: Path | None = None
    """Set for the processes of one master: the folder in which they say how they are."""
    not_visible_for: Seconds = timedelta(seconds=60)
    """Seconds after a direct `send` in which a missing record is looked for again."""
    replica_lag: Seconds = timedelta(0)
    """Seconds by which a replica that actors read from may be behind; `0`: they read from none."""
    runs: Literal["all", "failures", "none"] = "all"
    """Which runs are recorded for people to read: `failures` are those not done."""
    metrics: bool = True
    """Count and measure for Prometheus; `false`: no `/metrics`, and nothing is imported."""
    probes: bool = True
    """Answer `/livez` and `/readyz`; without these and metrics there is no port."""
    metrics_host: str = "127.0.0.1"
    """Address on which workers, relays and clocks answer `/livez`, `/readyz` and `/metrics`;
    anybody who reaches it may read."""
    metrics_port: int = Field(default=9191, ge=1, le=65535)
    """First port that is tried; where it is taken, one of the next 15 is."""
    release: str = ""
    """Version of your program, as its runs and Sentry show it; e.g. a commit."""
    sentry_dsn: SecretStr | None = None
    """Where workers report to: `https://key@host/project`; needs the extra `workshed[sentry]`."""
    sentry_events: Literal["final", "first_and_final", "all"] = "final"
    """Which failures of a job are reported: the one it is dead of, its first one too, or all."""
    sentry_environment: str = "production"
    """What Sentry calls this installation."""
    sentry_traces: float | None = Field(default=None, ge=0, le=1)
    """Share of the traces that begin here which Sentry is sent; `0`: only those of senders."""
    sentry_arguments: bool = False
    """Send Sentry the arguments of a job that failed, but those of its actor's `redact=`."""
    tracing: bool = False
    """Make spans of OpenTelemetry, exported as `OTEL_*` say; needs the extra `workshed[otel]`."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto`: colours on a terminal, JSON lines otherwise."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is written."""

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

    @property
    def report_zone(self) -> str:
        """Name of the zone whose days are reported."""
        return self.report_time_zone or self.time_zone

    @field_validator("report_time")
    @classmethod
    def _time_of_day(cls, time: str) -> str:
        if not TIME.fullmatch(time):
            raise ValueError(f"must be HH:MM, from 00:00 to 23:59, not {time!r}")
        return time

    @field_validator("report_currency")
    @classmethod
    def _code_of_currency(cls, code: str) -> str:
        if not re.fullmatch("[A-Z]{3}", code):
            raise ValueError(f"must be three capital letters, as in EUR, not {code!r}")
        return code

    @field_validator("time_zone", "report_time_zone")
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

    @field_validator("sync_origins")
    @classmethod
    def _readable_origins(cls, origins: str) -> str:
        parse(origins)
        return origins

    @field_validator("sync_every")
    @classmethod
    def _calendar_span(cls, span: timedelta) -> timedelta:
        if span < timedelta(seconds=10) or span > timedelta(days=366) or span.microseconds:
            raise ValueError("must be whole seconds, from 10 to 31622400")
        return span

    @field_validator("sync_tokens")
    @classmethod
    def _named_tokens(cls, tokens: SecretStr) -> SecretStr:
        if not all(
            re.fullmatch(r"[^=]+=[!-~]+", part) for part in tokens.get_secret_value().split()
        ):
            raise ValueError("must be like crm=token")
        return tokens

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
    def counts_in_folder(self) -> bool:
        """Tell whether processes of one master count for a page of ours, if there are several."""
        return self.metrics and multiprocess_folder() is None

    @property
    def shows(self) -> bool:
        """Tell whether anything is answered over HTTP: numbers, or probes."""
        return self.probes or self.counts_in_folder

    def sync_token(self, source: str) -> str | None:
        """Return what a source is shown; `None`: nothing."""
        pairs = (part.partition("=") for part in self.sync_tokens.get_secret_value().split())
        return {name: token for name, _, token in pairs}.get(source)


@cache
def settings() -> Settings:
    """Return the settings of this process, read once.

    Raises `SettingsError`, which lists every problem at once.
    """
    problems = unknown_names(os.environ)
    try:
        found = Settings()
    except ValidationError as err:
        problems += [
            f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg'].removeprefix('Value error, ')}"
            for e in err.errors(include_input=False, include_url=False)
        ]
        raise SettingsError(_message(problems)) from None  # its text quotes values, secrets too
    if problems:
        raise SettingsError(_message(problems))
    return found


def use(environment: Mapping[str, str]) -> None:
    """Add to the environment of this process, and of those it starts, and read it anew."""
    os.environ.update(environment)
    settings.cache_clear()


def multiprocess_folder() -> Path | None:
    """Return the folder that takes this process's numbers for Prometheus; `None`: its memory."""
    name = os.environ.get(MULTIPROCESS)
    return Path(name) if name else None


def are_colours_wanted() -> bool:
    """Tell whether a terminal may be given colours, as https://no-color.org has it."""
    return not os.environ.get("NO_COLOR")


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """Name each `WORKSHED_*` variable that means nothing, with the likeliest one meant."""
    known = [name.upper() for name in Settings.model_fields]
    problems = []
    for name in sorted(environ):
        # Compared without the prefix, which alone would make any two names alike.
        ours = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and ours not in known:
            close = difflib.get_close_matches(ours, known, n=1)
            hint = f"; did you mean {PREFIX}{close[0]}?" if close else ""
            problems.append(f"{name} is not a setting{hint}")
    return problems


def _message(problems: list[str]) -> str:
    return "the environment cannot be used:\n" + "\n".join(f"  - {p}" for p in problems)
