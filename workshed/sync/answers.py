"""What a source answers, as it was agreed; anything else is a `WrongAnswerError`.

`GET /records?cursor=…` is a page of the listing, `{"items": [{"id", "version"}], "next", "total"}`:
`next` is the cursor of the next page, or null; `total` is how many records the whole listing has.
`GET /records/ID` is `{"id", "version", "name", "data": {}, "associations": [{"kind", "id"}]}`.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from workshed.sync.errors import WrongAnswerError

Version = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
ID = r"^[._~-]*[A-Za-z0-9][A-Za-z0-9._~-]*$"
"""It is a part of a path: nothing that means something there, and not only dots."""
Id = Annotated[str, Field(pattern=ID, max_length=100)]
Short = Annotated[str, Field(min_length=1, max_length=100)]


class Answer(BaseModel):
    """What it has besides is left unread: a source may grow."""

    model_config = ConfigDict(frozen=True)


class Item(Answer):
    """A record as a listing names it."""

    id: Id
    version: Version


class Page(Answer):
    """A part of a listing."""

    items: tuple[Item, ...]
    next: Annotated[str, Field(min_length=1, max_length=1000)] | None
    """The cursor of the next page; `None`: this is the last one."""
    total: Annotated[int, Field(strict=True, ge=0)]


class Association(Answer):
    """Another record that this one has something to do with."""

    kind: Short
    id: Id


class Record(Answer):
    """A record with all that belongs to it."""

    id: Id
    version: Version
    name: Annotated[str, Field(min_length=1, max_length=500)]
    data: dict[str, Any]
    associations: tuple[Association, ...]


Kind = TypeVar("Kind", bound=Answer)

_ids = TypeAdapter(Id)


def is_id(text: str) -> bool:
    """Tell whether a record may have this id."""
    try:
        _ids.validate_python(text)
    except ValidationError:
        return False
    return True


def page(source: str, answer: object) -> Page:
    """Judge a page of a listing."""
    return _judged(Page, source, answer)


def record(source: str, external_id: str, answer: object) -> Record:
    """Judge a record."""
    found = _judged(Record, source, answer)
    if found.id != external_id:
        raise WrongAnswerError(source, f"asked for {external_id!r}, it answers with {found.id!r}")
    return found


def _judged(kind: type[Kind], source: str, answer: object) -> Kind:
    try:
        found = kind.model_validate(answer)
        unstorable = next((value for value in _leaves(answer) if not _is_storable(value)), None)
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


def _leaves(value: object) -> Iterator[str | float]:
    """Yield each text and number in a value of JSON, names too."""
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
    """Tell whether PostgreSQL takes it: no NUL, no half of a character, no infinity."""
    if isinstance(value, float):
        return math.isfinite(value)
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
