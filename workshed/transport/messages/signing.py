"""Sign messages on RabbitMQ, and detect messages that another program put there."""

import hmac
import logging
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Final, Literal

import dramatiq
import orjson

from workshed.metrics import meters
from workshed.settings import Settings
from workshed.transport.errors import SignatureError
from workshed.transport.messages.envelope import decode_message

logger = logging.getLogger(__name__)

SIGNATURE_HEADER: Final = "x-workshed-signature"
VERSION: Final = "v1"
DIGEST: Final = "sha256"
SIGNED_HEADERS: Final = ("published_ms", "outbox", "possible_duplicate")
"""The headers that a consumer acts on: without the last two it does not look for duplicates, and
the first shows whether a copy is so old that its outcome may have been forgotten."""
SIGNABLE_TYPES: Final = (int, str, NoneType)
KEY_ID_LABEL: Final = b"workshed: the name of this key"
KEY_ID_BYTES: Final = 4

Headers = Mapping[str, Any] | None
SignatureProblem = Literal["older", "missing", "unknown", "altered"]
"""Why a message has no signature of the newest key; one of an `older` key is valid too."""


class Signing:
    """Signs with the newest key, and accepts signatures of any key.

    A signature is an HMAC-SHA256 over the queue, the headers that a consumer acts on, and the body,
    which contains the message's ID, actor, arguments, attempt and generation.
    """

    def __init__(self, keys: Sequence[str], *, required: bool) -> None:
        """Take the keys, newest first; `required`: refuse messages that none of them signed."""
        self.required = required
        found = {key_id(key): key for key in map(str.encode, reversed(keys))}
        # Copied for each message, because setting up a key costs as much as all the rest.
        self._keys = {name: hmac.new(found[name], digestmod=DIGEST) for name in reversed(found)}
        self._newest = next(iter(self._keys))
        self._warned: set[tuple[str, SignatureProblem]] = set()

    @property
    def key_ids(self) -> list[str]:
        """The names of the keys, newest first; a name reveals nothing about its key."""
        return list(self._keys)

    def sign(self, queue: str, headers: Headers, body: bytes) -> str:
        """Return the value of `HEADER`; raises `SignatureError` if a header cannot be signed."""
        return self._signature(self._newest, queue, headers, body)

    def is_signed_by_us(self, queue: str, headers: Headers, body: bytes) -> bool:
        """Return whether one of the keys signed a message."""
        return self._find_problem(queue, headers, body)[0] in (None, "older")

    def verify(self, queue: str, headers: Headers, body: bytes) -> None:
        """Count messages that the newest key did not sign; raises `SignatureError` if none did.

        If no signature is required, this is logged instead, once for each queue and problem.
        """
        oddity, said = self._find_problem(queue, headers, body)
        if oddity is None:
            return
        meters.SIGNATURE_PROBLEMS.add(queue, oddity)
        if oddity == "older":
            return
        if self.required:
            raise SignatureError(f"signature: {said}")
        if (queue, oddity) not in self._warned:
            self._warned.add((queue, oddity))
            logger.warning(
                "%s: the signature of a message %s; it runs, as WORKSHED_SIGNING is accept. "
                "Further messages like this are only counted",
                queue,
                said,
            )

    def _find_problem(
        self, queue: str, headers: Headers, body: bytes
    ) -> tuple[SignatureProblem | None, str]:
        given = (headers or {}).get(SIGNATURE_HEADER)
        if given is None:
            return "missing", "is missing"
        version, _, rest = given.partition(":") if isinstance(given, str) else ("", "", "")
        name = rest.partition(":")[0]
        if version != VERSION:
            return "altered", f"is not a signature of Workshed: {given!r:.50}"
        if name not in self._keys:
            return (
                "unknown",
                f"was made with a key that is not in WORKSHED_SIGNING_KEYS: {name!r:.50}",
            )
        try:
            expected = self._signature(name, queue, headers, body)
        except SignatureError as err:
            return "altered", str(err)
        # As bytes, because `compare_digest` accepts only ASCII strings.
        if not hmac.compare_digest(expected.encode(), given.encode(errors="replace")):
            return "altered", "does not fit: the body, its queue or a header was changed"
        return (None if name == self._newest else "older"), ""

    def _signature(self, name: str, queue: str, headers: Headers, body: bytes) -> str:
        head = _signed_head(queue, headers or {})
        signed = self._keys[name].copy()
        signed.update(b"".join((len(head).to_bytes(4, "big"), head, body)))
        return f"{VERSION}:{name}:{signed.hexdigest()}"


def _signed_head(queue: str, headers: Mapping[str, Any]) -> bytes:
    """Return what is signed in addition to the body, as JSON, which preserves types."""
    values = [headers.get(name) for name in SIGNED_HEADERS]
    for value in values:
        if not isinstance(value, SIGNABLE_TYPES):
            raise SignatureError(f"does not fit: a header cannot be signed: {value!r:.50}")
    try:
        return orjson.dumps([VERSION, queue, *values])
    except orjson.JSONEncodeError as err:
        raise SignatureError(f"does not fit: a header cannot be signed: {err}") from None


def key_id(key: bytes) -> str:
    """Return a name derived from a key, by which you can compare two hosts without showing it."""
    return hmac.digest(key, KEY_ID_LABEL, DIGEST)[:KEY_ID_BYTES].hex()


def build_signing(config: Settings) -> Signing | None:
    """Return the `Signing` of the settings; `None` if they have no keys."""
    keys = [key.strip() for key in config.signing_keys.get_secret_value().split(",")]
    return None if keys == [""] else Signing(keys, required=config.signing != "accept")


def verify_and_decode(
    signing: Signing | None, queue: str, headers: Headers, body: bytes
) -> dramatiq.Message[Any]:
    """Check the signature of a message, and decode it; raises `EnvelopeError`."""
    if signing is not None:
        signing.verify(queue, headers, body)
    return decode_message(body, queue)
