"""Request JSON from a source; whatever goes wrong becomes a `SourceError`."""

import json
import ssl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin

import httpx2

from shop import meters
from shop.allowed_origins import parse_origin
from shop.settings import ShopSettings, settings
from shop.sync import addresses
from shop.sync.errors import (
    CertificateError,
    ForeignRedirectError,
    OversizedAnswerError,
    RefusedRequestError,
    SourceBusyError,
    SourceError,
    SourceFailedError,
    SourceTimeoutError,
    SourceUnreachableError,
    TruncatedAnswerError,
    WrongAnswerError,
)
from shop.sync.pinned_transport import ExchangeDeadline, PinnedTransport
from shop.sync.retry_after import parse_delay

EXCHANGE_STEPS = 6
"""A whole exchange may take so many times `SHOP_SYNC_TIMEOUT`."""
MAX_REDIRECTS = 3
MAX_QUOTED = 200
"""Characters of an answer that an error quotes."""

OK, REDIRECTS, TOO_MANY, UNAVAILABLE = 200, range(300, 400), 429, 503
TRANSIENT_STATUSES = (408, 425)
SERVER_ERRORS = range(500, 600)

GZIP = b"\x1f\x8b"
"""The first bytes of each gzip member."""
JSON_STARTS = (b"{", b"[")
JSON_DELIMITERS = ((b"{", b"}"), (b"[", b"]"))
TRUNCATED = "its answer ends in the middle"


def request_json(source: str, url: str, path: str, **params: str) -> Any:
    """Return a source's answer, parsed from JSON; raises a `SourceError`. Counts the outcome."""
    try:
        with SourceClient(source, url) as client:
            found = client.get(path, params)
    except SourceError as err:
        meters.SYNC_REQUESTS.add(source, err.verdict)
        raise
    meters.SYNC_REQUESTS.add(source, "answered")
    return found


class SourceClient:
    """A client of one source, at addresses that were resolved and checked once.

    It ignores the environment: proxies and `.netrc` are not used.
    """

    def __init__(self, source: str, url: str) -> None:
        """Resolve the address; the first request connects.

        Raises `ForbiddenAddressError` or `SourceUnreachableError`.
        """
        config = settings()
        self._source = source
        self._url = url.rstrip("/")
        self._most_bytes = config.sync_max_bytes
        self._step_s = config.sync_timeout.total_seconds()
        where = addresses.require_allowed_origin(source, url, config.sync_origins)
        self._origin = where.origin
        self._deadline = ExchangeDeadline()
        self._client = httpx2.Client(
            transport=PinnedTransport(
                addresses.resolve(source, where), tls_context(config.sync_ca_file), self._deadline
            ),
            headers=_headers(config, source),
            timeout=self._step_s,
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        """Use it for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._client.close()

    def get(self, path: str, params: dict[str, str]) -> Any:
        """Return the answer, following redirects on the same server; raises a `SourceError`."""
        self._deadline.start(EXCHANGE_STEPS * self._step_s)
        url = str(httpx2.URL(f"{self._url}/{path}", params=params))
        with self._translate_errors():
            for _ in range(MAX_REDIRECTS + 1):
                with self._client.stream("GET", url) as response:
                    if response.status_code not in REDIRECTS:
                        return self._read_response(response)
                    url = self._redirect_target(url, response)
        raise WrongAnswerError(self._source, f"more than {MAX_REDIRECTS} redirects")

    def _redirect_target(self, url: str, response: httpx2.Response) -> str:
        """Return the target of a redirect on the same server; raises a `SourceError` otherwise."""
        target = response.headers.get("location", "")
        if not target:  # 300 and 304 have none
            said = f"{response.status_code} {response.reason_phrase}".strip()
            raise WrongAnswerError(self._source, f"{said}, which says nothing and leads nowhere")
        try:
            target = urljoin(url, target)
            same = parse_origin(target) == self._origin
        except ValueError:
            same = False
        if not same:
            raise ForeignRedirectError(
                self._source, f"{response.status_code} to {_quote(target)}, on another host"
            )
        return target

    def _read_response(self, response: httpx2.Response) -> Any:
        status = response.status_code
        if status == OK:
            return self._parse_json(self._read_body(response))
        said = f"{status} {response.reason_phrase}".strip()
        wait = parse_delay(response.headers.get("retry-after"), datetime.now(UTC))
        if status == TOO_MANY or (status == UNAVAILABLE and wait is not None):
            raise SourceBusyError(self._source, said, wait)
        if status in SERVER_ERRORS or status in TRANSIENT_STATUSES:
            raise SourceFailedError(self._source, said)
        raise RefusedRequestError(self._source, said, status)

    def _read_body(self, response: httpx2.Response) -> bytes:
        """Read the body, and decompress at most the largest allowed size."""
        unfold = _body_decoder(self._source, response.headers.get("content-encoding", ""))
        found = bytearray()
        try:
            for chunk in response.iter_raw():
                found += unfold.decode(chunk, self._most_bytes + 1 - len(found))
                if len(found) > self._most_bytes:
                    reason = f"its answer has more than {self._most_bytes} bytes"
                    raise OversizedAnswerError(self._source, reason)
        except (httpx2.RemoteProtocolError, httpx2.ReadError) as err:
            raise TruncatedAnswerError(self._source, f"{TRUNCATED}: {err}") from err
        if not unfold.is_complete:
            raise TruncatedAnswerError(self._source, TRUNCATED)
        return bytes(found)

    def _parse_json(self, body: bytes) -> Any:
        try:
            return json.loads(body.decode())
        except (ValueError, RecursionError) as err:
            reason = f"its answer is no JSON: {err}: {_quote(body.decode(errors='replace'))}"
            begun, ended = body.lstrip()[:1], body.rstrip()[-1:]
            if (begun, ended) in JSON_DELIMITERS or begun not in JSON_STARTS:
                raise WrongAnswerError(self._source, reason) from err
            raise TruncatedAnswerError(self._source, reason) from err

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn httpx's errors into a `SourceError`."""
        name = self._source
        try:
            yield
        except httpx2.TimeoutException as err:
            raise SourceTimeoutError(name, f"no answer in time: {err}") from err
        except (httpx2.TransportError, httpx2.InvalidURL) as err:
            if problem := _certificate_problem(err):
                raise CertificateError(name, f"its certificate is not good: {problem}") from err
            raise SourceUnreachableError(name, f"no connection: {err}") from err


class IdentityDecoder:
    """A body without compression."""

    is_complete = True
    """Always true, because httpcore checks the length."""

    def decode(self, chunk: bytes, most: int) -> bytes:
        """Return at most `most` bytes of a chunk."""
        return chunk[:most]


class GzipDecoder:
    """A gzip body, decompressed in steps because it may expand a thousandfold in memory."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._gzip = zlib.decompressobj(wbits=31)
        self._rest = b""
        """Bytes after a member, until it is clear whether another member begins there."""

    @property
    def is_complete(self) -> bool:
        """Whether a member has just ended."""
        return self._gzip.eof

    def decode(self, chunk: bytes, most: int) -> bytes:
        """Return at most `most` decompressed bytes of a chunk; a body may have several members."""
        found, chunk = b"", self._rest + chunk
        try:
            while chunk and len(found) < most:
                if self._gzip.eof:
                    if not chunk.startswith(GZIP[: len(chunk)]):
                        return found  # padding, which is ignored
                    if len(chunk) < len(GZIP):
                        break
                    self._gzip = zlib.decompressobj(wbits=31)
                found += self._gzip.decompress(chunk, most - len(found))
                chunk = self._gzip.unused_data if self._gzip.eof else b""
        except zlib.error as err:
            raise WrongAnswerError(self._source, f"its answer is no gzip: {err}") from err
        self._rest = chunk
        return found


def _body_decoder(source: str, encoding: str) -> IdentityDecoder | GzipDecoder:
    match encoding.strip().lower():
        case "" | "identity":
            return IdentityDecoder()
        case "gzip" | "x-gzip":
            return GzipDecoder(source)
    raise WrongAnswerError(source, f"its answer is in {_quote(encoding)}, which was not requested")


def _headers(config: ShopSettings, source: str) -> dict[str, str]:
    known = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "workshed"}
    token = config.sync_token(source)
    return known if token is None else known | {"Authorization": f"Bearer {token}"}


def _certificate_problem(error: BaseException | None) -> str | None:
    """Return the certificate problem among the causes of an error; `None` if there is none."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None


def _quote(text: str) -> str:
    """Return the beginning of an untrusted text, in one line."""
    return repr(text[:MAX_QUOTED])


@cache
def tls_context(authorities: Path | None) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, and those in a file."""
    context = ssl.create_default_context()
    if authorities is not None:
        context.load_verify_locations(authorities)
    return context
