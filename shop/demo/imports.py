"""A file of ten thousand people, three in a hundred of whom cannot become users."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from shop import import_actions, imports
from shop.imports import Import, ProblemKind
from workshed.db import Connection

ROWS = 10_000
WRONG_EVERY = 33
"""One row in so many is wrong, in each of the ways below in turn."""
WRONG_ROWS = (
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
    wrong_rows: int
    latest: Import | None = None
    problems: list[ProblemKind] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Say what the file became."""
        found = self.latest
        if found is None or found.ended_at is None:
            return "people.csv became -"
        seconds = (found.ended_at - found.created_at).total_seconds()
        rows = f"{found.succeeded} users and {found.failed} failed rows"
        return f"people.csv became {rows} in {seconds:.1f} s"

    @property
    def progress(self) -> tuple[str, int, int]:
        """How many rows have an outcome."""
        found = self.latest
        return "rows", 0 if found is None else found.succeeded + found.failed, ROWS

    @property
    def pending(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        found = self.latest
        done = found is not None and (found.succeeded, found.failed) == (
            ROWS - self.wrong_rows,
            self.wrong_rows,
        )
        return [] if done else [f"people.csv: {ROWS - self.wrong_rows} of {ROWS} people imported"]

    def update(self, conn: Connection) -> None:
        """Look once."""
        if self.latest is None or not self.latest.is_over:
            self.latest = imports.get_import(conn, self.import_id)
            if self.latest.is_over:
                self.problems = imports.list_problems(conn, self.import_id)

    def summary_lines(self) -> list[str]:
        """Return lines that say why rows failed."""
        return [f"{one.rows:5} {one.problem:<11} {one.reason}" for one in self.problems]


def begin_import(owner_id: int) -> ImportDemo:
    """Write the file, and start its import."""
    lines, wrong = ["name,email", JOSE], 0
    for number in range(1, ROWS):
        if number % WRONG_EVERY:
            lines.append(f"Person {number},person{number}@example.org")
        else:
            lines.append(WRONG_ROWS[wrong % len(WRONG_ROWS)])
            wrong += 1
    with tempfile.TemporaryDirectory(prefix="workshed-demo-") as folder:
        path = Path(folder) / "people.csv"
        path.write_text("\n".join(lines), "utf-8")
        import_id = import_actions.import_file(path, owner_id, welcome=False, again=False)
    return ImportDemo(import_id, wrong)
