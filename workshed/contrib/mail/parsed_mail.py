"""Parse a mail that may come from anyone and be broken."""

import base64
import re
from collections.abc import Callable, Mapping
from email import message_from_bytes, message_from_string, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from urllib.parse import unquote

from workshed.value_class import value_class

POLICY = policy.compat32
"""The newer policy parses addresses, and raises on some broken ones."""
PICTURE = re.compile(r"image/[a-z0-9.+-]+")
CID = re.compile(r"""cid:([^"'\s()<>]+)""", re.IGNORECASE)
CONNECTING_TAGS = re.compile(r"<(?=(?:link|i?frame|object|embed)\b)", re.IGNORECASE)
END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
"""The end of the headers."""
LONGEST_HEADER = 10_000
"""Characters that are decoded, because Python's library takes time that grows quadratically."""
LONGEST_PAGE = 20_000_000
"""Characters of a page including its pictures, each of which may be shown many times."""
PARSE_ERRORS = (MessageError, LookupError, ValueError, TypeError, RecursionError)
"""What parts of Python's library raise for a mail that is broken on purpose."""


@value_class
class ParsedHeaders:
    """The headers of a mail; a missing one is empty."""

    subject: str
    sender: str
    recipient: str
    date: str
    message_id: str


@value_class
class MailAttachment:
    """A part that is not one of the two bodies."""

    filename: str
    media_type: str
    size_bytes: int


@value_class
class ParsedMail:
    """A mail in its parts."""

    headers: ParsedHeaders
    text: str | None
    html: str | None
    """A page with its pictures embedded, which loads nothing else."""
    attachments: list[MailAttachment]


def parse_headers(content: bytes) -> ParsedHeaders:
    """Parse the headers of a mail; the beginning of the mail is enough."""
    # Some headers are not ASCII, although they should be.
    head = END_OF_HEADERS.split(content, maxsplit=1)[0].decode("utf-8", "replace")
    try:
        found = message_from_string(f"{head}\n\n", policy=POLICY)
    except PARSE_ERRORS:
        found = Message(POLICY)
    names = ("Subject", "From", "To", "Date", "Message-ID")
    return ParsedHeaders(*(_read_header(found, name) for name in names))


def parse_mail(content: bytes) -> ParsedMail:
    """Parse a mail; unreadable parts are left out."""
    text = html = None
    rest: list[MailAttachment] = []
    pictures: dict[str, str] = {}
    for part in _list_leaf_parts(content):
        kind, body = _media_type(part), _read_body(part)
        is_attached = _try_call(part.get_content_disposition) == "attachment"
        if kind == "text/plain" and text is None and not is_attached:
            text = _decode_body(part, body)
        elif kind == "text/html" and html is None and not is_attached:
            html = _decode_body(part, body)
        else:
            rest.append(MailAttachment(_to_text(_try_call(part.get_filename)), kind, len(body)))
            pictures |= _embed_picture(part, kind, body)
    page = None if html is None else _complete_page(html, pictures)
    return ParsedMail(parse_headers(content), text, page, rest)


def _read_header(found: Message, name: str) -> str:
    """Return a header as one line; raw if it cannot be decoded."""
    raw = str(_try_call(lambda: found.get(name, "")))[:LONGEST_HEADER]
    decoded = _try_call(lambda: str(make_header(decode_header(raw))))
    return " ".join(_to_text(raw if decoded is None else decoded).split())


def _list_leaf_parts(content: bytes) -> list[Message]:
    """Return the leaf parts; none if the tree is too deep."""
    try:
        found = message_from_bytes(content, policy=POLICY)
        return [part for part in found.walk() if not part.is_multipart()]
    except PARSE_ERRORS:
        return []


def _media_type(part: Message) -> str:
    return _to_text(_try_call(part.get_content_type)) or "application/octet-stream"


def _read_body(part: Message) -> bytes:
    try:
        found = part.get_payload(decode=True)
    except PARSE_ERRORS:
        return b""
    return found if isinstance(found, bytes) else b""


def _decode_body(part: Message, body: bytes) -> str:
    charset = _to_text(_try_call(part.get_content_charset)) or "utf-8"
    try:
        return _to_text(body.decode(charset, "replace"))
    except PARSE_ERRORS:
        return body.decode("utf-8", "replace")


def _embed_picture(part: Message, kind: str, body: bytes) -> dict[str, str]:
    """Return a picture by the content id under which the page shows it."""
    content_id = _read_header(part, "Content-ID").strip("<> ")
    if not content_id or not PICTURE.fullmatch(kind):
        return {}
    return {content_id: f"data:{kind};base64,{base64.b64encode(body).decode()}"}


def _complete_page(html: str, pictures: Mapping[str, str]) -> str:
    """Embed the pictures that the page names, and disable tags that connect to other hosts."""
    left = LONGEST_PAGE

    def put(found: re.Match[str]) -> str:
        nonlocal left
        picture = pictures.get(unquote(found[1]), "")
        left -= len(picture)
        return picture if picture and left > 0 else found[0]

    # Browsers connect to the hosts in these tags, even if a policy forbids the requests.
    return CID.sub(put, CONNECTING_TAGS.sub("<no-", html))


def _try_call(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except PARSE_ERRORS:
        return None


def _to_text(value: object) -> str:
    """Return the text without what UTF-8 cannot encode."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()
