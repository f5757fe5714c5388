"""Reading the shop's forms, and who sent them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from shop.web.token_auth import Caller, caller, is_from_us, is_meant
from shop.web.uploads import in_mb

MOST_BYTES = 5_000_000
"""Largest form, including its file; it is read into memory."""
MOST_FIELDS = 20
_BOUNDARY = re.compile(r'multipart/form-data;.*\bboundary="?([^";]{1,70})', re.IGNORECASE)
# Browsers write a quotation mark in a value as %22.
_NAME = re.compile(r'[; ]name="([^"]*)"', re.IGNORECASE)
_FILENAME = re.compile(r'[; ]filename="([^"]*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FormFile:
    """An uploaded file."""

    filename: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ShopForm:
    """The values of a form, by field name."""

    fields: Mapping[str, str]
    files: Mapping[str, FormFile] = field(default_factory=dict)


async def of_user(request: Request) -> tuple[Caller, ShopForm]:
    """Return a form and its sender; raises `TokenError` or `HTTPException`."""
    who = caller(request)
    if not is_meant(request, who):
        raise _of_another_site()
    return who, await _form(request)


async def of_anybody(request: Request) -> ShopForm:
    """Return a form that needs no token; raises `HTTPException`.

    Forms from other sites are refused, because such a site could sign its visitors up as a user
    whose pictures it can see.
    """
    if not is_from_us(request):
        raise _of_another_site()
    return await _form(request)


async def _form(request: Request) -> ShopForm:
    body = await _body(request)
    found = _BOUNDARY.match(request.headers.get("content-type", ""))
    if found:
        return _of_parts(body, found[1].encode())
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, "This is not a form of this shop.") from None
    return ShopForm(dict(pairs))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"That is too large: at most {in_mb(MOST_BYTES)} are taken.")
    return bytes(body)


def _of_parts(body: bytes, boundary: bytes) -> ShopForm:
    fields, files = {}, {}
    for head, content in _parts(body, boundary):
        name = _NAME.search(head)
        if name is None:
            raise HTTPException(400, "This is not a form of this shop.")
        if filename := _FILENAME.search(head):
            files[name[1]] = FormFile(filename[1].replace("%22", '"'), content)
        else:
            fields[name[1]] = content.decode(errors="replace")
    return ShopForm(fields, files)


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield headers and content of each part; raises `HTTPException` if the end is missing."""
    _, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, MOST_FIELDS + 1)
    if not pieces or not pieces.pop().startswith(b"--"):
        raise HTTPException(400, "The form did not arrive whole.")
    for piece in pieces:
        head, _, content = piece.partition(b"\r\n\r\n")
        yield head.decode(errors="replace"), content


def _of_another_site() -> HTTPException:
    return HTTPException(403, "Another site has sent this; use the form of the shop itself.")
