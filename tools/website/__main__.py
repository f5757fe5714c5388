"""Build the documentation site: `python -m tools.website [FOLDER]`; the default is `site`."""

import sys
from pathlib import Path

from tools.website.building import BuildError, build_site
from tools.website.sources import ROOT


def main(words: list[str]) -> int:
    """Build the site, and return the exit code: 1 if the generator has a warning."""
    target = Path(words[0]) if words else ROOT / "site"
    try:
        build_site(target)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"The documentation is in {target}; open {target / 'index.html'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
