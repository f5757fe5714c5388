"""`python -m bench.capacity --rate 1000 --job-ms 50 --once 0.2`: print what that load needs."""

from bench.capacity import arguments, page, table
from bench.capacity.figures import MissingFigureError, read_figures


def main() -> int:
    """Print a table, or update the tables in the documentation."""
    words = arguments.build_parser().parse_args()
    try:
        figures = read_figures(arguments.list_files(words))
    except MissingFigureError as err:
        print(err)
        return 2
    if words.write:
        for one in page.PAGES:
            one.write_text(page.update_tables(one.read_text("utf-8"), figures), "utf-8")
        return 0
    said = " · ".join(f"{name} {value}" for name, value in figures.surroundings.items())
    print(f"{table.needs_table(arguments.build_loads(words), figures)}\nmeasured on: {said}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
