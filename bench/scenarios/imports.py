"""How fast a CSV file of people is imported, and how much memory that takes."""

import json
import sys
from pathlib import Path

from bench.measurement import Measurement, median_figures, report_alone
from bench.processes import BenchError, ProcessTree, run_python
from bench.size import Size
from bench.world import THREADS, World, pause_between_rounds
from workshed.migrate import apply_pending, list_streams

WITHIN_S = 600.0
READY = "Worker process is ready for action."
PROCESSES = 2
MEGABYTE = 1_000_000
EXIT_CODES = (0, 1)
"""Exit codes of an import in which some rows may fail."""
WRONG_ROWS = (
    ",x@example.org",
    "Ada,",
    "Ada,ada at example.org",
    "Ada,a0@EXAMPLE.org",
    "See www.x.de,a@b.de",
)
WRONG_EVERY = 33
"""One row in so many is wrong, in each of these ways in turn."""


def imports(world: World, size: Size) -> list[Measurement]:
    """Import a file, and a larger one; there is no peer to compare with."""
    with world.connect_database() as conn:
        apply_pending(conn, list_streams())
    rounds = [_measure_import(world, size.import_rows) for _ in range(size.rounds)]
    usual, large = median_figures(rounds), _measure_import(world, size.max_import_rows)
    count, most = f"{size.import_rows:,}".replace(",", " "), f"{size.max_import_rows:,}"
    return [
        report_alone(f"import of {count} rows", usual["rate"], "rows/s", at_least=10_000),
        report_alone(f"import of {most.replace(',', ' ')} rows", large["rate"], "rows/s"),
        report_alone(
            f"import of {most.replace(',', ' ')} rows, memory of the largest worker",
            large["memory"],
            "MB",
            at_most=150,
        ),
    ]


def write_csv(path: Path, rows: int) -> Path:
    """Write a file in which 3 % of rows are wrong, with about 300 addresses per domain."""
    with path.open("w") as file:
        file.write("name,email\n")
        for n in range(rows):
            wrong, is_wrong = divmod(n, WRONG_EVERY)
            line = f"Ada Lovelace {n},a{n}@example{n // 300}.org"
            file.write(f"{line if is_wrong else WRONG_ROWS[wrong % len(WRONG_ROWS)]}\n")
    return path


def _measure_import(world: World, rows: int) -> dict[str, float]:
    """Import a file with empty tables and new workers; timed from the command to the last row."""
    world.reset()
    with world.connect_database() as conn:
        conn.execute(
            "TRUNCATE shop.users, shop.import_rows, workshed_mail.emails, "
            "workshed_notifications.inboxes, workshed_notifications.notifications CASCADE"
        )
        conn.execute("INSERT INTO shop.users (name, email) VALUES ('Grace', 'grace@example.org')")
    environment = world.environment(
        "ours", WORKSHED_STORAGE_URL=f"file:{world.folder}/contents", WORKSHED_LOG_LEVEL="INFO"
    )
    command = [sys.executable, "-m", "dramatiq", "actors", "-p", str(PROCESSES), "-t", str(THREADS)]
    path = write_csv(world.folder / "people.csv", rows)
    with ProcessTree(command, environment, world.folder / "imports.log") as tree:
        tree.wait_until(lambda: tree.log.read_text().count(READY) == PROCESSES, WITHIN_S)
        tree.wait_until_idle(WITHIN_S)
        words = ["-m", "shop", "import", str(path), "--owner", "grace@example.org", "--json"]
        found = json.loads(run_python(words, environment, WITHIN_S, EXIT_CODES))
        memory = tree.peak_bytes() / MEGABYTE
    pause_between_rounds()
    if found["succeeded"] + found["failed"] != rows or not found["failed"] < rows / 10:
        raise BenchError(f"not every row is accounted for: {found}")
    return {"rate": rows / found["seconds"], "memory": memory}
