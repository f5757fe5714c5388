"""The answers that a source must give; anything else is a `WrongAnswerError`.

`GET /records?cursor=…` is a page of the listing, `{"items": [{"id", "version"}], "next", "total"}`.
`next` is the cursor of the next page, and null or empty on the last page. `total` is how many
records the whole listing has, or null if unknown. An invalid item is skipped, so that it does not
keep the others from being synced.
`GET /records/ID` is `{"id", "version", "name", "data": {}, "associations": [{"kind", "id"}]}`.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from shop.sync.errors import WrongAnswerError

Version = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
ID_PATTERN = r"^[._~-]*[A-Za-z0-9][A-Za-z0-9._~-]*$"
"""An id is a segment of a path, so it has no special characters, and not only dots."""


def _as_text(value: object) -> object:
    """Accept integers, which many sources use as ids."""
    return str(value) if type(value) is int else value


Id = Annotated[str, BeforeValidator(_as_text), Field(pattern=ID_PATTERN, max_length=100)]
MAX_EXCERPT_LENGTH = 200
"""Characters that are kept of a skipped item."""
ShortText = Annotated[str, Field(min_length=1, max_length=100)]


class ApiAnswer(BaseModel):
    """An answer of a source; unknown fields are ignored, because a source may add some."""

    model_config = ConfigDict(frozen=True)


class ListedItem(ApiAnswer):
    """A record as a listing names it."""

    id: Id
    version: Version


@dataclass(frozen=True, slots=True)
class SkippedEntry:
    """An item of a listing that cannot be synced."""

    item: str
    """The item as JSON, or the beginning of that."""
    reason: str


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A part of a listing."""

    items: tuple[ListedItem, ...]
    next: str | None
    """The cursor of the next page; `None` on the last page."""
    total: int | None
    """Records in the whole listing; `None` if the source does not say."""
    skipped: tuple[SkippedEntry, ...] = ()


class _RawPage(ApiAnswer):
    """A page before its items are checked."""

    items: tuple[Any, ...]
    next: Annotated[str, Field(max_length=1000)] | None
    total: Annotated[int, Field(strict=True, ge=0)] | None


class Association(ApiAnswer):
    """A reference to another record."""

    kind: ShortText
    id: Id


class Record(ApiAnswer):
    """A record with its data and associations."""

    id: Id
    version: Version
    name: Annotated[str, Field(min_length=1, max_length=500)]
    data: dict[str, Any]
    associations: tuple[Association, ...]


Answer = TypeVar("Answer", bound=ApiAnswer)

_ids = TypeAdapter(Id)


def is_id(text: str) -> bool:
    """Return whether this is a valid id of a record."""
    try:
        _ids.validate_python(text)
    except ValidationError:
        return False
    return True


def parse_page(source: str, answer: object) -> ListingPage:
    """Check a page of a listing; invalid items are skipped."""
    found = _validate(_RawPage, source, answer, of=("next",))
    items: list[ListedItem] = []
    skipped: list[SkippedEntry] = []
    for one in found.items:
        try:
            items.append(_validate(ListedItem, source, one))
        except WrongAnswerError as err:
            skipped.append(SkippedEntry(_excerpt(one), err.reason))
    return ListingPage(tuple(items), found.next or None, found.total, tuple(skipped))


def parse_record(source: str, external_id: str, answer: object) -> Record:
    """Check a record."""
    found = _validate(Record, source, answer)
    if found.id != external_id:
        raise WrongAnswerError(source, f"asked for {external_id!r}, it answers with {found.id!r}")
    return found


def _validate(
    kind: type[Answer], source: str, answer: object, of: Sequence[str] | None = None
) -> Answer:
    """Check an answer; with `of`, check only these fields for values that cannot be stored."""
    try:
        found = kind.model_validate(answer)
        stored = answer if of is None else [getattr(found, name) for name in of]
        unstorable = next((value for value in _leaves(stored) if not _is_storable(value)), None)
    except ValidationError as err:
        first, *_ = err.errors(include_input=False, include_url=False)
        place = ".".join(str(part) for part in first["loc"])
        raise WrongAnswerError(
            source, f"not as agreed: {place or 'answer'}: {first['msg']}"
        ) from err
    except RecursionError as err:
        raise WrongAnswerError(source, "not as agreed: too deep") from err
    if unstorable is not None:
        raise WrongAnswerError(source, f"no database can hold {unstorable!r:.100}")
    return found


def _excerpt(item: object) -> str:
    """Return the beginning of an item as JSON in ASCII, which PostgreSQL can always store."""
    try:
        return json.dumps(item, sort_keys=True)[:MAX_EXCERPT_LENGTH]
    except RecursionError:
        return "(too deep)"


def _leaves(value: object) -> Iterator[str | float]:
    """Yield every string and float in a JSON value, including names."""
    match value:
        case dict():
            for name, inner in value.items():
                yield name
                yield from _leaves(inner)
        case list():
            for inner in value:
                yield from _leaves(inner)
        case str() | float():
            yield value


def _is_storable(value: str | float) -> bool:
    """Return whether PostgreSQL can store it: no NUL, lone surrogate, infinity or NaN."""
    if isinstance(value, float):
        return math.isfinite(value)
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
