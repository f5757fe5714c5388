"""Reading the shop's forms, and who sent them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from shop.web.token_auth import AuthenticatedUser, authenticate, is_same_origin, is_same_site_intent
from shop.web.uploads import format_mb

MAX_FORM_BYTES = 5_000_000
"""Largest form, including its file; it is read into memory."""
MAX_FIELDS = 20
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


async def read_user_form(request: Request) -> tuple[AuthenticatedUser, ShopForm]:
    """Return a form and its sender; raises `TokenError` or `HTTPException`."""
    user = authenticate(request)
    if not is_same_site_intent(request, user):
        raise _cross_site_error()
    return user, await _read_form(request)


async def read_anonymous_form(request: Request) -> ShopForm:
    """Return a form that needs no token; raises `HTTPException`.

    Forms from other sites are refused, because such a site could sign its visitors up as a user
    whose pictures it can see.
    """
    if not is_same_origin(request):
        raise _cross_site_error()
    return await _read_form(request)


async def _read_form(request: Request) -> ShopForm:
    body = await _read_body(request)
    found = _BOUNDARY.match(request.headers.get("content-type", ""))
    if found:
        return _parse_multipart(body, found[1].encode())
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise HTTPException(400, "This is not a form of this shop.") from None
    return ShopForm(dict(pairs))


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(
                413, f"That is too large: at most {format_mb(MAX_FORM_BYTES)} are taken."
            )
    return bytes(body)


def _parse_multipart(body: bytes, boundary: bytes) -> ShopForm:
    fields, files = {}, {}
    for head, content in _split_parts(body, boundary):
        name = _NAME.search(head)
        if name is None:
            raise HTTPException(400, "This is not a form of this shop.")
        if filename := _FILENAME.search(head):
            files[name[1]] = FormFile(filename[1].replace("%22", '"'), content)
        else:
            fields[name[1]] = content.decode(errors="replace")
    return ShopForm(fields, files)


def _split_parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield headers and content of each part; raises `HTTPException` if the end is missing."""
    _, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, MAX_FIELDS + 1)
    if not pieces or not pieces.pop().startswith(b"--"):
        raise HTTPException(400, "The form did not arrive whole.")
    for piece in pieces:
        head, _, content = piece.partition(b"\r\n\r\n")
        yield head.decode(errors="replace"), content


def _cross_site_error() -> HTTPException:
    return HTTPException(403, "Another site has sent this; use the form of the shop itself.")
