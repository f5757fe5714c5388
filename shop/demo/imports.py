"""A file of ten thousand people, three in a hundred of whom cannot become users."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from shop import import_actions, imports
from shop.imports import Import, ProblemKind
from workshed.db import Connection

ROWS = 10_000
WRONG_OF = 33
"""One row in so many is wrong, in each of the ways below in turn."""
WRONG = (
    ",nobody@example.org",
    "Nobody,",
    "Bob,bob at example.org",
    "Win at www.example.net,win@example.org",
    "Person 1,PERSON1@Example.org",
    "Person 2,person2@example.org",
    "Ada again,ADA@example.org",
    "Zoë,jose\u0301@example.org",
    "Too,many@example.org,columns",
    "Alone",
    "N\0L,nul@example.org",
)
JOSE = "José,jos\u00e9@example.org"
"""The first row; a wrong row has the same address, with é written as two characters."""


@dataclass(slots=True)
class ImportDemo:
    """The demo's import, and what was seen of it so far."""

    import_id: int
    wrong: int
    found: Import | None = None
    kinds: list[ProblemKind] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Say what the file became."""
        found = self.found
        if found is None or found.ended_at is None:
            return "people.csv became -"
        seconds = (found.ended_at - found.created_at).total_seconds()
        rows = f"{found.succeeded} users and {found.failed} failed rows"
        return f"people.csv became {rows} in {seconds:.1f} s"

    @property
    def bar(self) -> tuple[str, int, int]:
        """How many rows have an outcome."""
        found = self.found
        return "rows", 0 if found is None else found.succeeded + found.failed, ROWS

    @property
    def missing(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        found = self.found
        done = found is not None and (found.succeeded, found.failed) == (
            ROWS - self.wrong,
            self.wrong,
        )
        return [] if done else [f"people.csv: {ROWS - self.wrong} of {ROWS} people imported"]

    def look(self, conn: Connection) -> None:
        """Look once."""
        if self.found is None or not self.found.is_over:
            self.found = imports.find(conn, self.import_id)
            if self.found.is_over:
                self.kinds = imports.problems(conn, self.import_id)

    def stories(self) -> list[str]:
        """Return lines that say why rows failed."""
        return [f"{one.rows:5} {one.problem:<11} {one.reason}" for one in self.kinds]


def hand_in(owner_id: int) -> ImportDemo:
    """Write the file, and start its import."""
    lines, wrong = ["name,email", JOSE], 0
    for number in range(1, ROWS):
        if number % WRONG_OF:
            lines.append(f"Person {number},person{number}@example.org")
        else:
            lines.append(WRONG[wrong % len(WRONG)])
            wrong += 1
    with tempfile.TemporaryDirectory(prefix="workshed-demo-") as folder:
        path = Path(folder) / "people.csv"
        path.write_text("\n".join(lines), "utf-8")
        import_id = import_actions.hand_in(path, owner_id, welcome=False, again=False)
    return ImportDemo(import_id, wrong)
