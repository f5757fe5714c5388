"""`python -m bench.capacity --rate 1000 --job-ms 50 --once 0.2`: print what that load needs."""

from bench.capacity import asked, page, table
from bench.capacity.figures import MissingFigureError, read


def main() -> int:
    """Print a table, or update the tables in the documentation."""
    words = asked.parser().parse_args()
    try:
        figures = read(asked.files(words))
    except MissingFigureError as err:
        print(err)
        return 2
    if words.write:
        for one in page.PAGES:
            one.write_text(page.written(one.read_text("utf-8"), figures), "utf-8")
        return 0
    said = " · ".join(f"{name} {value}" for name, value in figures.surroundings.items())
    print(f"{table.needs(asked.loads(words), figures)}\nmeasured on: {said}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
