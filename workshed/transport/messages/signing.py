"""Sign what is put on RabbitMQ, and tell apart what somebody else has put there."""

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
from workshed.transport.messages.envelope import decode

logger = logging.getLogger(__name__)

HEADER: Final = "x-workshed-signature"
VERSION: Final = "v1"
DIGEST: Final = "sha256"
ACTED_ON: Final = ("published_ms", "outbox", "possible_duplicate")
"""The headers that a consumer acts on: without the last two it looks for no duplicate, and by the
first it tells a copy whose outcome may have been forgotten."""
PLAIN: Final = (int, str, NoneType)
NAME_OF_KEY: Final = b"workshed: the name of this key"
NAME_BYTES: Final = 4

Headers = Mapping[str, Any] | None
Oddity = Literal["older", "missing", "unknown", "altered"]
"""What a signature can be but one of the newest key; one of an `older` key is as good."""


class Signing:
    """Signs with the newest key, and knows what any of its keys has signed.

    A signature is an HMAC-SHA256 over the queue, the headers that a consumer acts on, and the body,
    which has the rest: the message's id, actor, arguments, attempt and generation.
    """

    def __init__(self, keys: Sequence[str], *, required: bool) -> None:
        """Take the keys, the newest first; `required`: what none of them has signed is refused."""
        self.required = required
        found = {key_id(key): key for key in map(str.encode, reversed(keys))}
        # Copied for each message: to set up a key costs as much as all the rest.
        self._keys = {name: hmac.new(found[name], digestmod=DIGEST) for name in reversed(found)}
        self._newest = next(iter(self._keys))
        self._told: set[tuple[str, Oddity]] = set()

    @property
    def names(self) -> list[str]:
        """The names of the keys, the newest first; they tell nothing else about a key."""
        return list(self._keys)

    def sign(self, queue: str, headers: Headers, body: bytes) -> str:
        """Return what stands in `HEADER`; raises `SignatureError` for what cannot be signed."""
        return self._signature(self._newest, queue, headers, body)

    def vouches(self, queue: str, headers: Headers, body: bytes) -> bool:
        """Tell whether one of the keys has signed it."""
        return self._judge(queue, headers, body)[0] in (None, "older")

    def check(self, queue: str, headers: Headers, body: bytes) -> None:
        """Count what the newest key has not signed; raises `SignatureError` where none has.

        Where none is required, that is logged instead, once for each queue and kind.
        """
        oddity, said = self._judge(queue, headers, body)
        if oddity is None:
            return
        meters.SIGNATURE_PROBLEMS.add(queue, oddity)
        if oddity == "older":
            return
        if self.required:
            raise SignatureError(f"signature: {said}")
        if (queue, oddity) not in self._told:
            self._told.add((queue, oddity))
            logger.warning(
                "%s: the signature of a message %s; it runs, as WORKSHED_SIGNING is accept. "
                "What else comes so is counted",
                queue,
                said,
            )

    def _judge(self, queue: str, headers: Headers, body: bytes) -> tuple[Oddity | None, str]:
        given = (headers or {}).get(HEADER)
        if given is None:
            return "missing", "is missing"
        version, _, rest = given.partition(":") if isinstance(given, str) else ("", "", "")
        name = rest.partition(":")[0]
        if version != VERSION:
            return "altered", f"is none of ours: {given!r:.50}"
        if name not in self._keys:
            return "unknown", f"is of a key that is not in WORKSHED_SIGNING_KEYS: {name!r:.50}"
        try:
            expected = self._signature(name, queue, headers, body)
        except SignatureError as err:
            return "altered", str(err)
        # As bytes: of texts, `compare_digest` takes none but ASCII.
        if not hmac.compare_digest(expected.encode(), given.encode(errors="replace")):
            return "altered", "does not fit: the body, its queue or a header is another"
        return (None if name == self._newest else "older"), ""

    def _signature(self, name: str, queue: str, headers: Headers, body: bytes) -> str:
        head = _head(queue, headers or {})
        signed = self._keys[name].copy()
        signed.update(b"".join((len(head).to_bytes(4, "big"), head, body)))
        return f"{VERSION}:{name}:{signed.hexdigest()}"


def _head(queue: str, headers: Mapping[str, Any]) -> bytes:
    """Write what is signed besides the body; JSON tells apart what differs in its type alone."""
    values = [headers.get(name) for name in ACTED_ON]
    for value in values:
        if not isinstance(value, PLAIN):
            raise SignatureError(f"does not fit: a header cannot be signed: {value!r:.50}")
    try:
        return orjson.dumps([VERSION, queue, *values])
    except orjson.JSONEncodeError as err:
        raise SignatureError(f"does not fit: a header cannot be signed: {err}") from None


def key_id(key: bytes) -> str:
    """Name a key by what only it can make, so that two hosts can be compared without showing it."""
    return hmac.digest(key, NAME_OF_KEY, DIGEST)[:NAME_BYTES].hex()


def build_signing(config: Settings) -> Signing | None:
    """Return what signs and checks as the settings say; `None` where they have no key."""
    keys = [key.strip() for key in config.signing_keys.get_secret_value().split(",")]
    return None if keys == [""] else Signing(keys, required=config.signing != "accept")


def verify_and_decode(
    signing: Signing | None, queue: str, headers: Headers, body: bytes
) -> dramatiq.Message[Any]:
    """Read what came through a queue, once it is known who wrote it; raises `EnvelopeError`."""
    if signing is not None:
        signing.check(queue, headers, body)
    return decode(body, queue)
