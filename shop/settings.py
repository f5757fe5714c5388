"""What this service reads from its environment: `SHOP_*`. What Workshed reads is `WORKSHED_*`."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shop.origins import parse
from workshed.settings import Seconds, SomeSeconds, settings_of
from workshed.settings import settings as workshed_settings
from workshed.zones import TIME, zone_problem


class ShopSettings(BaseSettings):
    """One frozen value per process; the defaults work on a laptop."""

    model_config = SettingsConfigDict(env_prefix="SHOP_", frozen=True, env_ignore_empty=True)

    site_url: str = "http://127.0.0.1:8000"
    """Where links in mails lead."""
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
    campaign_batch: int = Field(default=100, ge=1, le=10_000)
    """Mails of a campaign for which jobs are sent in one transaction."""
    campaign_pause: Seconds = timedelta(seconds=0.1)
    """Seconds between two such transactions."""
    campaign_rate: PositiveInt | None = None
    """Mails of campaigns that are sent per minute at most, by all workers together."""
    campaign_retention: SomeSeconds = timedelta(days=730)
    """Seconds for which a campaign that ended is kept, with its mails and who had them."""
    report_time: str = "09:00"
    """When the report of the day before is made and mailed, each day: `HH:MM`."""
    report_time_zone: str = ""
    """Zone of that time, and of the days that are reported; `WORKSHED_TIME_ZONE` if not set."""
    report_currency: str = "EUR"
    """Currency that each report shows, also where nothing was sold in it; a code of ISO 4217."""
    report_retention: SomeSeconds = timedelta(days=730)
    """Seconds for which reports are kept, and the mails that brought them."""

    @property
    def report_zone(self) -> str:
        """Name of the zone whose days are reported."""
        return self.report_time_zone or workshed_settings().time_zone

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

    @field_validator("report_time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name and (problem := zone_problem(name)):
            raise ValueError(f"{problem}: {name!r}")
        return name

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

    def sync_token(self, source: str) -> str | None:
        """Return what a source is shown; `None`: nothing."""
        pairs = (part.partition("=") for part in self.sync_tokens.get_secret_value().split())
        return {name: token for name, _, token in pairs}.get(source)


def settings() -> ShopSettings:
    """Return the settings of this service, read once.

    Raises `SettingsError`, which lists every problem at once.
    """
    return settings_of(ShopSettings)
