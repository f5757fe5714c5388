"""Names that are composed of several columns, for example `{first_name} {last_name}`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from shop.imports.errors import ImportRefusedError

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class NameColumns:
    """The columns that make up a name, and the text around them."""

    indexes: tuple[int, ...]
    """The indexes of the columns."""
    texts: tuple[str, ...]
    """The text before the first column, between columns, and after the last."""

    @classmethod
    def join(cls, at: Sequence[int]) -> Self:
        """Join columns with blanks."""
        return cls(tuple(at), ("", *(" " for _ in pairwise(at)), ""))

    @classmethod
    def parse(cls, template: str, find: Callable[[str], int]) -> Self:
        """Read `{first_name} {last_name}`, or the name of one column; raises what `find` raises."""
        names = _PLACEHOLDER.findall(template)
        if not names:
            return cls.join([find(template)])
        texts = _PLACEHOLDER.sub("\0", template).split("\0")
        if any("{" in text or "}" in text for text in texts):
            raise ImportRefusedError(
                f"{template[:100]!r} has a brace too many; write as in '{{first}} {{last}}'"
            )
        return cls(tuple(find(name) for name in names), tuple(texts))

    def compose(self, fields: Sequence[str]) -> str:
        """Compose the name; `""` if all of its columns are empty."""
        cells = [fields[at] if at < len(fields) else "" for at in self.indexes]
        if any(self.texts) and not any(cell.strip() for cell in cells):
            return ""
        between = (text + cell for text, cell in zip(self.texts, cells, strict=False))
        return "".join((*between, self.texts[-1]))

    def to_template(self, names: Sequence[str]) -> str:
        """Return the column name or template from which `of` reads the same columns."""
        if len(self.indexes) == 1 and not any(self.texts):
            return names[self.indexes[0]]
        places = (
            text + f"{{{names[at]}}}" for text, at in zip(self.texts, self.indexes, strict=False)
        )
        return "".join((*places, self.texts[-1]))


def template_columns(template: str) -> list[str]:
    """Return the columns that a template names; without braces, that is the template itself."""
    return _PLACEHOLDER.findall(template) or [template]
