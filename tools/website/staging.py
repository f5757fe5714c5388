"""Write the files that the site's generator reads."""

import posixpath
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tools.website import sources
from tools.website.markdown import LinkTarget, convert_page, read_title
from tools.website.sources import ROOT

CONFIGURATION = "mkdocs.yml"
LANGUAGES = {".py": "python", ".rb": "ruby", ".sql": "sql", ".toml": "toml", ".yml": "yaml"}


class DeadLinkError(Exception):
    """A page links to a file that does not exist."""

    def __init__(self, page: PurePosixPath, link: str) -> None:
        super().__init__(f"{page} links to {link}, which does not exist")


class Stage:
    """A folder with `mkdocs.yml` and `docs/`, from which the site is built."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        """Take the repository to read from, and the folder to write to."""
        self.folder = folder
        self.root = root
        self._code: set[PurePosixPath] = set()

    def write(self) -> None:
        """Write the configuration, all pages, and the files of code that pages link to."""
        self.folder.mkdir(exist_ok=True)
        shutil.copy(self.root / CONFIGURATION, self.folder)
        for path in sources.list_assets(self.root):
            self._write(sources.place_on_site(path), (self.root / path).read_bytes())
        for path, text in self._convert_pages():
            self._write(path, text.encode())
        for path in sorted(self._code):
            self._write(place_code(path), self._render_code(path).encode())

    def _convert_pages(self) -> Iterator[tuple[PurePosixPath, str]]:
        pages = sources.list_pages(self.root)
        texts = {page: (self.root / page).read_text("utf-8") for page in pages}
        targets = {
            page: LinkTarget(sources.place_on_site(page), read_title(text))
            for page, text in texts.items()
        }
        for path in sources.list_assets(self.root):
            targets[path] = LinkTarget(sources.place_on_site(path), path.name)

        for page, text in texts.items():

            def find(link: str, page: PurePosixPath = page) -> LinkTarget:
                path = PurePosixPath(posixpath.normpath(page.parent / link))
                return targets.get(path) or self._add_code(path, page, link)

            place = sources.place_on_site(page)
            yield place, convert_page(text, place, find)

    def _add_code(self, path: PurePosixPath, page: PurePosixPath, link: str) -> LinkTarget:
        if not (self.root / path).is_file():
            raise DeadLinkError(page, link)
        self._code.add(path)
        return LinkTarget(place_code(path), path.name)

    def _write(self, path: PurePosixPath, content: bytes) -> None:
        file = self.folder / "docs" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def _render_code(self, path: PurePosixPath) -> str:
        """Return a page that shows a file."""
        text = (self.root / path).read_text("utf-8")
        return f"# {path.name}\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{text}````\n"


def place_code(path: PurePosixPath) -> PurePosixPath:
    """Return the place of the page that shows a file of code."""
    place = sources.place_on_site(path)
    return place.with_name(f"{place.name}.md")
