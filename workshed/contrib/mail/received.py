"""Parse a mail that may come from anyone and be broken."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email import message_from_bytes, message_from_string, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from urllib.parse import unquote

POLICY = policy.compat32
"""The newer policy parses addresses, and raises on some broken ones."""
PICTURE = re.compile(r"image/[a-z0-9.+-]+")
CID = re.compile(r"""cid:([^"'\s()<>]+)""", re.IGNORECASE)
CONNECTING = re.compile(r"<(?=(?:link|i?frame|object|embed)\b)", re.IGNORECASE)
HEAD = re.compile(rb"\r?\n\r?\n")
"""The end of the headers."""
LONGEST_HEADER = 10_000
"""Characters that are decoded, because Python's library takes time that grows quadratically."""
LONGEST_PAGE = 20_000_000
"""Characters of a page including its pictures, each of which may be shown many times."""
UNREADABLE = (MessageError, LookupError, ValueError, TypeError, RecursionError)
"""What parts of Python's library raise for a mail that is broken on purpose."""


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers of a mail; a missing one is empty."""

    subject: str
    sender: str
    recipient: str
    date: str
    message_id: str


@dataclass(frozen=True, slots=True)
class MailAttachment:
    """A part that is not one of the two bodies."""

    filename: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """A mail in its parts."""

    headers: Headers
    text: str | None
    html: str | None
    """A page with its pictures embedded, which loads nothing else."""
    attached: list[MailAttachment]


def headers(content: bytes) -> Headers:
    """Parse the headers of a mail; the beginning of the mail is enough."""
    # Some headers are not ASCII, although they should be.
    head = HEAD.split(content, maxsplit=1)[0].decode("utf-8", "replace")
    try:
        found = message_from_string(f"{head}\n\n", policy=POLICY)
    except UNREADABLE:
        found = Message(POLICY)
    names = ("Subject", "From", "To", "Date", "Message-ID")
    return Headers(*(_header(found, name) for name in names))


def letter(content: bytes) -> ParsedMail:
    """Parse a mail; unreadable parts are left out."""
    text = html = None
    rest: list[MailAttachment] = []
    pictures: dict[str, str] = {}
    for part in _parts(content):
        kind, body = _media_type(part), _body(part)
        is_attached = _tried(part.get_content_disposition) == "attachment"
        if kind == "text/plain" and text is None and not is_attached:
            text = _decoded(part, body)
        elif kind == "text/html" and html is None and not is_attached:
            html = _decoded(part, body)
        else:
            rest.append(MailAttachment(_text(_tried(part.get_filename)), kind, len(body)))
            pictures |= _picture(part, kind, body)
    page = None if html is None else _whole(html, pictures)
    return ParsedMail(headers(content), text, page, rest)


def _header(found: Message, name: str) -> str:
    """Return a header as one line; raw if it cannot be decoded."""
    raw = str(_tried(lambda: found.get(name, "")))[:LONGEST_HEADER]
    decoded = _tried(lambda: str(make_header(decode_header(raw))))
    return " ".join(_text(raw if decoded is None else decoded).split())


def _parts(content: bytes) -> list[Message]:
    """Return the leaf parts; none if the tree is too deep."""
    try:
        found = message_from_bytes(content, policy=POLICY)
        return [part for part in found.walk() if not part.is_multipart()]
    except UNREADABLE:
        return []


def _media_type(part: Message) -> str:
    return _text(_tried(part.get_content_type)) or "application/octet-stream"


def _body(part: Message) -> bytes:
    try:
        found = part.get_payload(decode=True)
    except UNREADABLE:
        return b""
    return found if isinstance(found, bytes) else b""


def _decoded(part: Message, body: bytes) -> str:
    charset = _text(_tried(part.get_content_charset)) or "utf-8"
    try:
        return _text(body.decode(charset, "replace"))
    except UNREADABLE:
        return body.decode("utf-8", "replace")


def _picture(part: Message, kind: str, body: bytes) -> dict[str, str]:
    """Return a picture by the content id under which the page shows it."""
    content_id = _header(part, "Content-ID").strip("<> ")
    if not content_id or not PICTURE.fullmatch(kind):
        return {}
    return {content_id: f"data:{kind};base64,{base64.b64encode(body).decode()}"}


def _whole(html: str, pictures: Mapping[str, str]) -> str:
    """Embed the pictures that the page names, and disable tags that connect to other hosts."""
    left = LONGEST_PAGE

    def put(found: re.Match[str]) -> str:
        nonlocal left
        picture = pictures.get(unquote(found[1]), "")
        left -= len(picture)
        return picture if picture and left > 0 else found[0]

    # Browsers connect to the hosts in these tags, even if a policy forbids the requests.
    return CID.sub(put, CONNECTING.sub("<no-", html))


def _tried(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except UNREADABLE:
        return None


def _text(value: object) -> str:
    """Return the text without what UTF-8 cannot encode."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()
