"""The bucket, server and credentials in the URL of an S3 storage."""

from dataclasses import field
from typing import Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from workshed.errors import SettingsError
from workshed.value_class import value_class

OPTIONS = ("endpoint", "region")


@value_class
class S3Address:
    """`s3://key:secret@bucket/prefix?region=…&endpoint=…`; missing parts come from `AWS_*`."""

    bucket: str
    prefix: str
    region: str | None
    endpoint: str | None
    key_id: str | None = field(repr=False)
    secret: str | None = field(repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Parse a URL; key and secret are percent-encoded.

        Raises `SettingsError`, which does not quote the URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _url_error("bucket or prefix cannot be read") from None
        if not parts.hostname:
            raise _url_error("names no bucket; write s3://bucket/prefix")
        if port is not None:
            raise _url_error("a bucket has no port; name the server as ?endpoint=https://host:port")
        if bool(parts.username) != bool(parts.password):
            raise _url_error("holds half of the credentials; write s3://key:secret@bucket")
        options = _options(parts)
        prefix = unquote(parts.path).strip("/")
        if ".." in prefix.split("/"):
            raise _url_error("a prefix cannot hold '..'")
        return cls(
            bucket=parts.hostname,
            prefix=prefix,
            region=options.get("region"),
            endpoint=_endpoint(options.get("endpoint")),
            key_id=unquote(parts.username) if parts.username else None,
            secret=unquote(parts.password) if parts.password else None,
        )

    @property
    def is_plain(self) -> bool:
        """Whether the URL asks for unencrypted connections."""
        return self.endpoint is not None and self.endpoint.startswith("http://")

    def __str__(self) -> str:
        """Return its name for messages, without key and secret."""
        path = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        return f"{path} at {self.endpoint}" if self.endpoint else path


def _options(parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(OPTIONS)):
        raise _url_error(f"{unknown[0]!a} is not an option; known are {', '.join(OPTIONS)}")
    if empty := [name for name, value in options.items() if not value]:
        raise _url_error(f"{empty[0]} is empty")
    return options


def _endpoint(url: str | None) -> str | None:
    """Check the address of a server, which may contain a path but no credentials."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        fits = False
    if not fits or "@" in url or parts.query or parts.fragment:
        raise _url_error("endpoint must be like https://host:port")
    return url.rstrip("/")


def _url_error(why: str) -> SettingsError:
    return SettingsError(f"WORKSHED_STORAGE_URL: {why}")
