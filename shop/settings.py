"""The settings of this service, `SHOP_*` in the environment. Those of Workshed are `WORKSHED_*`."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shop.allowed_origins import parse_allowed_origins
from workshed.environment import read_duration
from workshed.settings import settings as workshed_settings
from workshed.settings import settings_of
from workshed.zones import CLOCK_TIME, zone_problem

Duration = Annotated[timedelta, BeforeValidator(read_duration), Field(ge=timedelta())]
PositiveDuration = Annotated[timedelta, BeforeValidator(read_duration), Field(gt=timedelta())]


class ShopSettings(BaseSettings):
    """The settings, read once per process and immutable; the defaults work on a laptop."""

    model_config = SettingsConfigDict(env_prefix="SHOP_", frozen=True, env_ignore_empty=True)

    site_url: str = "http://127.0.0.1:8000"
    """Base URL of links in emails."""
    image_format: Literal["jpeg", "webp", "avif"] = "jpeg"
    """Format of converted images; with `jpeg`, PNG for those with alpha. Animations become WebP."""
    image_max_bytes: PositiveInt = 30_000_000
    """Bytes of the largest image that is processed."""
    image_max_pixels: PositiveInt = 50_000_000
    """Pixels of the largest image that is processed, or of one frame of it."""
    image_max_jpeg_pixels: PositiveInt = 100_000_000
    """Pixels of the largest JPEG, which needs less memory: it is decoded at reduced size."""
    image_strict: bool = False
    """Also refuse images with bytes after their end, a suffix of another format, or a script
    anywhere in them. Use it if you serve the uploaded originals."""
    image_max_frames: PositiveInt = 500
    """Frames, or pages, of the longest image that is processed."""
    image_memory_bytes: int = Field(default=1 << 30, ge=256 << 20)
    """Memory of the process that decodes images, in bytes; images that need more are refused."""
    image_cpu: PositiveDuration = timedelta(seconds=30)
    """CPU time that one image may take; images that need more are refused."""
    import_chunk: int = Field(default=1_000, ge=1, le=100_000)
    """Rows of an imported file that one job makes users of; `1` gives one job per row."""
    import_email_columns: str = ""
    """Additional names of the address column in imported files, separated by `,`; the first one
    that a file has is read. `Email`, `E-Mail Address` and others are built in."""
    import_name_columns: str = ""
    """Additional names of the name column, separated by `,`; to combine several columns, write
    `{Given} {Surname}`."""
    import_retention: PositiveDuration = timedelta(days=90)
    """How long to keep an import after its end, with its rows; its users stay."""
    sync_origins: str = ""
    """Origins that data may be fetched from, for example `https://api.example.org`, separated by
    spaces. Name an internal host with its network, `https://crm.internal=10.0.0.0/8`, or by its
    address."""
    sync_tokens: SecretStr = SecretStr("")
    """Tokens to send to sources as `Authorization: Bearer …`: `crm=token`, separated by spaces."""
    sync_ca_file: Path | None = None
    """Certificate authorities to trust for sources, in addition to those of the system."""
    sync_every: PositiveDuration = timedelta(minutes=15)
    """Time between two complete reads of a source: whole seconds, at least `10s`."""
    sync_timeout: Annotated[PositiveDuration, Field(le=timedelta(seconds=15))] = timedelta(
        seconds=10
    )
    """Longest wait for a part of an answer, at most `15s`; a whole exchange may take six times
    that."""
    sync_max_bytes: PositiveInt = 10_000_000
    """Bytes of the largest answer that is read, decompressed."""
    sync_alert_window: PositiveDuration = timedelta(hours=1)
    """Time in which each admin gets at most one alert about a source, however many jobs fail."""
    sync_retention: PositiveDuration = timedelta(days=90)
    """How long to keep the log of changes, and records that were deleted at their source."""
    campaign_batch: int = Field(default=100, ge=1, le=10_000)
    """Emails of a campaign whose jobs are sent in one transaction."""
    campaign_pause: Duration = timedelta(seconds=0.1)
    """Time between two such transactions."""
    campaign_rate: PositiveInt | None = None
    """Campaign emails that all workers together may send per minute."""
    campaign_retention: PositiveDuration = timedelta(days=730)
    """How long to keep a campaign after its end, with its emails and recipients."""
    report_time: str = "09:00"
    """Time of day, `HH:MM`, at which the report of the previous day is made and emailed."""
    report_time_zone: str = ""
    """Time zone of that time, and of the reported days; by default `WORKSHED_TIME_ZONE`."""
    report_currency: str = "EUR"
    """Currency that every report shows, even without sales in it; an ISO 4217 code."""
    report_retention: PositiveDuration = timedelta(days=730)
    """How long to keep reports and their emails."""

    @property
    def report_zone(self) -> str:
        """Name of the time zone whose days are reported."""
        return self.report_time_zone or workshed_settings().time_zone

    @field_validator("report_time")
    @classmethod
    def _time_of_day(cls, time: str) -> str:
        if not CLOCK_TIME.fullmatch(time):
            raise ValueError(f"must be HH:MM, from 00:00 to 23:59, not {time!r}")
        return time

    @field_validator("report_currency")
    @classmethod
    def _code_of_currency(cls, code: str) -> str:
        if not re.fullmatch("[A-Z]{3}", code):
            raise ValueError(f"must be three capital letters, as in EUR, not {code!r}")
        return code

    @field_validator("report_time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name and (problem := zone_problem(name)):
            raise ValueError(f"{problem}: {name!r}")
        return name

    @field_validator("sync_origins")
    @classmethod
    def _readable_origins(cls, origins: str) -> str:
        parse_allowed_origins(origins)
        return origins

    @field_validator("sync_every")
    @classmethod
    def _calendar_span(cls, span: timedelta) -> timedelta:
        if span < timedelta(seconds=10) or span > timedelta(days=366) or span.microseconds:
            raise ValueError("must be whole seconds, from 10s to 366d")
        return span

    @field_validator("sync_tokens")
    @classmethod
    def _named_tokens(cls, tokens: SecretStr) -> SecretStr:
        if not all(
            re.fullmatch(r"[^=]+=[!-~]+", part) for part in tokens.get_secret_value().split()
        ):
            raise ValueError("must be like crm=token")
        return tokens

    def sync_token(self, source: str) -> str | None:
        """Return the token for a source; `None` if it has none."""
        pairs = (part.partition("=") for part in self.sync_tokens.get_secret_value().split())
        return {name: token for name, _, token in pairs}.get(source)


def settings() -> ShopSettings:
    """Return the settings of this service, read once.

    Raises `SettingsError`, which lists every problem at once.
    """
    return settings_of(ShopSettings)
